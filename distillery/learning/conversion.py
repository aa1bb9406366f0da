"""What the converters need: TensorFlow, and somebody who keeps their log back."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

import keras

from distillery.data.errors import InputError


def require_tensorflow() -> None:
    """Raise InputError when Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"KERAS_BACKEND: found {keras.backend.backend()}; models are exported by TensorFlow alone: "
            "`KERAS_BACKEND=tensorflow dvc repro` goes on with the models that another backend trained"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what the converters log, which is many lines of no use, unless they fail."""
    sys.stdout.flush()
    sys.stderr.flush()
    terminals = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as caught:
        for descriptor in (1, 2):
            os.dup2(caught.fileno(), descriptor)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException:
            caught.seek(0)
            os.write(terminals[1], caught.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, terminal in enumerate(terminals, start=1):
                os.dup2(terminal, descriptor)
                os.close(terminal)
