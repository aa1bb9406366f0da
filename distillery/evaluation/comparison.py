"""Is one set of classifiers really better than another? Paired statistics over the same test images."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import (
    bdtr,
    ndtr,
    ndtri,
    stdtr,
    stdtrit,
)  # scipy.stats takes a second longer to import, in two stages


@dataclass(frozen=True)
class Gain:
    """Accuracy of the first set minus that of the second, in percentage points.

    Attributes:
        points: the mean over seeds.
        ci_low, ci_high: 95 % confidence interval: over test images and seeds; of one seed, over test images alone.
        p: of the hypothesis that neither set is better, two-sided; below 0.05 where the interval is without zero.
        wins, losses: test images for which more models of the first set than of the second are correct, and fewer.
    """

    points: float
    ci_low: float
    ci_high: float
    p: float
    wins: int
    losses: int


def accuracy_gain(correct: np.ndarray, other_correct: np.ndarray) -> Gain:
    """Return the gain of one set of classifiers over another, trained with the same seeds, on the same images.

    Images and seeds are both samples: with other images or other seeds the gain would be another. The difference of
    seed s on image i is taken as a mean, an effect of the seed, an effect of the image, and a rest (a two-way layout
    with random effects and one observation per cell: Searle, Casella & McCulloch 1992, *Variance Components*, chapter
    4). The variance of the mean over both is then

        var(gains by seed) / S + var(mean differences by image) / n - var(rest) / (S n),

    since the rest is in both of the former; it is not taken for smaller than either. Interval and p are both Student's
    t, with Satterthwaite's (1946, doi 10.2307/3002019) degrees of freedom. Where seeds have no effect the bound makes
    them cautious: `python -m benchmarks coverage` simulates how often both are right. Of one seed only the images vary:
    what it says holds for these two models. Where all images say the same, nothing varies, and the interval is that of
    Bonett & Price 2012 (J. Educ. Behav. Stat. 37): forty images on which both are right exclude no gain of a point.

    Args:
        correct: bool, (seeds, n): for which images each classifier of the first set is correct.
        other_correct: bool, (seeds, n): the second set, row by row with the same seeds.
    """
    difference = correct.astype(np.float64) - other_correct
    error, degrees = standard_error(difference)
    mean, by_image = float(difference.mean()), difference.mean(axis=0)
    wins, losses = int((by_image > 0).sum()), int((by_image < 0).sum())
    if error > 0:
        half, p = float(stdtrit(degrees, 0.975)) * error, 2 * float(stdtr(degrees, -abs(mean) / error))
        low, high = mean - half, mean + half
    else:
        images = len(by_image) + 2
        middle = (wins - losses) / images
        error = math.sqrt(((wins + losses + 2) / images - middle**2) / images)
        half, p = float(ndtri(0.975)) * error, 2 * float(ndtr(-abs(middle) / error))
        low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Gain(100 * mean, 100 * low, 100 * high, p, wins, losses)


def mean_accuracy_interval(correct: np.ndarray) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean accuracy of classifiers over test images and seeds, 0 to 1.

    The model of variance is that of `accuracy_gain`; of a single classifier the interval is `accuracy_interval`. That
    is also the least that it may be, since near 0 and 1 Student's t takes too few errors for none.

    Args:
        correct: bool, (seeds, n): for which images each classifier is correct.
    """
    mean = float(correct.mean())
    low, high = accuracy_interval(mean, correct.shape[1])
    if len(correct) > 1 and correct.shape[1] > 1:
        error, degrees = standard_error(correct.astype(np.float64))
        half = float(stdtrit(degrees, 0.975)) * error if error > 0 else 0.0
        low, high = min(low, max(0.0, mean - half)), max(high, min(1.0, mean + half))
    return float(low), float(high)


def standard_error(values: np.ndarray) -> tuple[float, float]:
    """Return the standard error of the mean over seeds and images, and its degrees of freedom, as in `accuracy_gain`.

    Args:
        values: float, (seeds, n).
    """
    seeds, images = values.shape
    mean, by_seed, by_image = values.mean(), values.mean(axis=1), values.mean(axis=0)
    parts, freedom = [by_image.var(ddof=1) / images], [images - 1]
    variance = parts[0]
    if seeds > 1:
        rest = values - by_seed[:, np.newaxis] - by_image + mean
        of_rest = (rest**2).sum() / ((seeds - 1) * (images - 1))
        parts += [by_seed.var(ddof=1) / seeds, of_rest / (seeds * images)]
        freedom += [seeds - 1, (seeds - 1) * (images - 1)]
        variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    if variance == 0:
        return 0.0, 1.0
    degrees = variance**2 / sum(part**2 / own for part, own in zip(parts, freedom, strict=True))
    return math.sqrt(variance), float(degrees)


def sign_test(differences: np.ndarray) -> tuple[int, int, float]:
    """Return the two-sided sign test; of the differences between two classifiers' correctness, McNemar's exact test.

    Args:
        differences: (n,), above 0 where the first is better, below 0 where the second is.

    Returns:
        How many are above 0, how many below, and p; 1 where there is none of either.
    """
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return wins, losses, min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def significance(test: int) -> float:
    """Return the p of a two-sided test below which two classifiers differ, for the k-th test on the same images.

    Whoever tests often enough on the same images finds a difference where there is none. Each test gets a part of the
    risk, 0.1 / (k (k + 1)), which is 0.05 for the first. Of a two-sided p, half is for either side: however many equal
    challengers there are, one is taken for better with a probability of at most the sum of the halves, 0.05 (alpha
    spending: Foster & Stine 2008, doi 10.1111/j.1467-9868.2007.00643.x).

    Args:
        test: its number, from 1.
    """
    return 0.1 / (test * (test + 1))


def accuracy_interval(accuracy, images):
    """Return the 95 % confidence interval of accuracies over test images (Wilson 1927), 0 to 1.

    Args:
        accuracy: of one model, 0 to 1, a number or an array.
        images: how many images there are, of the same shape; not 0.

    Returns:
        The low and the high ends, of the same shape.
    """
    z = float(ndtri(0.975))
    middle = accuracy + z**2 / (2 * images)
    half = z * np.sqrt(accuracy * (1 - accuracy) / images + (z / (2 * images)) ** 2)
    return tuple((middle + side * half) / (1 + z**2 / images) for side in (-1, 1))


def agreement(logits: np.ndarray, other_logits: np.ndarray) -> float:
    """Return the part of the images for which two classifiers predict the same class, correct or wrong.

    Args:
        logits, other_logits: (n, classes).
    """
    return float(np.mean(logits.argmax(axis=1) == other_logits.argmax(axis=1)))
