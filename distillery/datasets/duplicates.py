"""The same picture twice: within a part of a data set, across parts, under several classes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from distillery.data.errors import InputError
from distillery.data.pixel_digests import pixel_digests
from distillery.datasets.dataset import Dataset, Rows

EXAMPLES = 3
NEAR = 2  # of 255: pictures that look alike differ by less
COMPARED = 100_000_000  # pairs of images: a second or two
LATER = {"train": ("validation", "test"), "validation": ("test",)}  # the part whose image stays is the last


def picture_ids(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a number per image, the same for images of the same pixels, by part.

    Args:
        images: by part, uint8, (n, height, width, channels).

    Returns:
        int, (n,), by part, from 0 without gaps. It stands for 64 bits of a digest: that any two of a million different
        pictures have one number has the probability 3·10⁻⁸.
    """
    digests = pixel_digests(image for part in images.values() for image in part)
    _, ids = np.unique(digests, return_inverse=True)
    ends = np.cumsum([len(part) for part in images.values()])[:-1]
    return dict(zip(images, np.split(ids, ends), strict=True))


def without_duplicates(dataset: Dataset, duplicates: str) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Say which pictures occur twice, and return the data set as it is to be used.

    Args:
        dataset: the images as they are prepared.
        duplicates: `leave_out`: images of `train` that are in `validation` or `test`, too, and images of `validation`
            that are in `test`, are left out. `keep`: none is. Images without a label that have one elsewhere are left
            out in any case. `refuse`: no picture with a label may occur twice.

    Returns:
        The data set; int, (n,): a number per image of `train`, the same for the same picture; and int, (classes,): of
        each class how many images had the pixels of another image, before some were left out.

    Raises:
        InputError: when a picture occurs twice and is refused, or a class has none left.
    """
    parts = dataset.parts()
    shown = {part: images for part, (images, _) in parts.items()}
    if dataset.unlabelled_images is not None:
        shown["unlabelled"] = dataset.unlabelled_images
    ids = picture_ids(shown)
    of_unlabelled = ids.pop("unlabelled", None)
    found, repeated = describe(dataset, ids), _repeated(dataset, ids)
    if found and duplicates == "refuse":
        raise InputError(
            f"prepare.duplicates: refuse, and {'; '.join(found).replace('warning: ', '')}; accepted: every picture once"
        )
    labelled = "" if of_unlabelled is None else " with a label"
    print("\n".join(found or [f"no picture{labelled} occurs twice"]), flush=True)
    if of_unlabelled is not None:
        dataset = _without_known_ones(dataset, of_unlabelled, ids)
    if duplicates == "keep":
        return dataset, ids["train"], repeated
    for part, later in LATER.items():
        kept = ~np.isin(ids.get(part, []), np.concatenate([ids[other] for other in later if other in ids]))
        if kept.all():
            continue
        labels = dataset.parts()[part][1]
        missing = np.setdiff1d(labels, labels[kept])
        if len(missing):
            raise InputError(
                f"prepare.duplicates: leave_out leaves no image of class {dataset.classes[missing[0]]!r} in {part}: all"
                f" are in {' or '.join(later)}, too; accepted: parts that differ, or keep"
            )
        print(f"left out of {part}, since they are in {' or '.join(later)}, too: {(~kept).sum():,} images", flush=True)
        dataset, ids[part] = dataset.with_part(part, part, np.flatnonzero(kept)), ids[part][kept]
    return dataset, ids["train"], repeated


def _without_known_ones(dataset: Dataset, unlabelled: np.ndarray, ids: Mapping[str, np.ndarray]) -> Dataset:
    """Leave out of the unlabelled images those that have a label elsewhere: nothing of the test may be learned from."""
    kept = np.flatnonzero(~np.isin(unlabelled, np.concatenate(list(ids.values()))))
    if left_out := len(unlabelled) - len(kept):
        print(f"left out of unlabelled, since they are in {', '.join(ids)}, too: {left_out:,} images", flush=True)
    return replace(
        dataset,
        unlabelled_images=Rows(dataset.unlabelled_images, kept) if len(kept) else None,
        files={**dataset.files, "unlabelled": [dataset.files["unlabelled"][place] for place in kept]},
    )


def _repeated(dataset: Dataset, ids: Mapping[str, np.ndarray]) -> np.ndarray:
    numbers = np.concatenate(list(ids.values()))
    labels = np.concatenate([labels for _, labels in dataset.parts().values()])
    return np.bincount(labels[np.bincount(numbers)[numbers] > 1], minlength=len(dataset.classes))


def describe(dataset: Dataset, ids: Mapping[str, np.ndarray]) -> list[str]:
    """Return a line for each way in which pictures occur twice, with examples; none where every picture occurs once.

    Args:
        dataset: the images.
        ids: a number per image by part, the same for the same picture.
    """

    def pairs(part: str, numbers: np.ndarray, other: str, others: np.ndarray) -> str:
        first = np.argsort(numbers)[:EXAMPLES]
        examples = zip(numbers[first], others[first], strict=True)
        return ", ".join(f"{dataset.name_of(part, a)} = {dataset.name_of(other, b)}" for a, b in examples)

    lines = []
    for part, numbers in ids.items():
        order = np.argsort(numbers, kind="stable")
        again = np.flatnonzero(np.diff(numbers[order]) == 0)
        if len(again):
            shown = pairs(part, order[again], part, order[again + 1])
            lines.append(f"images of {part} that repeat another of {part}: {len(again):,}, such as {shown}")
    for part, later in LATER.items():
        for other in later:
            if part in ids and other in ids:
                _, here, there = np.intersect1d(ids[part], ids[other], return_indices=True)
                if len(here):
                    count, shown = np.isin(ids[other], ids[part]).sum(), pairs(part, here, other, there)
                    lines.append(f"warning: images of {other} that are in {part}, too: {count:,}, such as {shown}")
    return lines + _under_several_classes(dataset, ids)


def _under_several_classes(dataset: Dataset, ids: Mapping[str, np.ndarray]) -> list[str]:
    parts = {part: labels for part, (_, labels) in dataset.parts().items()}
    labels, numbers = np.concatenate(list(parts.values())), np.concatenate([ids[part] for part in parts])
    order = np.lexsort((labels, numbers))
    again = np.flatnonzero((np.diff(numbers[order]) == 0) & (np.diff(labels[order]) != 0))
    if not len(again):
        return []
    starts = dict(zip(parts, np.cumsum([0, *map(len, parts.values())]), strict=False))

    def named_with_class(image: int) -> str:
        part = max((part for part in parts if starts[part] <= image), key=starts.get)
        return f"{dataset.name_of(part, image - starts[part])} ({dataset.classes[labels[image]]})"

    named = [
        f"{named_with_class(order[place])} = {named_with_class(order[place + 1])}"
        for place in again[np.argsort(order[again])][:EXAMPLES]
    ]
    count = len(np.unique(numbers[order[again]]))
    return [f"warning: pictures under several classes: {count:,}, such as {', '.join(named)}"]


def near_duplicates(dataset: Dataset) -> str | None:
    """Return a line about images that look much like a training image, as a copy saved anew does; None where none does.

    Nothing follows from it: photographs of a series look alike, too. Two images do where the means of their 8 × 8
    blocks differ by less than 2 of 255 on average (root mean square).
    """
    train = _thumbnails(dataset.train_images)
    for part, (images, _) in reversed(dataset.parts().items()):
        if part == "train" or len(images) * len(train) > COMPARED:
            continue
        thumbnails = _thumbnails(images)
        nearest, distances = pairwise_distances_argmin_min(thumbnails, train)
        alike = np.flatnonzero(distances < NEAR * thumbnails.shape[1] ** 0.5)
        if len(alike):
            pairs = [
                f"{dataset.name_of(part, at)} and {dataset.name_of('train', nearest[at])}" for at in alike[:EXAMPLES]
            ]
            return f"images of {part} that look much like one of train: {len(alike):,}, such as {', '.join(pairs)}"
    return None


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Return the means of 8 × 8 blocks, float32, (n, 64 × channels)."""
    thumbnails = np.empty((len(images), 8, 8, images.shape[3]), np.float32)
    rows, columns = (np.linspace(0, side, 9).astype(int) for side in images.shape[1:3])
    sizes = np.outer(np.diff(rows), np.diff(columns))[..., np.newaxis]
    for image, thumbnail in zip(images, thumbnails, strict=True):  # NumPy makes a float of each value
        sums = np.add.reduceat(np.add.reduceat(image, rows[:-1], axis=0, dtype=np.float32), columns[:-1], axis=1)
        thumbnail[:] = sums / sizes
    return thumbnails.reshape(len(images), -1)
