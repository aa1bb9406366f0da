"""Models: built from an architecture's file, or from a `.keras` file to start from."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError, reason
from distillery.data.prepared import DatasetInfo
from distillery.learning.devices import share_batches, xla_is_faster
from distillery.learning.starting_model import StartingModel, is_keras_file
from distillery.learning.starting_weights import (
    IMAGENET,
    NONE,
    keras_download,
    load_weights,
    with_own_arguments,
)


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from.

    Attributes:
        model: the architecture's file: a Python file that defines `features(pixels, dropout)`; or a `.keras` file.
        image_shape: (height, width, channels).
        classes: number of logits.
        dropout: dropout rate where the architecture has dropout.
        softmax_temperature: the logits are divided by it.
        max_norm: bound of the norm of each unit's incoming weights in hidden dense layers, kept while training (Hinton
            et al. 2012, arXiv 1207.0580); 0 for none.
        width: multiplies the channels of every layer, of architectures that have it.
        weights: that all layers but the head start from: `none`, `imagenet` or a file.
    """

    model: str | Path
    image_shape: tuple[int, ...]
    classes: int
    dropout: float = 0.0
    softmax_temperature: float = 1.0
    max_norm: float = 0.0
    width: float = 1.0
    weights: str = NONE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.image_shape[:2]


def student_spec(student, info: DatasetInfo, dropout: float | None = None) -> ModelSpec:
    """Return what a student is built from: distilled ones and those from scratch start alike.

    Args:
        student: the section `student` of the parameters.
        info: of the data set.
        dropout: None for that of the section.

    Raises:
        InputError: when `student.model` is a `.keras` file that cannot be read.
    """
    size = info.image_shape[:2] if student.input_size == "auto" else (student.input_size, student.input_size)
    if student.input_size == "auto" and is_keras_file(student.model):
        size = StartingModel(student.model).size or size
    return ModelSpec(
        student.model,
        (*size, info.image_shape[2]),
        len(info.classes),
        student.dropout if dropout is None else dropout,
        width=student.width,
        weights=student.weights,
    )


def build_model(spec: ModelSpec, seed: int, precision: str = "float32", devices: int = 1) -> keras.Model:
    """Return a model from raw uint8 pixels to logits, freshly initialised, or with the weights that it starts from.

    Keras's global state (layer names, random numbers) is reset first, so that the same arguments always give the same
    model, weights and names included, whatever was built before.

    Args:
        spec: what to build.
        seed: draws the initial weights and, while training, the dropout.
        precision: Keras dtype policy of the hidden layers. Weights and logits are float32 in any case.
        devices: of this host, that hold a copy of the weights each and share every batch.

    Returns:
        uint8 (batch, height, width, channels) → float32 (batch, classes).

    Raises:
        InputError: when the architecture's file is not one, or does not fit the images, or its weights do not fit it.
    """
    architecture = None if is_keras_file(spec.model) else load_module(spec.model, "features")
    overrule_keras_file()
    keras.utils.clear_session()
    share_batches(devices)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    pixels = keras.Input(spec.image_shape, dtype="uint8", name="pixels")
    start = architecture or StartingModel(spec.model)
    features = _features(start, spec, pixels)
    if spec.weights not in (NONE, IMAGENET):
        load_weights(keras.Model(pixels, features), spec.weights, spec.model)
    head = keras.layers.Dense(spec.classes, dtype="float32", name="logits")
    logits = head(features)
    if architecture is None and (weights := start.head_weights(spec.classes)):
        head.set_weights(weights)
    if spec.softmax_temperature != 1:
        rescaling = keras.layers.Rescaling(1 / spec.softmax_temperature, dtype="float32", name="softmax_temperature")
        logits = rescaling(logits)
    model = keras.Model(pixels, logits, name=_name(spec.model))
    _check_layers(model, spec)
    if spec.max_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dense) and layer.name != "logits":
                layer.kernel.constraint = keras.constraints.MaxNorm(spec.max_norm, axis=0)
    model.jit_compile = xla_is_faster()
    return model


def overrule_keras_file() -> None:
    """Set what the user's keras.json may have set otherwise: the bytes of every model depend on it."""
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)


def _features(architecture, spec: ModelSpec, pixels):
    own = with_own_arguments(architecture.features, spec.model, spec.width, spec.weights)
    try:
        with keras_download(spec.model, spec.width) if spec.weights == IMAGENET else nullcontext():
            features = architecture.features(pixels, spec.dropout, **own)
        if len(features.shape) != 2:
            raise ValueError(f"`features` gave shape {tuple(features.shape)}, expected (batch, units)")
    except InputError:
        raise
    except Exception as error:  # whatever Keras, or a user's own file, raises
        raise InputError(
            f"{spec.model} does not fit images of {' x '.join(map(str, spec.image_shape))}: {reason(error)}"
        ) from error
    return features


def _check_layers(model: keras.Model, spec: ModelSpec) -> None:
    """Refuse layers that are not Keras's own before hours are spent: nobody could read the saved model."""
    for layer in model.layers:
        if type(layer).__module__.split(".")[0] != "keras" or isinstance(layer, keras.layers.Lambda):
            raise InputError(
                f"{spec.model}: found the layer {type(layer).__name__}; accepted: Keras's own layers, but no Lambda: a"
                " saved model is read without running code"
            )


def _name(path: str | Path) -> str:
    """Return the model's name: that of its file, in letters that every backend takes."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in Path(path).stem)


def float32_copy(model: keras.Model, spec: ModelSpec, seed: int) -> keras.Model:
    """Return the same weights in float32, never compiled: what is saved, evaluated and shipped.

    Args:
        model: a trained model, in whatever precision.
        spec: what it was built from.
        seed: with which it was built.
    """
    weights = model.get_weights()
    copy = build_model(spec, seed)
    copy.set_weights(weights)
    return copy
