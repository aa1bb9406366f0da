"""A teacher of the user's own: a Keras model that was trained elsewhere, checked."""

from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.learning.devices import xla_is_faster


def as_teacher(model: keras.Model, images: np.ndarray, classes: int, path: str | Path) -> keras.Model:
    """Return a user's own model as a teacher: checked, and giving logits even where it gives probabilities.

    Args:
        model: from raw pixels, 0 to 255, (batch, height, width, channels), to logits or probabilities.
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
    if found.min() >= 0 and np.allclose(found.sum(axis=1), 1, atol=2e-2):  # bfloat16 is no closer
        # Probabilities; their logarithms are logits of them: the softmax gives them back.
        outputs = keras.ops.log(keras.ops.maximum(outputs, 1e-30))
    teacher = keras.Model(pixels, outputs, name="teacher")
    teacher.jit_compile = xla_is_faster()
    return teacher
