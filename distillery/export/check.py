"""What an exported model is worth beside the Keras model that it was made from."""

from collections.abc import Mapping

import numpy as np


def format_metrics(
    labels: np.ndarray, logits: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Return accuracy, errors, agreement with Keras and bytes of each format.

    Args:
        labels: int, (n,).
        logits: by format, (n, classes); `keras` among them.
        sizes: by format, bytes of the file.
    """
    predicted = {name: values.argmax(axis=1) for name, values in logits.items()}
    return {
        name: {
            "accuracy": float(np.mean(classes == labels)),
            "errors": int(np.sum(classes != labels)),
            "agreement_with_keras": float(np.mean(classes == predicted["keras"])),
            "bytes": sizes[name],
        }
        for name, classes in predicted.items()
    }


def points_lost(labels: np.ndarray, logits: np.ndarray, exported: np.ndarray) -> float:
    """Return the percentage points of accuracy that a format loses against Keras; negative where it gains.

    Args:
        labels: int, (n,).
        logits, exported: (n, classes), the Keras model's and the exported model's.
    """
    correct, exported_correct = (int(np.sum(values.argmax(axis=1) == labels)) for values in (logits, exported))
    return 100 * (correct - exported_correct) / len(labels)
