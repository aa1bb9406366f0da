"""A teacher of the user's own: a Keras model that was trained elsewhere, checked."""

from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.learning.devices import xla_is_faster


def as_teacher(model: keras.Model, images: np.ndarray, classes: int, path: str | Path) -> keras.Model:
    """Return a user's own model as a teacher: checked, and giving logits even where it gives probabilities.

    Args:
        model: from raw pixels, 0 to 255, (batch, height, width, channels), to logits, to the probabilities of a
            softmax, or to those of one sigmoid per class.
        images: some of the data set, uint8, (n, height, width, channels).
        classes: number of classes of the data set.
        path: the model's file, for messages.

    Raises:
        InputError: when the model takes other images, gives other classes, or has several inputs or outputs.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(f"{path}: it has {len(model.inputs)} inputs, {len(model.outputs)} outputs; accepted: one each")
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    image_shape = images.shape[1:]
    if len(takes) != len(image_shape) or any(
        mine not in (None, size) for mine, size in zip(takes, image_shape, strict=True)
    ):
        raise InputError(f"{path}: it takes images of shape {takes}, the data set's are {image_shape}")
    if gives != (classes,):
        raise InputError(f"{path}: it gives outputs of shape {gives}, the data set has {classes} classes: ({classes},)")
    pixels = keras.Input(image_shape, dtype="uint8", name="pixels")
    outputs = keras.ops.cast(model(keras.ops.cast(pixels, model.inputs[0].dtype), training=False), "float32")
    found = np.asarray(model.predict_on_batch(images), np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{path}: it gives values that are not finite; accepted: logits or probabilities")
    kind = _kind_of_outputs(model, found)
    if kind == "softmax":  # the logarithms of probabilities are logits of them: the softmax gives them back
        outputs = _log(outputs)
    elif kind == "sigmoid":
        outputs = _log(outputs) - keras.ops.log(keras.ops.maximum(1 - outputs, 1e-7))  # float32 knows 1 no closer
    teacher = keras.Model(pixels, outputs, name="teacher")
    teacher.jit_compile = xla_is_faster()
    return teacher


def _log(probabilities):
    return keras.ops.log(keras.ops.maximum(probabilities, 1e-30))


def _kind_of_outputs(model: keras.Model, values: np.ndarray) -> str:
    """Return `softmax`, `sigmoid` or `logits`: by the last activation where Keras knows it, else by the values.

    Args:
        model: with one output.
        values: what it gives on some images, (n, classes).
    """
    last = model.outputs[0]._keras_history.operation
    while isinstance(last, keras.Model):
        last = last.outputs[0]._keras_history.operation
    activation = getattr(last, "activation", None)
    name = type(last).__name__.lower() if activation is None else activation.__name__
    if name in ("softmax", "sigmoid"):
        return name
    if isinstance(last, keras.layers.Dense) and name == "linear":
        return "logits"
    if values.min() < 0 or values.max() > 1:
        return "logits"
    return "softmax" if np.allclose(values.sum(axis=1), 1, atol=2e-2) else "sigmoid"  # bfloat16 is no closer
