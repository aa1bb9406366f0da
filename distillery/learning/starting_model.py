"""A `.keras` file that a network starts from, with the interface of an architecture's file. No code of it is run."""

from collections.abc import Iterator
from pathlib import Path

import keras

from distillery.data.errors import InputError
from distillery.learning.headless import follow_images, in_colour
from distillery.learning.saving import load_model

SUFFIX = ".keras"


def is_keras_file(model: str | Path) -> bool:
    """Return whether a model is a `.keras` file and not an architecture."""
    return Path(model).suffix == SUFFIX


class StartingModel:
    """A classifier whose last layer is dense, of logits or of probabilities; its pixels are 0 to 255.

    Args:
        path: the `.keras` file.

    Raises:
        InputError: when it cannot be read in safe mode, or is no such classifier.
    """

    def __init__(self, path: str | Path):
        self._path, self._model = Path(path), load_model(path)
        inputs = getattr(self._model, "inputs", None) or []
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise InputError(f"{path}: accepted: a model with one input, (batch, height, width, channels)")
        layers = [layer for layer in self._model.layers if not _is_softmax(layer)]
        self._head = layers[-1]
        if not isinstance(self._head, keras.layers.Dense) or self._head.activation not in (
            keras.activations.linear,
            keras.activations.softmax,
        ):
            raise InputError(
                f"{path}: its last layer is a {type(self._head).__name__}; accepted: a Dense layer of logits or of"
                " probabilities"
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that it takes; None where it takes any."""
        height, width = self._model.inputs[0].shape[1:3]
        return None if height is None or width is None else (height, width)

    def features(self, pixels, dropout: float):
        """Return what its last layer sees of raw uint8 pixels, (batch, units). Its own dropout stays as it is."""
        taken = self._model.inputs[0]
        if taken.shape[-1] == 3:
            pixels = in_colour(pixels)
        policy = keras.config.dtype_policy()
        network = keras.Model(taken, self._head.input, name="features")
        for layer in _layers(network):
            layer.dtype_policy = policy  # what was saved in float32 trains in the precision that was asked for
            follow_images(layer)
        if keras.backend.standardize_dtype(taken.dtype) != "uint8":
            pixels = keras.ops.cast(pixels, taken.dtype)
        return network(pixels)

    def head_weights(self, classes: int) -> list | None:
        """Return the weights of its last layer; None where that has another width."""
        return self._head.get_weights() if self._head.units == classes and self._head.use_bias else None


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _is_softmax(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Softmax) or (
        isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.softmax
    )
