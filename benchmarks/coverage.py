"""How often the gain's interval holds the true gain, and how often equal recipes come out different: a simulation.

python -m benchmarks coverage
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.record import report
from distillery.evaluation.comparison import accuracy_gain

TRIALS = 2000
ACCURACY = {360: 0.95, 10_000: 0.98}  # by number of test images: those of digits, of MNIST
SEEDS = (3, 5, 10)
SPREADS = ((0.0, 0.0), (0.1, 0.0), (0.35, 0.0), (0.35, 0.35))  # over seeds, of the logit of being correct: either kind
IMAGE_SPREAD = 3.0  # of that logit over images: most are easy for every model
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def main() -> dict:
    """Return coverage and false positives, by images, seeds and spreads."""
    measured = {}
    for images in ACCURACY:
        for seeds in SEEDS:
            for spread, other_spread in SPREADS:
                found = simulate(images, seeds, spread, other_spread, TRIALS)
                measured[f"{images}.{seeds}.{spread}/{other_spread}"] = found
                report(f"{images:,} images, {seeds} seeds, spreads {spread} and {other_spread}: {found}")
    return {"trials": TRIALS, "simulated": measured}


def simulate(images: int, seeds: int, spread: float, other_spread: float, trials: int) -> dict[str, float]:
    """Compare two kinds of classifiers that are equally accurate on average, so that the true gain is zero.

    The logit of being correct is a mean, an effect of the image that all models share, and an effect of the model;
    given that, each is correct or wrong by itself.

    Args:
        images: in the test set, drawn anew in each trial.
        seeds: models of each kind.
        spread, other_spread: standard deviation over the models of a kind.
        trials: how many.

    Returns:
        The parts of the trials in which the interval holds zero, and in which p is below 0.05.
    """
    random = np.random.default_rng([images, seeds, int(100 * spread), int(100 * other_spread)])
    spreads = spread, other_spread
    means = [_mean_logit(ACCURACY[images], own) for own in spreads]
    covered, different = 0, 0
    for _ in range(trials):
        of_images = IMAGE_SPREAD * random.standard_normal(images)
        correct = [
            random.random((seeds, images)) < expit(mean + of_images + own * random.standard_normal((seeds, 1)))
            for mean, own in zip(means, spreads, strict=True)
        ]
        gain = accuracy_gain(*correct)
        covered += gain.ci_low <= 0 <= gain.ci_high
        different += gain.p < 0.05
    return {"coverage": covered / trials, "false_positives": different / trials}


def _mean_logit(accuracy: float, spread: float) -> float:
    """Return the mean with which a kind is as accurate as this, over all images and models."""
    deviation = np.hypot(IMAGE_SPREAD, spread)

    def surplus(mean: float) -> float:
        return float(WEIGHTS @ expit(mean + deviation * NODES) / WEIGHTS.sum()) - accuracy

    return brentq(surplus, 0, 40)
