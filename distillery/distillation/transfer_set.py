"""The transfer set: the teacher's outputs over the training images and their views, computed once."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import atomic_write, map_array, read_json, write_json
from distillery.data.progress import Progress
from distillery.learning.augmentation import Views
from distillery.learning.prediction import PREDICT_BATCH
from distillery.learning.teacher_files import Teacher

HALF_PRECISION_FROM = 100  # classes: with fewer, logits are a small part of what is stored


def view_outputs(teacher: Teacher, images: np.ndarray, views: Views, number: int) -> dict[str, np.ndarray]:
    """Return the teacher's outputs on one view of all images, by name, each (n, ...).

    Args:
        teacher: the teacher.
        images: uint8, (n, height, width, channels).
        views: of these images.
        number: of the view.
    """
    batches, starts = [], range(0, len(images), PREDICT_BATCH)
    progress = Progress(
        f"view {number + 1} of {views.count}", len(starts), later=len(starts) * (views.count - number - 1)
    )
    for start in starts:
        batch = images[start : start + PREDICT_BATCH]
        shown = views.show(batch, np.arange(start, start + len(batch)), number)
        batches.append(teacher.outputs(shown))
        progress.update(len(batches))
    progress.close()
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def save_transfer_set(
    folder: Path, outputs: Iterable[Mapping[str, np.ndarray]], teacher_digest: str, images_digest: str, views: Views
) -> None:
    """Write the teacher's outputs and whose they are, one view after the other: one is in memory at a time.

    Args:
        folder: where to: an array per output, `logits.npy`, and `transfer.json`.
        outputs: of each view, by name, each (n, ...); logits of many classes are written in half precision, `compact`.
        teacher_digest: SHA-256 of the teacher's file.
        images_digest: digest of the training split.
        views: of the training images.
    """
    stored, digests = {}, {}
    with ExitStack() as files:
        for number, of_view in enumerate(outputs):
            for name, values in of_view.items():
                if name == "logits" and values.shape[1] >= HALF_PRECISION_FROM:
                    values = compact(values)
                if name not in stored:
                    path = files.enter_context(atomic_write(folder / f"{name}.npy"))
                    shape = (views.count, *values.shape)
                    stored[name] = np.lib.format.open_memmap(path, mode="w+", dtype=values.dtype, shape=shape)
                    digests[name] = hashlib.sha256()
                stored[name][number] = values
                digests[name].update(stored[name][number])
        described = {
            name: {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digests[name].hexdigest()}
            for name, array in stored.items()
        }
        for array in stored.values():
            array.flush()
        stored.clear()
    write_json(
        folder / "transfer.json",
        {
            "outputs": described,
            "teacher_sha256": teacher_digest,
            "images_sha256": images_digest,
            "views": views.describe(),
        },
    )


def compact(logits: np.ndarray) -> np.ndarray:
    """Return logits in half precision, shifted so that the largest of each image is 0.

    The softmax does not change with the shift, and half precision is finest near 0: what counts is kept best. Where a
    class is further below the largest than half precision reaches, its probability is 0 at any temperature up to 500.

    Args:
        logits: float32, (n, classes).

    Returns:
        float16, (n, classes), from −65504 to 0.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.maximum(shifted, np.finfo(np.float16).min).astype(np.float16)


def load_transfer_set(folder: Path, images_digest: str, views: Views) -> tuple[dict[str, np.ndarray], str]:
    """Return the teacher's outputs, and whose they are.

    Args:
        folder: where they are.
        images_digest: digest of the training split.
        views: those that students will see.

    Returns:
        Each output by name, (views, n, ...), mapped from its file: `logits`, float32 or, of many classes, float16,
        (views, n, classes); and the SHA-256 of the teacher's file.

    Raises:
        InputError: when the files are missing, damaged, or belong to other images or views.
    """
    stored = read_json(folder / "transfer.json")
    again = "run `dvc repro --force transfer`"
    if stored["images_sha256"] != images_digest:
        raise InputError(f"{folder}: the logits belong to other training images than data/prepared holds; {again}")
    if stored["views"] != views.describe():
        raise InputError(
            f"{folder}: the logits belong to other views than student.views, .max_shift and .horizontal_flip; {again}"
        )
    outputs = {
        name: map_array(folder / f"{name}.npy", np.dtype(described["dtype"]), tuple(described["shape"]))
        for name, described in stored["outputs"].items()
    }
    return outputs, stored["teacher_sha256"]
