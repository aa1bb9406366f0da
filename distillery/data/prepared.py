"""The prepared data: what `prepare` writes and every later stage reads."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import atomic_write, map_array, new_map, read_json, write_array, write_json
from distillery.data.whole_pictures import Pictures, WholePictures, knows_wholes, whole_picture

COPIED_BYTES = 1 << 24  # of images at once
WHOLE = ("train", "unlabelled")  # the parts of which crops are shown
NUMBERED_CLASSES = 2**16  # at most, where each logit that is kept has the number of its class, in 16 bits


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says of the prepared data.

    Attributes:
        name: of the data set.
        classes: the names of the classes, in the order of the labels.
        image_shape: (height, width, channels).
        sizes: number of images, by part: `train`, `validation`, `test`, and `unlabelled` where there are such.
        class_counts: number of images, by part and by name of the class.
        source: where the data set comes from.
        digests: SHA-256 over images and labels, by part.
        whole_values: number of values of the pictures that are more than their squares, by part; None, and not in the
            file, where there are no such.
        preprocessing: what was done to pictures of any size, as `distillery/datasets/pictures.py` names it; None,
            and not in the file, where nothing was.
        files: paths of the images from the data set's folder, by part; they stand in `files.json`. None where the
            images are no files.
    """

    name: str
    classes: list[str]
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    source: str
    digests: dict[str, str]
    preprocessing: dict[str, int | str] | None = None
    files: dict[str, list[str]] | None = None
    whole_values: dict[str, int] | None = None

    def tree(self) -> dict[str, Any]:
        """Return what stands in the file."""
        tree = {key: value for key, value in asdict(self).items() if key != "files"}
        return {key: value for key, value in tree.items() if key not in ("preprocessing", "whole_values") or value}

    def check_augmentation(self, name: str, section) -> None:
        """Check that no view of an image loses most of it, and that grey images are not augmented in vain.

        Args:
            name: of a section of the parameters.
            section: with `max_shift` and `augment`; None where they are those of another section.

        Raises:
            InputError: when a shift is more than a quarter of the shorter side, or grey images have a saturation.
        """
        height, width, channels = self.image_shape
        if (section.max_shift or 0) > min(height, width) // 4:
            raise InputError(
                f"params.yaml: {name}.max_shift: found {section.max_shift}, for images of {height} × {width} pixels; "
                f"accepted: up to {min(height, width) // 4}, a quarter of the shorter side"
            )
        if channels == 1 and section.augment and section.augment.saturation:
            found = section.augment.saturation
            raise InputError(f"params.yaml: {name}.augment.saturation: found {found}, for grey images; accepted: 0.0")

    def check_folds(self, folds: int, omitted: Sequence[str]) -> None:
        """Check that each fold of a cross-validation has an image.

        Args:
            folds: the parameter `distill.folds`.
            omitted: names of classes that students never see.

        Raises:
            InputError: when there are more folds than labelled images.
        """
        images = sum(count for name, count in self.class_counts["train"].items() if name not in omitted)
        if folds > images:
            raise InputError(
                f"params.yaml: distill.folds: found {folds}; accepted: up to the number of images that students learn"
                f" from, {images}"
            )

    def check_top_classes(self, count: int | None) -> None:
        """Check that there are more classes than those whose logits are kept.

        Args:
            count: the parameter `transfer.top_classes`; None keeps the logits of all.

        Raises:
            InputError: when there are not, or more than can be numbered.
        """
        classes = len(self.classes)
        numbered = classes <= NUMBERED_CLASSES
        if count is not None and not (count < classes and numbered):
            accepted = f"1 to {classes - 1:,}, or null for all" if numbered else "null, of more than 65,536 classes"
            raise InputError(
                f"params.yaml: transfer.top_classes: found {count:,}, for {classes:,} classes; accepted: {accepted}"
            )

    def labels_of(self, names: Sequence[str]) -> list[int]:
        """Return the labels of classes that students shall not see.

        Args:
            names: of the classes.

        Raises:
            InputError: when a name is unknown, or fewer than two classes are left.
        """
        for name in names:
            if name not in self.classes:
                more = f" and {len(self.classes) - 20} more" if len(self.classes) > 20 else ""
                raise InputError(
                    f"params.yaml: student.omit_classes: found {name!r}; accepted: names of classes of the data set, "
                    f"{', '.join(self.classes[:20])}{more}"
                )
        if len(self.classes) - len(names) < 2:
            raise InputError(
                f"params.yaml: student.omit_classes: leaves {len(self.classes) - len(names)} classes; accepted: 2 left"
            )
        return [self.classes.index(name) for name in names]


@dataclass(frozen=True)
class Split:
    """One part of the data set.

    Attributes:
        images: uint8, (n, height, width, channels); mapped from the file, so that only what is used is read. Images
            that learn or teach know their whole pictures, where these are more than a square.
        labels: int32, (n,).
        digest: SHA-256 over images and labels.
    """

    images: np.ndarray
    labels: np.ndarray
    digest: str


