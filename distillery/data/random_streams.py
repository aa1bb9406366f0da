"""Random numbers: a stream of its own for each purpose, seed and place."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are drawn for, the first word of their seed.

    Without it, streams would be the same by accident: NumPy takes `[seed, epoch]` and `[seed, epoch, 0]` for the same
    seed, and so the order of an epoch and the shifts of its first batch would come from the same numbers.
    """

    ORDER = 1  # of the images in an epoch
    AUGMENTATION = 2  # drawn anew for each batch
    VIEWS = 3  # that students see and the teacher's outputs are stored of
    CALIBRATION_IMAGES = 4  # of the int8 student
    TRAINING_SAMPLE = 5  # on which overfitting is measured
    CALIBRATED_MODEL = 6  # simulated, to compare calibration errors with
    TIMING = 7  # the order in which models are timed
    SAMPLE_SHEET = 8  # of training images
    CONVENTIONS = 9  # images on which conventions of pixels compete
    REPLAY = 10  # views that are drawn anew, to check what is stored of them
    VIEW_SHEET = 11  # training images whose views are drawn


def generator(purpose: Purpose, *words: int) -> np.random.Generator:
    """Return the generator of a purpose.

    Args:
        purpose: what for.
        words: a seed and, for the same purpose always equally many, places such as epoch and batch.
    """
    return np.random.default_rng([purpose, *words])
