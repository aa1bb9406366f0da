"""Random data that several test modules share."""

import numpy as np


def random_logits(seed: int, images: int = 200, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (images,), and logits (images, classes) that mostly fit them."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=images)
    return labels, (3 * random.normal(size=(images, classes)) + 2 * np.eye(classes)[labels]).astype(np.float32)
