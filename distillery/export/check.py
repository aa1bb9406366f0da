"""What an exported model is worth beside the Keras model that it was made from."""

from collections.abc import Mapping

import numpy as np

from distillery.learning.metrics import agreement


def format_metrics(
    labels: np.ndarray, logits: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Accuracy, errors, agreement with Keras and bytes of each format.

    Args:
        labels: int, (n,).
        logits: by format, (n, classes); `keras` among them.
        sizes: by format, bytes of the file.
    """
    return {
        name: {
            "accuracy": float(np.mean(one.argmax(axis=1) == labels)),
            "errors": int(np.sum(one.argmax(axis=1) != labels)),
            "agreement_with_keras": agreement(one, logits["keras"]),
            "bytes": sizes[name],
        }
        for name, one in logits.items()
    }


def points_lost(labels: np.ndarray, logits: np.ndarray, exported: np.ndarray) -> float:
    """Percentage points of accuracy that an exported model has less than the Keras model; negative where it has more.

    Args:
        labels: int, (n,).
        logits, exported: (n, classes), the Keras model's and the exported one's.
    """
    right, exported_right = (int(np.sum(one.argmax(axis=1) == labels)) for one in (logits, exported))
    return 100 * (right - exported_right) / len(labels)
