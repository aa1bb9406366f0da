"""Is one set of classifiers really better than another? Paired statistics over the same test images."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtri  # scipy.stats takes a second longer to import, in two stages


@dataclass(frozen=True)
class Gain:
    """Accuracy of the first set minus that of the second, in percentage points.

    Attributes:
        points: the mean over seeds.
        ci_low, ci_high: 95 % confidence interval, over test images and seeds.
        mcnemar_p: exact p of the hypothesis that neither set is better.
        wins, losses: test images for which more models of the first set than of the second are correct, and fewer.
    """

    points: float
    ci_low: float
    ci_high: float
    mcnemar_p: float
    wins: int
    losses: int


def accuracy_gain(correct: np.ndarray, other_correct: np.ndarray, samples: int, seed: int) -> Gain:
    """Return the gain of one set of classifiers over another, trained with the same seeds, on the same images.

    The interval is a percentile bootstrap that draws images and seeds, both with replacement (the pigeonhole
    bootstrap: Owen 2007, doi 10.1214/07-AOAS122), because both are samples: with other images or other seeds the
    gain would be another. The pair trained with one seed stays together.

    p is McNemar's exact test (McNemar 1947; a two-sided sign test) on the images where the two sets differ. With
    several seeds an image counts for the set with more correct models on it. Images, unlike the models' separate
    predictions for one image, are independent of each other. With one seed it is the usual test.

    Args:
        correct: bool, (seeds, n): for which images each classifier of the first set is correct.
        other_correct: bool, (seeds, n): the second set, row by row with the same seeds.
        samples: bootstrap samples.
        seed: draws them.
    """
    difference = correct.astype(np.int8) - other_correct.astype(np.int8)
    seeds, images = difference.shape
    per_image = difference.sum(axis=0)
    wins, losses, p = sign_test(per_image)

    # Images with the same column of differences are interchangeable: drawing how often each of the few distinct
    # columns comes up is drawing images, at a cost that does not grow with their number.
    columns, counts = np.unique(difference, axis=1, return_counts=True)
    random = np.random.default_rng(seed)
    image_draws = random.multinomial(images, counts / images, size=samples)  # (samples, distinct columns)
    seed_draws = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=samples)  # (samples, seeds)
    gains = np.einsum("bs,sc,bc->b", seed_draws, columns, image_draws, optimize=True) / (seeds * images)
    low, high = np.percentile(100 * gains, [2.5, 97.5])
    return Gain(float(100 * difference.mean()), float(low), float(high), p, wins, losses)


def sign_test(differences: np.ndarray) -> tuple[int, int, float]:
    """Return the two-sided sign test; of the differences between two classifiers' correctness, McNemar's exact test.

    Args:
        differences: (n,), above 0 where the first is better, below 0 where the second is.

    Returns:
        How many are above 0, how many below, and p; 1 where there is none of either.
    """
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return wins, losses, min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def accuracy_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of one model's accuracy over test images (Wilson 1927), 0 to 1.

    Args:
        correct: how many predictions are correct.
        images: how many images there are.
    """
    part, z = correct / images, float(ndtri(0.975))
    middle = part + z**2 / (2 * images)
    half = z * math.sqrt(part * (1 - part) / images + (z / (2 * images)) ** 2)
    return tuple((middle + side * half) / (1 + z**2 / images) for side in (-1, 1))


def agreement(logits: np.ndarray, other_logits: np.ndarray) -> float:
    """Return the part of the images for which two classifiers predict the same class, correct or wrong.

    Args:
        logits, other_logits: (n, classes).
    """
    return float(np.mean(logits.argmax(axis=1) == other_logits.argmax(axis=1)))
