"""What `fit` is given: shuffled anew each epoch, every random number a function of (seed, epoch, batch) alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from distillery.data.random_streams import Purpose, generator
from distillery.learning.augmentation import Policy, Views, apply, draw, mixing, pictures_to_crop
from distillery.learning.resizing import ResizedImages, resized, resized_when_read

READ_ROWS = 4096  # read at once from a mapped file
SEGMENT_BYTES = 2**26  # of images and teacher outputs at once in memory, once more while Keras holds its copy

Targets = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """What a model learns from.

    Attributes:
        images: uint8, (n, height, width, channels); may be mapped from a file.
        labels: int, (n,); −1 of images whose class is unknown.
        indices: int, (m,): the images to train on; all when None.
        views: each image is shown in the next of its views every epoch; as it is when None.
        teacher: the teacher's outputs by name, each (views, n, ...): of view v of image i at [v, i].
        augmentation: drawn anew for each batch; none when None.
        size: (height, width) that each view is scaled to; that of the images when None.
        classes: number of classes; what mixes images needs it.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray | None = None
    views: Views | None = None
    teacher: Mapping[str, np.ndarray] = field(default_factory=dict)
    augmentation: Policy | None = None
    size: tuple[int, int] | None = None
    classes: int | None = None

    def shown(self) -> np.ndarray:
        """Return the indices of the images to train on, int, (m,)."""
        return np.arange(len(self.labels)) if self.indices is None else self.indices

    @property
    def as_they_are(self) -> np.ndarray | ResizedImages:
        """The images without augmentation, uint8, (n, height, width, channels), of the size that is learned."""
        return resized_when_read(self.images, self.size)


