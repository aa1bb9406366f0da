"""Prediction: the logits of many images."""

import keras
import numpy as np

PREDICT_BATCH = 1000


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the logits of all images in order, float32, (n, classes).

    Batch by batch: `model.predict` would build a tf.data pipeline each time, which takes longer than the forward pass.

    Args:
        model: from images to logits.
        images: uint8, (n, height, width, channels).
    """
    batches = (images[start : start + PREDICT_BATCH] for start in range(0, len(images), PREDICT_BATCH))
    return np.concatenate([model.predict_on_batch(batch) for batch in batches])
