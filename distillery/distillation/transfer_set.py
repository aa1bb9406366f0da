"""`data/transfer/`: the teacher's logits over the training images and their views, computed once."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import write_json, written_whole

FOLDER = Path("data/transfer")
HALF_PRECISION_FROM = 100  # classes: with fewer, logits are a small part of what is stored


def save_transfer(
    views: Iterable[np.ndarray], classes: int, teacher_digest: str, images_digest: str, offsets: np.ndarray
) -> None:
    """Write the logits and whose they are, one view after the other: one is in memory at a time.

    Args:
        views: the logits of each view, float32, (n, classes).
        classes: number of classes; many are written in half precision, `compact`.
        teacher_digest: SHA-256 of the teacher's file.
        images_digest: digest of the training split.
        offsets: int8, (views, n, 3): the views.
    """
    shape = (*offsets.shape[:2], classes)
    dtype = np.float16 if classes >= HALF_PRECISION_FROM else np.float32
    digest = hashlib.sha256()
    with written_whole(FOLDER / "logits.npy") as temporary:
        stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        for view, logits in enumerate(views):
            stored[view] = compact(logits) if dtype == np.float16 else logits
            digest.update(stored[view])
        stored.flush()
        del stored
    write_json(
        FOLDER / "transfer.json",
        {
            "shape": list(shape),
            "logits_sha256": digest.hexdigest(),
            "teacher_sha256": teacher_digest,
            "images_sha256": images_digest,
            "views_sha256": _digest(offsets),
        },
    )


def compact(logits: np.ndarray) -> np.ndarray:
    """Logits in half precision, shifted so that the largest of each image is 0.

    The softmax does not change with the shift, and half precision is finest near 0: what counts is kept best. Where a
    class is further below the largest than half precision reaches, its probability is 0 at any temperature up to 500.

    Args:
        logits: float32, (n, classes).

    Returns:
        float16, (n, classes).
    """
    lowest = np.finfo(np.float16).min
    return np.maximum(logits - logits.max(axis=1, keepdims=True), lowest).astype(np.float16)


def load_transfer(classes: int, images_digest: str, offsets: np.ndarray) -> tuple[np.ndarray, str]:
    """The teacher's logits, checked to be those of these views of these images.

    Args:
        classes: number of classes.
        images_digest: digest of the training split.
        offsets: int8, (views, n, 3): the views that students will be shown.

    Returns:
        float32 or, of many classes, float16, (views, n, classes), mapped from the file; and the SHA-256 of the
        teacher's file.

    Raises:
        InputError: when the files are missing, damaged, or belong to other images or views.
    """
    again = "run `dvc repro --force transfer`"
    shape = (*offsets.shape[:2], classes)
    try:
        identity = json.loads((FOLDER / "transfer.json").read_text(encoding="utf-8"))
        logits = np.load(FOLDER / "logits.npy", mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; run `dvc repro transfer` first") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{FOLDER}: damaged ({error}); {again}") from None
    if identity["images_sha256"] != images_digest:
        raise InputError(f"{FOLDER}: the logits belong to other training images than data/prepared holds; {again}")
    if identity["views_sha256"] != _digest(offsets):
        raise InputError(f"{FOLDER}: the logits belong to other views than student.views, .jitter and .flip; {again}")
    if logits.shape != shape:
        raise InputError(f"{FOLDER}/logits.npy: found shape {logits.shape}, expected {shape}; {again}")
    return logits, identity["teacher_sha256"]


def _digest(offsets: np.ndarray) -> str:
    return hashlib.sha256(f"{offsets.shape}".encode() + offsets.tobytes()).hexdigest()
