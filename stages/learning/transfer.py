"""`data/transfer/`: the teacher's logits over the training images and their views, computed once."""

import hashlib
import json
from pathlib import Path

import numpy as np

from stages.files import write_array, write_json
from stages.params import InputError

FOLDER = Path("data/transfer")


def save_transfer(logits: np.ndarray, teacher_digest: str, images_digest: str, offsets: np.ndarray) -> None:
    """Write the logits and whose they are.

    Args:
        logits: float32, (views, n, classes), those of view v of training image i at [v, i].
        teacher_digest: SHA-256 of the teacher's file.
        images_digest: digest of the training split.
        offsets: int8, (views, n, 3): the views.
    """
    write_array(FOLDER / "logits.npy", logits)
    write_json(
        FOLDER / "transfer.json",
        {
            "shape": list(logits.shape),
            "logits_sha256": hashlib.sha256(logits).hexdigest(),
            "teacher_sha256": teacher_digest,
            "images_sha256": images_digest,
            "views_sha256": _digest(offsets),
        },
    )


def load_transfer(classes: int, images_digest: str, offsets: np.ndarray) -> tuple[np.ndarray, str]:
    """The teacher's logits, checked to be those of these views of these images.

    Args:
        classes: number of classes.
        images_digest: digest of the training split.
        offsets: int8, (views, n, 3): the views that students will be shown.

    Returns:
        float32, (views, n, classes), mapped from the file; and the SHA-256 of the teacher's file.

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
