"""Weights that a network starts from: none, Keras's own of ImageNet, or those in a file. No code of a file is run."""

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from distillery.data.errors import InputError, reason

NONE, IMAGENET = "none", "imagenet"


def with_own_arguments(features: Callable, model: str | Path, width: float, weights: str) -> dict:
    """Return the arguments of an architecture that only some have: `width`, and `weights` for ImageNet's.

    Args:
        features: the architecture's function.
        model: its file, for messages.
        width: multiplies the channels of every layer.
        weights: `none`, `imagenet` or a file.

    Raises:
        InputError: when it does not have what is asked for.
    """
    asked = {"width": width} if width != 1 else {}
    asked |= {"weights": weights} if weights == IMAGENET else {}
    has = inspect.signature(features).parameters
    for name, value in asked.items():
        if name not in has:
            accepted = "1.0" if name == "width" else f"{NONE}, or a file of weights"
            raise InputError(
                f"student.{name}: found {value}; accepted: {accepted}: `features` in {model} takes no {name}"
            )
    return asked


@contextmanager
def keras_download(model: str | Path, width: float) -> Iterator[None]:
    """Turn what goes wrong while Keras looks for ImageNet's weights into an InputError of one line.

    Args:
        model: the architecture's file, for messages.
        width: of the network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the weights were trained at another input size
            yield
    except Exception as error:  # Keras raises plain exceptions
        said, folder = (
            " ".join(str(error).split()),
            Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models",
        )
        if found := re.match(r"URL fetch failure on (\S+): (.*)", said):
            url, why = found.groups()
            name = url.rpartition("/")[2]
            raise InputError(
                f"student.weights: imagenet: {folder / name} is not there whole, and cannot be fetched"
                f" ({why.removeprefix('None -- ')}); put {url} there, or name it as student.weights"
            ) from error
        if "imagenet weights" in said.lower():
            raise InputError(f"student.weights: imagenet: {model} with student.width {width:g}: {said}") from error
        raise


def load_weights(features: keras.Model, path: str | Path, model: str | Path) -> None:
    """Give a network all weights but those of its head, moving statistics included.

    Args:
        features: the network from pixels to features.
        path: `.weights.h5` or `.keras` of the same network, with whatever head, or `.h5` without one, as
            `keras.applications` publishes it.
        model: the network's file, for messages.

    Raises:
        InputError: when it cannot be read, or is of another network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each layer, before the exception
            features.load_weights(str(path))
    except Exception as error:  # Keras raises whatever its readers of ZIP and HDF5 raise
        said = reason(" ".join(str(error).split()).split(". ")[0])
        raise InputError(
            f"student.weights: {path} does not fit {model} ({said}); accepted: weights of the same network, at the same"
            " student.width"
        ) from error
