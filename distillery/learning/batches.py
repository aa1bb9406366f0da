"""What `fit` is given: shuffled anew each epoch, every random number a function of (seed, epoch, batch) alone."""

import math
from collections.abc import Iterator

import numpy as np

from distillery.learning.augmentation import draw_offsets, show
from distillery.learning.mapped import MappedPages

READ_ROWS = 4096  # at once, after which memory is looked at
SEGMENT_BYTES = 2**28  # of images and logits at once in memory, once more while Keras holds its copy


class Batches:
    """An epoch's images in their order, with their labels or, for `Distiller`, labels and teacher logits.

    They come in segments of whole batches, as arrays: Keras cuts batches from an array faster than it takes them one by
    one. Logits are matched to images by image and view, never by place in a batch.

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
        devices: that share a batch equally: up to so many images less one, others each epoch, are left out.
        segment_bytes: of images and logits in a segment, about; a batch at least.
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
        devices: int = 1,
        segment_bytes: int = SEGMENT_BYTES,
    ):
        self._images, self._labels, self._teacher_logits = images, labels, teacher_logits
        self.batch_size, self._seed, self._jitter, self._flip = batch_size, seed, jitter, flip
        self._among = np.arange(len(labels)) if among is None else among
        self._offsets = offsets
        self._shown = len(self._among) // devices * devices
        self._mapped = MappedPages([images] if teacher_logits is None else [images, teacher_logits])
        row_bytes = images[:1].nbytes + (0 if teacher_logits is None else teacher_logits[0, :1].nbytes)
        self._segment_rows = max(1, segment_bytes // (row_bytes * batch_size)) * batch_size

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(self._shown / self.batch_size)

    def segments(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray | dict[str, np.ndarray]]]:
        """Images (m, height, width, channels) as raw uint8 pixels, and their targets, segment by segment.

        Args:
            epoch: its number, from 1.

        Yields:
            Images and labels (m,), or images and `{"labels": (m,), "teacher_logits": (m, classes)}`.
        """
        order = self._among[np.random.default_rng([self._seed, epoch]).permutation(len(self._among))[: self._shown]]
        for start in range(0, len(order), self._segment_rows):
            chosen = order[start : start + self._segment_rows]
            views = self._views(chosen, epoch)
            images, logits = self._read(chosen, views)
            for place in range(0, len(chosen), self.batch_size):
                batch = slice(place, place + self.batch_size)
                self._augment(images[batch], chosen[batch], views[batch], epoch, (start + place) // self.batch_size)
            labels = self._labels[chosen]
            yield images, labels if logits is None else {"labels": labels, "teacher_logits": logits}

    def _read(self, chosen: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Images and, where there are any, logits at these positions.

        They are read in the order in which they lie in their files, whatever the order in which they are wanted: pages
        of a file that is larger than the budget are then mapped a few times an epoch, and not anew for each image.
        """
        images = np.empty((len(chosen), *self._images.shape[1:]), np.uint8)
        logits = None
        if self._teacher_logits is not None:
            logits = np.empty((len(chosen), self._teacher_logits.shape[2]), self._teacher_logits.dtype)
        as_they_lie = np.argsort(chosen)
        for start in range(0, len(chosen), READ_ROWS):
            wanted = as_they_lie[start : start + READ_ROWS]
            images[wanted] = self._images[chosen[wanted]]
            if logits is not None:
                logits[wanted] = self._teacher_logits[views[wanted], chosen[wanted]]
            self._mapped.keep_to_budget()
        return images, logits

    def _views(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        """Every view is seen by some image in every epoch."""
        return np.zeros(len(chosen), int) if self._offsets is None else (chosen + epoch) % len(self._offsets)

    def _augment(self, images: np.ndarray, chosen: np.ndarray, views: np.ndarray, epoch: int, batch: int) -> None:
        """Show a batch's images in their views, in place."""
        if self._offsets is not None:
            images[:] = show(images, self._offsets[views, chosen])
        if self._jitter or self._flip:
            random = np.random.default_rng([self._seed, epoch, batch])
            images[:] = show(images, draw_offsets(len(chosen), self._jitter, self._flip, random))
