"""A data set, and what must hold of it."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from distillery.data.errors import InputError
from distillery.data.whole_pictures import knows_wholes, whole_picture
from distillery.datasets.pictures import Preprocessing


class Rows:
    """Some images of an array, which may be larger than the memory: they are read when they are asked for.

    Args:
        images: uint8, (n, height, width, channels).
        rows: int, (m,), which of them.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, images: "np.ndarray | Rows", rows: np.ndarray):
        self._images, self._rows = (images._images, images._rows[rows]) if isinstance(images, Rows) else (images, rows)
        self.shape = (len(self._rows), *self._images.shape[1:])
        self.knows_wholes = knows_wholes(self._images)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen) -> np.ndarray:
        return self._images[self._rows[chosen]]

    def whole(self, number: int) -> np.ndarray:
        """Return a whole picture, uint8, (height, width, channels)."""
        return whole_picture(self._images, self._rows[number])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        classes: names of the classes, in the order of the labels.
        train_images, test_images: uint8, (n, height, width, channels); an array, or some rows of one.
        train_labels, test_labels: int32, (n,).
        source: where the data set comes from, the same whichever copy was read.
        retrieved_from: which copy was read.
        validation_images, validation_labels: as the others; None where a part of the training images is drawn.
        unlabelled_images: as the others; of no known class. None where there are none.
        files: name of each image by part, for messages; a part without names has numbers.
        preprocessing: what was done to pictures of any size; None where nothing was.
        original_sizes: height and width of each picture before that, int, (n, 2), by part; empty where nothing was.
        unreadable: files of each class that were left out since they are no pictures that can be read, by its name.
    """

    classes: list[str]
    train_images: np.ndarray | Rows
    train_labels: np.ndarray
    test_images: np.ndarray | Rows
    test_labels: np.ndarray
    source: str
    retrieved_from: str
    validation_images: np.ndarray | Rows | None = None
    validation_labels: np.ndarray | None = None
    unlabelled_images: np.ndarray | Rows | None = None
    files: Mapping[str, list[str]] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    original_sizes: Mapping[str, np.ndarray] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)

    def with_part(self, part: str, of: str, chosen: np.ndarray) -> "Dataset":
        """Return the data set with some images of a part as a part, which may be the same.

        Args:
            part, of: `train`, `validation` or `test`.
            chosen: int, (n,): the positions of the images.
        """
        images, labels = self.parts()[of]
        files = {part: [self.files[of][place] for place in chosen]} if of in self.files else {}
        arrays = {f"{part}_images": Rows(images, chosen), f"{part}_labels": labels[chosen]}
        sizes = {part: self.original_sizes[of][chosen]} if of in self.original_sizes else {}
        return replace(self, **arrays, files={**self.files, **files}, original_sizes={**self.original_sizes, **sizes})

    def name_of(self, part: str, place: int) -> str:
        """Return the name of an image, for messages."""
        return self.files[part][place] if part in self.files else f"{part} image {place}"

    def parts(self) -> dict[str, tuple[np.ndarray | Rows, np.ndarray]]:
        """Return images and labels of `train`, of `validation` where it is given, and of `test`."""
        parts = {"train": (self.train_images, self.train_labels)}
        if self.validation_images is not None:
            parts["validation"] = (self.validation_images, self.validation_labels)
        return parts | {"test": (self.test_images, self.test_labels)}


def breaks_lines(name: str) -> bool:
    """Return whether a name cannot be a line of a text file: with a line end of any kind, or no text at all."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character != "\t" for character in name)


def checked(dataset: Dataset, path: str) -> Dataset:
    """Return the data set with its labels as int32.

    Args:
        dataset: what the function `load` of a file returned.
        path: the file, for the message.

    Raises:
        InputError: when it is no data set of images that the pipeline can use.
    """
    if not isinstance(dataset, Dataset):
        raise InputError(f"{path}: load() returned {type(dataset).__name__}; accepted: distillery's Dataset")
    _check_texts(dataset, path)
    parts, train = dataset.parts(), dataset.train_images
    for part, (images, _) in parts.items():
        _check_images(f"{path}: {part}_images", images)
        _check_labels(path, part, dataset)
        if images.shape[1:] != train.shape[1:]:
            raise InputError(
                f"{path}: train_images have the shape {train.shape[1:]}, {part}_images {images.shape[1:]}; "
                "accepted: one shape"
            )
    return replace(dataset, **{f"{part}_labels": labels.astype(np.int32) for part, (_, labels) in parts.items()})


def _check_texts(dataset: Dataset, path: str) -> None:
    classes = dataset.classes
    if not isinstance(classes, list) or not all(isinstance(name, str) and not breaks_lines(name) for name in classes):
        raise InputError(f"{path}: classes is no list of names; accepted: a list of strings of one line each")
    if len(classes) < 2 or not all(classes):
        raise InputError(f"{path}: classes is {classes}; accepted: two names or more, none of them empty")
    repeated = [name for name, following in pairwise(sorted(classes)) if name == following]
    if repeated:
        raise InputError(f"{path}: classes has {repeated[0]!r} more than once; accepted: different names")
    for name in ("source", "retrieved_from"):
        if not isinstance(getattr(dataset, name), str):
            raise InputError(f"{path}: {name} is {getattr(dataset, name)!r}; accepted: a string")


def _check_images(where: str, images: np.ndarray) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise InputError(f"{where}: found {found}; accepted: a NumPy array of uint8, 0 to 255")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise InputError(f"{where}: found the shape {images.shape}; accepted: (n, height, width, 1 or 3)")


def _check_labels(path: str, part: str, dataset: Dataset) -> None:
    where, labels = f"{path}: {part}_labels", getattr(dataset, f"{part}_labels")
    count, classes = len(getattr(dataset, f"{part}_images")), dataset.classes
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        found = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise InputError(f"{where}: found {found}; accepted: a NumPy array of integers")
    if labels.shape != (count,):
        raise InputError(f"{where}: found the shape {labels.shape}; accepted: ({count},), one label per image")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise InputError(f"{where}: found {labels.min()} to {labels.max()}; accepted: 0 to {len(classes) - 1}")
    missing = [
        name for name, images in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True) if not images
    ]
    if missing:
        raise InputError(f"{where}: no image of class {missing[0]!r}; accepted: one or more of each class")
