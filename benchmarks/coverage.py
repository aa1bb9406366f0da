"""How often the gain's interval holds the true gain, and how often equals come out different: simulations.

python -m benchmarks coverage
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.record import report
from distillery.evaluation.comparison import accuracy_gain, sign_test, significance

TRIALS = 2000
ACCURACY = {360: 0.95, 10_000: 0.98}  # by number of test images: those of digits, of MNIST
SEEDS = (3, 5, 10)
SPREADS = ((0.0, 0.0), (0.1, 0.0), (0.35, 0.0), (0.35, 0.35))  # over seeds, of the logit of being correct: either kind
IMAGE_SPREAD = 3.0  # of that logit over images: most are easy for every model
CHALLENGERS = 20  # of one champion, all as accurate as it is
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
    promoted = {}
    for images in ACCURACY:
        promoted[str(images)] = found = false_promotions(images, TRIALS)
        report(f"{images:,} images, {CHALLENGERS} challengers: {found}")
    return {"trials": TRIALS, "simulated": measured, "challengers": CHALLENGERS, "false_promotions": promoted}


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


def false_promotions(images: int, trials: int) -> dict[str, float]:
    """Let equally accurate models challenge a champion, one after the other, on the same images.

    Args:
        images: in the test set, drawn anew in each trial.
        trials: how many.

    Returns:
        The parts of the trials in which at least one is promoted: with the registry's bound for p, and with 0.05 each.
    """
    random = np.random.default_rng([images, CHALLENGERS])
    mean = _mean_logit(ACCURACY[images], 0.0)
    bounds = {
        "registry": np.array([significance(test) for test in range(1, CHALLENGERS + 1)]),
        "fixed": np.full(CHALLENGERS, 0.05),
    }
    promoted = dict.fromkeys(bounds, 0)
    for _ in range(trials):
        probabilities = expit(mean + IMAGE_SPREAD * random.standard_normal(images)).astype(np.float32)
        correct = random.random((1 + CHALLENGERS, images), np.float32) < probabilities
        tests = [sign_test(one.astype(np.int8) - correct[0]) for one in correct[1:]]
        p = np.array([p if wins > losses else 1.0 for wins, losses, p in tests])
        for name, bound in bounds.items():
            promoted[name] += (p < bound).any()
    return {name: count / trials for name, count in promoted.items()}


def _mean_logit(accuracy: float, spread: float) -> float:
    """Return the mean with which a kind is as accurate as this, over all images and models."""
    deviation = np.hypot(IMAGE_SPREAD, spread)

    def surplus(mean: float) -> float:
        return float(WEIGHTS @ expit(mean + deviation * NODES) / WEIGHTS.sum()) - accuracy

    return brentq(surplus, 0, 40)
