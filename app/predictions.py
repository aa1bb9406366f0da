"""What models predict for one image: probabilities at a temperature, the classes worth showing, the time."""

import threading
from collections.abc import Mapping
from functools import partial

import numpy as np
from scipy.special import softmax

from distillery.timing import measure_alternating

SHOWN = 10  # classes that the bars show at most
TIMED_ROUNDS = 9
ONE_AT_A_TIME = threading.Lock()  # two visitors would disturb each other's timing


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax of logits ÷ temperature, float64, of the same shape, over the last axis.

    Args:
        logits: (…, classes).
        temperature: above 0; 1 leaves the probabilities as they are, more makes them more alike.
    """
    return softmax(np.asarray(logits, np.float64) / temperature, axis=-1)


def classes_to_show(logits: np.ndarray, shown: int = SHOWN) -> list[int]:
    """Return the classes to which any of the models gives the most, whatever the temperature.

    Args:
        logits: (models, classes).
        shown: how many at most.

    Returns:
        Classes: all in their own order where there is room, else the best first, every model's first choice among
        them.
    """
    if logits.shape[1] <= shown:
        return list(range(logits.shape[1]))
    ranks = np.argsort(np.argsort(-logits, axis=1, kind="stable"), axis=1, kind="stable")
    return np.lexsort((ranks.sum(axis=0), ranks.min(axis=0)))[:shown].tolist()


def other_classes(logits: np.ndarray, temperature: float) -> float:
    """Return the probability of all classes but the most probable one, 0 to 1.

    Args:
        logits: (classes,).
        temperature: above 0.
    """
    others = np.delete(probabilities(logits, temperature), np.argmax(logits))
    return float(others.sum())  # one minus the largest would round what is small to nothing


def predict(models: Mapping, image: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Return the logits of one image, and how long each model takes for it.

    Args:
        models: by name, Keras models.
        image: uint8, (height, width, channels).

    Returns:
        float32, (models, classes), and by name the median of a few calls in milliseconds, the models in turn.
    """
    batch = image[np.newaxis]
    with ONE_AT_A_TIME:
        seconds = measure_alternating(
            {name: partial(model.predict_on_batch, batch) for name, model in models.items()}, TIMED_ROUNDS
        )
        logits = np.concatenate([model.predict_on_batch(batch) for model in models.values()])
    return logits, {name: 1000 * float(np.median(taken)) for name, taken in seconds.items()}
