"""Batches for `fit`: shuffled anew each epoch, every random number a function of (seed, epoch, batch) alone."""

import math

import keras
import numpy as np

from stages.data.views import draw_offsets, show


class Batches(keras.utils.PyDataset):
    """Yields (images, targets), images as raw uint8 pixels.

    Targets are labels, or the dictionary that `Distiller` takes when teacher logits are given; these are matched to
    images by image and view, never by place in a batch.

    Args:
        images: uint8, (n, height, width, channels); may be mapped from a file.
        labels: int, (n,).
        batch_size: images a batch; the last batch of an epoch holds the rest.
        seed: with the epoch it gives the order, with the batch the fresh augmentation.
        among: int, (m,): positions of the images to train on; all when left out.
        offsets: int8, (views, n, 3), stored views: each image is shown in the next of its views every epoch.
        teacher_logits: float, (views, n, classes), of those views, or of the images as they are, (1, n, classes).
        jitter: fresh augmentation, largest shift in pixels.
        flip: fresh augmentation, half of the images mirrored.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        among: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        teacher_logits: np.ndarray | None = None,
        jitter: int = 0,
        flip: bool = False,
    ):
        # More than one worker: with one, Keras lets tf.data tune itself, and the end of every other epoch then waits
        # for that to stop, up to a second. The batches and their order are the same.
        super().__init__(workers=2)
        self._images, self._labels, self._teacher_logits = images, labels, teacher_logits
        self._batch_size, self._seed, self._jitter, self._flip = batch_size, seed, jitter, flip
        self._among = np.arange(len(labels)) if among is None else among
        self._offsets = offsets
        self.continue_after(0)

    def continue_after(self, epochs: int) -> None:
        """Go on as after so many epochs."""
        self._epoch = epochs
        self._shuffle()

    def __len__(self) -> int:
        return math.ceil(len(self._among) / self._batch_size)

    def on_epoch_end(self) -> None:
        """Not `on_epoch_begin`: Keras calls that when its workers are already fetching.

        `fit` calls this once before its first epoch, too, which is therefore number 1 here.
        """
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._among))
        self._order = self._among[order]

    def __getitem__(self, batch: int):
        chosen = self._order[batch * self._batch_size : (batch + 1) * self._batch_size]
        images, views = self._images[chosen], np.zeros(len(chosen), int)
        if self._offsets is not None:
            views = (chosen + self._epoch) % len(self._offsets)  # every view is seen by some image in every epoch
            images = show(images, self._offsets[views, chosen])
        if self._jitter or self._flip:
            random = np.random.default_rng([self._seed, self._epoch, batch])
            images = show(images, draw_offsets(len(chosen), self._jitter, self._flip, random))
        labels = self._labels[chosen]
        if self._teacher_logits is None:
            return images, labels
        return images, {"labels": labels, "teacher_logits": self._teacher_logits[views, chosen]}
