"""Prediction: the logits of many images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from distillery.data.progress import Progress

if TYPE_CHECKING:  # a process that runs no Keras model need not wait for it
    import keras

# Images at once, at most, and their bytes: a network makes many times as much of a photograph inside.
PREDICT_BATCH, PREDICT_BYTES = 1000, 2**24
EMBEDDING, ATTENTION = "embedding", "attention"  # outputs of a classifier's inside

# From uint8 (batch, height, width, channels) to float32 logits (batch, classes).
Predict = Callable[[np.ndarray], np.ndarray]


def inner_kind(name: str) -> str | None:
    """Return which of `embedding` and `attention` an output is, `attention_2` the latter; None where it is neither."""
    return next((kind for kind in (EMBEDDING, ATTENTION) if name == kind or name.startswith(f"{kind}_")), None)


def images_at_once(image_shape: tuple[int, ...]) -> int:
    """Return how many images of a shape (height, width, channels) are predicted at once: memory stays small."""
    return max(1, min(PREDICT_BATCH, PREDICT_BYTES // math.prod(image_shape)))


def predict_in_batches(predict: Predict, images: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
    """Return the logits of images in order, float32, (n, classes).

    Args:
        predict: of a model, in whatever runtime.
        images: uint8, (m, height, width, channels).
        indices: of the n images; all when None.
    """
    batch, logits = images_at_once(images.shape[1:]), []
    starts = range(0, len(images if indices is None else indices), batch)
    progress = Progress("predicting", len(starts))
    for start in starts:
        chosen = slice(start, start + batch)
        shown = images[chosen] if indices is None else images[indices[chosen]]
        logits.append(predict(np.ascontiguousarray(shown)))
        progress.update(len(logits))
    progress.close()
    return np.concatenate(logits)


def predict_logits(model: keras.Model, images: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
    """Return the logits of images in order, float32, (n, classes).

    Batch by batch: `model.predict` would build a tf.data pipeline each time, which takes longer than the forward pass.

    Args:
        model: from images to logits.
        images: uint8, (m, height, width, channels).
        indices: of the n images; all when None.
    """
    return predict_in_batches(model.predict_on_batch, images, indices)