class Batches:
    """An epoch's images in their order, with their targets: labels or, where there are any, the teacher's outputs too.

    They come in segments of whole batches, as arrays: Keras cuts batches from an array faster than it takes them one by
    one. Teacher outputs are matched to images by image and view, never by place in a batch.

    Args:
        examples: what to learn from.
        batch_size: images per batch; the last batch of an epoch holds the rest.
        seed: with the epoch it gives the order, with the batch the fresh augmentation.
        devices: that share a batch equally: up to so many images less one, others each epoch, are left out.
        segment_bytes: of images and teacher outputs in a segment, about; a batch at least.
        part: which part of each batch to give, from 0, and of how many: of several processes each has its own.

    Attributes:
        batch_size: images per batch, of this part.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int,
        devices: int = 1,
        segment_bytes: int = SEGMENT_BYTES,
        part: tuple[int, int] = (0, 1),
    ):
        self._examples, self._whole, self._seed, self._part = examples, batch_size, seed, part
        self.batch_size = batch_size // part[1]
        self._indices = examples.shown()
        self._some_unknown = bool((examples.labels[self._indices] < 0).any())
        self._shown = len(self._indices) // devices * devices
        first = slice(0, 1)
        image_bytes = max(examples.images[first].nbytes, examples.as_they_are[first].nbytes)
        row_bytes = image_bytes + sum(output[0, :1].nbytes for output in examples.teacher.values())
        self._segment_rows = max(1, segment_bytes // (row_bytes * batch_size)) * batch_size

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(self._shown / self._whole)

    def segments(self, epoch: int) -> Iterator[tuple[np.ndarray, Targets]]:
        """Yield images as raw uint8 pixels (m, height, width, channels), and their targets, segment by segment.

        Args:
            epoch: its number, from 1.

        Yields:
            Images and labels (m,), or images and the named targets `{"labels": (m,), "logits": (m, classes)}`. Where
            images may be mixed, or have no label, the labels are float32, (m, classes): each class's part.
        """
        random = generator(Purpose.ORDER, self._seed, epoch)
        order = self._indices[random.permutation(len(self._indices))[: self._shown]]
        mixed = self._examples.augmentation is not None and self._examples.augmentation.mixes
        for start in range(0, len(order), self._segment_rows):
            segment = order[start : start + self._segment_rows]
            own = self._own_rows(len(segment))
            made = np.ones_like(own) if mixed else own  # images of other parts may be mixed into those of this one
            indices = segment[made]
            numbers = self._view_numbers(indices, epoch)
            images, outputs = self._read(indices, numbers)
            labels, done = [], 0
            for place in range(0, len(segment), self._whole):
                rows = made[place : place + self._whole]
                batch = slice(done, done + np.count_nonzero(rows))
                where = [epoch, (start + place) // self._whole]
                labels.append(self._augment(images[batch], indices[batch], numbers[batch], where, rows))
                done = batch.stop
            labels = np.concatenate(labels)
            if mixed and self._part[1] > 1:
                images, labels, outputs = images[own], labels[own], {name: all_[own] for name, all_ in outputs.items()}
            yield resized(images, self._examples.size), {"labels": labels, **outputs} if outputs else labels

    def _own_rows(self, segment: int) -> np.ndarray:
        """Return which rows of a segment of so many are in this part of their batch, bool, (segment,)."""
        place = np.arange(segment) % self._whole
        batches = np.arange(segment) // self._whole
        sizes = np.minimum(self._whole, segment - batches * self._whole)
        return place * self._part[1] // sizes == self._part[0]

    def _read(self, indices: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return images and teacher outputs at these indices.

        They are read in the order in which they lie in their files, whatever the order in which they are wanted: pages
        of a file that is larger than the memory are then read a few times per epoch, and not anew for each image.
        """
        source = self._examples
        images = np.empty((len(indices), *source.images.shape[1:]), np.uint8)
        outputs = {
            name: np.empty((len(indices), *output.shape[2:]), output.dtype) for name, output in source.teacher.items()
        }
        as_they_lie = np.argsort(indices)
        for start in range(0, len(indices), READ_ROWS):
            wanted = as_they_lie[start : start + READ_ROWS]
            images[wanted] = source.images[indices[wanted]]
            for name, output in source.teacher.items():
                outputs[name][wanted] = output[numbers[wanted], indices[wanted]]
        return images, outputs

    def _view_numbers(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Return the number of the view of each image; every view is seen by some image in every epoch."""
        views = self._examples.views
        return np.zeros(len(indices), int) if views is None else (indices + epoch) % views.count

    def _augment(
        self, images: np.ndarray, indices: np.ndarray, numbers: np.ndarray, place: list[int], rows: np.ndarray
    ) -> np.ndarray:
        """Show a batch's images in their views, in place, and return their labels.

        Args:
            images: uint8, (m, height, width, channels).
            indices, numbers: of the images and of their views, (m,).
            place: the epoch and the number of the batch.
            rows: which of the whole batch they are, bool, (batch,), m of them true.
        """
        examples = self._examples
        labels, size = examples.labels[indices], images.shape[1:3]
        if examples.views is not None:
            images[:] = examples.views.show(images, indices, numbers, examples.images)
            if examples.views.policy.mixes:
                labels = examples.views.mixed_labels(examples.labels, indices, numbers, examples.classes, size)
        if self._some_unknown and labels.ndim == 1:
            labels = mixing.mixed_labels(labels, labels, np.zeros(len(labels)), examples.classes)
        if examples.augmentation not in (None, Policy()):
            random = generator(Purpose.AUGMENTATION, self._seed, *place)
            drawn = draw(examples.augmentation, len(rows), random)[rows]  # the same whatever part of the batch
            images[:] = apply(images, drawn, pictures_to_crop(examples.augmentation, examples.images, indices))
            if examples.augmentation.mixes:
                partner = drawn["partner"]
                images[:] = mixing.mix(images, images[partner], drawn)
                part = mixing.partners_part(drawn, *size)
                labels = mixing.mixed_labels(labels, labels[partner], part, examples.classes)
        return labels
