"""`data/prepared/`: what `prepare` writes and every later stage reads."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import write_array, write_json

FOLDER = Path("data/prepared")


@dataclass(frozen=True)
class Split:
    """One part of the data set.

    Attributes:
        images: uint8, (n, height, width, channels); mapped from the file, so that only what is used is read.
        labels: int32, (n,).
        digest: SHA-256 over images and labels.
    """

    images: np.ndarray
    labels: np.ndarray
    digest: str


def save_prepared(name: str, classes: list[str], source: str, splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    """Write the arrays of every split and, last, `dataset.json`, which describes them.

    Args:
        name: the data set's name.
        classes: the classes' names.
        source: where the data set comes from.
        splits: `train`, `validation` and `test`, each uint8 images (n, height, width, channels) and int32 labels (n,).

    Returns:
        What stands in `dataset.json`.
    """
    description = {
        "name": name,
        "classes": classes,
        "image_shape": list(splits["train"][0].shape[1:]),
        "sizes": {part: len(labels) for part, (_, labels) in splits.items()},
        "class_counts": {
            part: dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
            for part, (_, labels) in splits.items()
        },
        "source": source,
        "digests": {part: _digest(images, labels) for part, (images, labels) in splits.items()},
    }
    for part, (images, labels) in splits.items():
        write_array(FOLDER / f"{part}_images.npy", images)
        write_array(FOLDER / f"{part}_labels.npy", labels)
    write_json(FOLDER / "dataset.json", description)
    return description


def load_description() -> dict:
    """What `dataset.json` says.

    Raises:
        InputError: when it is missing or damaged.
    """
    try:
        return json.loads((FOLDER / "dataset.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{FOLDER}/dataset.json: no such file; run `dvc repro prepare` first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{FOLDER}/dataset.json: cannot be read ({error}); run `dvc repro --force prepare`") from None


def load_split(part: str) -> Split:
    """One of `train`, `validation`, `test`.

    Raises:
        InputError: when a file is missing, damaged or not the one that `dataset.json` describes.
    """
    description = load_description()
    shape = (description["sizes"][part],)
    images = _load(FOLDER / f"{part}_images.npy", np.uint8, (*shape, *description["image_shape"]))
    labels = _load(FOLDER / f"{part}_labels.npy", np.int32, shape)
    return Split(images, labels, description["digests"][part])


def select(split: Split, positions: np.ndarray) -> Split:
    """The images at some positions, copied into memory."""
    images, labels = split.images[positions], split.labels[positions]
    return Split(images, labels, _digest(images, labels))


def _load(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `dvc repro prepare` first") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro --force prepare`") from None
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{path}: found {array.dtype} of shape {array.shape}, dataset.json says {np.dtype(dtype)} {shape}; "
            "run `dvc repro --force prepare`"
        )
    return array


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