def save_prepared(
    folder: Path,
    name: str,
    classes: list[str],
    source: str,
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    preprocessing: dict[str, int | str] | None = None,
    files: dict[str, list[str]] | None = None,
) -> DatasetInfo:
    """Write the arrays of every split and, last, `dataset.json`, which describes them.

    Args:
        folder: where to.
        name: the data set's name.
        classes: the classes' names.
        source: where the data set comes from.
        splits: `train`, `validation` and `test`, each uint8 images (n, height, width, channels) and int32 labels (n,);
            and `unlabelled`, where there are such, whose labels are −1. Of images of `WHOLE` that know their whole
            pictures these are kept, too.
        preprocessing: what was done to pictures of any size; None where nothing was.
        files: paths of the images from the data set's folder, by part; None where the images are no files.

    Returns:
        What stands in `dataset.json`.
    """
    digests = {part: _write_split(folder, part, *arrays) for part, arrays in splits.items()}
    whole_values = {}
    for part in WHOLE:
        if part in splits and knows_wholes(splits[part][0]):
            whole_values[part], digests[part] = _write_wholes(folder, part, splits[part][0], digests[part])
    info = DatasetInfo(
        name=name,
        classes=classes,
        image_shape=tuple(splits["train"][0].shape[1:]),
        sizes={part: len(labels) for part, (_, labels) in splits.items()},
        class_counts={
            part: dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
            for part, (_, labels) in splits.items()
            if part != "unlabelled"
        },
        source=source,
        digests=digests,
        preprocessing=preprocessing,
        files=files or None,
        whole_values=whole_values or None,
    )
    if files:
        write_json(folder / "files.json", files)
    write_json(folder / "dataset.json", info.tree())
    return info


def load_info(folder: Path) -> DatasetInfo:
    """Return what `dataset.json` in the folder says.

    Raises:
        InputError: when it is missing or damaged.
    """
    tree = read_json(folder / "dataset.json")
    try:
        files = read_json(folder / "files.json") if (folder / "files.json").is_file() else None
        return DatasetInfo(**tree | {"image_shape": tuple(tree["image_shape"]), "files": files})
    except (TypeError, KeyError) as error:
        raise InputError(f"{folder}/dataset.json: damaged ({error}); run `dvc repro --force prepare`") from None


def load_split(folder: Path, part: str) -> Split:
    """Return one of `train`, `validation`, `test`, or `unlabelled` where `dataset.json` has it.

    Raises:
        InputError: when a file is missing, damaged or not the one that `dataset.json` describes.
    """
    info = load_info(folder)
    count = info.sizes[part]
    images = map_array(folder / f"{part}_images.npy", np.uint8, (count, *info.image_shape))
    labels = map_array(folder / f"{part}_labels.npy", np.int32, (count,))
    if part in (info.whole_values or {}):
        values = map_array(folder / f"{part}_whole.npy", np.uint8, (info.whole_values[part],))
        sizes = map_array(folder / f"{part}_whole_sizes.npy", np.int32, (count, 2))
        images = Pictures(images, WholePictures(values, sizes, info.image_shape[2]))
    return Split(images, labels, info.digests[part])


class Joined:
    """Images of several parts as one array, read when they are asked for.

    Args:
        parts: uint8, (n, height, width, channels) each.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[np.ndarray]):
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
        self.knows_wholes = any(map(knows_wholes, parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Return some images, uint8, (m, height, width, channels)."""
        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(len(self)))
        found, places = np.empty((len(chosen), *self.shape[1:]), np.uint8), np.searchsorted(self._ends, chosen, "right")
        for place, (part, end) in enumerate(zip(self._parts, self._ends, strict=True)):
            mine = places == place
            found[mine] = part[chosen[mine] - (end - len(part))]
        return found

    def whole(self, number: int) -> np.ndarray:
        """Return a whole picture, uint8, (height, width, channels)."""
        place = int(np.searchsorted(self._ends, number, "right"))
        part = self._parts[place]
        return whole_picture(part, number - (self._ends[place] - len(part)))


def load_shown(folder: Path) -> Split:
    """Return all images that a teacher shows to students: the training images, then those without a label, −1."""
    train = load_split(folder, "train")
    if "unlabelled" not in load_info(folder).sizes:
        return train
    more = load_split(folder, "unlabelled")
    digest = hashlib.sha256(f"{train.digest} {more.digest}".encode()).hexdigest()
    return Split(Joined([train.images, more.images]), np.concatenate([train.labels, more.labels]), digest)


def select(split: Split, indices: np.ndarray) -> Split:
    """Return the images at some indices, copied into memory."""
    images, labels = split.images[indices], split.labels[indices]
    return Split(images, labels, _digest(images, labels))


def _write_split(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> str:
    """Write a part, some images after the other, and return its digest."""
    with atomic_write(folder / f"{part}_images.npy") as path:
        written = new_map(path, np.uint8, tuple(images.shape))
        rows = max(1, COPIED_BYTES // written[0].nbytes)
        for start in range(0, len(images), rows):
            written[start : start + rows] = images[start : start + rows]
        written.flush()
        digest = _digest(written, labels)
    write_array(folder / f"{part}_labels.npy", labels)
    return digest


def _write_wholes(folder: Path, part: str, images, digest: str) -> tuple[int, str]:
    """Write the whole pictures of a part, and return the number of their values, and the part's digest with them."""
    side = images.shape[1]
    sizes = np.array([images.whole(number).shape[:2] for number in range(len(images))], np.int32).reshape(-1, 2)
    sizes[(sizes == side).all(axis=1)] = 0  # it is the square
    values = int(np.prod(sizes, axis=1, dtype=np.int64).sum()) * images.shape[3]
    of_all = hashlib.sha256(digest.encode())
    with atomic_write(folder / f"{part}_whole.npy") as path:
        written = new_map(path, np.uint8, (values,))
        start = 0
        for number in np.flatnonzero(sizes[:, 0]):
            picture = images.whole(number)
            written[start : start + picture.size] = picture.ravel()
            start += picture.size
            of_all.update(np.ascontiguousarray(picture))
        written.flush()
    write_array(folder / f"{part}_whole_sizes.npy", sizes)
    of_all.update(sizes)
    return values, of_all.hexdigest()


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
