"""Batches for `fit`: shuffled anew each epoch, every random number a function of (seed, epoch, batch) alone."""

import math

import keras
import numpy as np

from stages.data.views import jitter


class Batches(keras.utils.PyDataset):
    """Yields (images, targets), images as raw uint8 pixels.

    Targets are labels, or the dictionary that `Distiller` takes when teacher logits are given; these are matched to
    images by their index in the training set.

    Args:
        images: uint8, (n, height, width, channels); may be mapped from a file.
        labels: int, (n,).
        batch_size: images a batch; the last batch of an epoch holds the rest.
        seed: with the epoch it gives the order, with the batch the jitter.
        teacher_logits: float, (n, classes), row i for image i.
        jitter_pixels: largest shift of the augmentation.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        teacher_logits: np.ndarray | None = None,
        jitter_pixels: int = 0,
    ):
        # More than one worker: with one, Keras lets tf.data tune itself, and the end of every other epoch then waits
        # for that to stop, up to a second. The batches and their order are the same.
        super().__init__(workers=2)
        self._images, self._labels, self._teacher_logits = images, labels, teacher_logits
        self._batch_size, self._seed, self._jitter_pixels = batch_size, seed, jitter_pixels
        self._epoch = 0
        self._shuffle()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def on_epoch_end(self) -> None:
        """Not `on_epoch_begin`: Keras calls that when its workers are already fetching."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._labels))

    def __getitem__(self, batch: int):
        chosen = self._order[batch * self._batch_size : (batch + 1) * self._batch_size]
        images = self._images[chosen]
        if self._jitter_pixels:
            images = jitter(images, self._jitter_pixels, np.random.default_rng([self._seed, self._epoch, batch]))
        labels = self._labels[chosen]
        if self._teacher_logits is None:
            return images, labels
        return images, {"labels": labels, "teacher_logits": self._teacher_logits[chosen]}
