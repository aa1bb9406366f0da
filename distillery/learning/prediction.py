"""Prediction: the logits of many images."""

import keras
import numpy as np

from distillery.learning.augmentation import show

PREDICT_BATCH = 1000


def predict_logits(model: keras.Model, images: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
    """Logits of all images in order, float32, (n, classes).

    Batch by batch: `model.predict` would build a tf.data pipeline each time, which takes longer than the forward pass.

    Args:
        model: from images to logits.
        images: uint8, (n, height, width, channels).
        offsets: int8, (n, 3): the view of each image that the model is shown; the images themselves when left out.
    """
    logits = []
    for start in range(0, len(images), PREDICT_BATCH):
        batch = images[start : start + PREDICT_BATCH]
        if offsets is not None:
            batch = show(batch, offsets[start : start + PREDICT_BATCH])
        logits.append(model.predict_on_batch(batch))
    return np.concatenate(logits)
