"""Prediction: the logits of many images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from distillery.data.progress import Progress

if TYPE_CHECKING:  # a process that runs no Keras model need not wait for it
    import keras

PREDICT_BATCH = 1000
EMBEDDING, ATTENTION = "embedding", "attention"  # outputs of a classifier's inside

# From uint8 (batch, height, width, channels) to float32 logits (batch, classes).
Predict = Callable[[np.ndarray], np.ndarray]


def inner_kind(name: str) -> str | None:
    """Return which of `embedding` and `attention` an output is, `attention_2` the latter; None where it is neither."""
    return next((kind for kind in (EMBEDDING, ATTENTION) if name == kind or name.startswith(f"{kind}_")), None)


def predict_in_batches(predict: Predict, images: np.ndarray, batch: int = PREDICT_BATCH) -> np.ndarray:
    """Return the logits of all images in order, float32, (n, classes).

    Args:
        predict: of a model, in whatever runtime.
        images: uint8, (n, height, width, channels).
        batch: images at a time.
    """
    starts, logits = range(0, len(images), batch), []
    progress = Progress("predicting", len(starts))
    for start in starts:
        logits.append(predict(np.ascontiguousarray(images[start : start + batch])))
        progress.update(len(logits))
    progress.close()
    return np.concatenate(logits)


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the logits of all images in order, float32, (n, classes).

    Batch by batch: `model.predict` would build a tf.data pipeline each time, which takes longer than the forward pass.

    Args:
        model: from images to logits.
        images: uint8, (n, height, width, channels).
    """
    return predict_in_batches(model.predict_on_batch, images)
