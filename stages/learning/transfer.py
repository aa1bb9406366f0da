"""`data/transfer/`: the teacher's logits over the training images, computed once and used by every later experiment."""

import json
from pathlib import Path

import numpy as np

from stages.files import write_array, write_json
from stages.params import InputError

FOLDER = Path("data/transfer")


def save_transfer(logits: np.ndarray, teacher_digest: str, images_digest: str) -> None:
    """Write the logits and whose they are.

    Args:
        logits: float32, (n, classes), row i for training image i.
        teacher_digest: SHA-256 of the teacher's file.
        images_digest: digest of the training split.
    """
    write_array(FOLDER / "logits.npy", logits)
    write_json(
        FOLDER / "transfer.json",
        {"shape": list(logits.shape), "teacher_sha256": teacher_digest, "images_sha256": images_digest},
    )


def load_transfer(images: int, classes: int, images_digest: str) -> np.ndarray:
    """The teacher's logits, checked to be those of these images.

    Args:
        images: number of training images.
        classes: number of classes.
        images_digest: digest of the training split.

    Returns:
        float32, (images, classes), mapped from the file.

    Raises:
        InputError: when the files are missing, damaged or belong to other images.
    """
    again = "run `dvc repro --force train_teacher`"
    try:
        identity = json.loads((FOLDER / "transfer.json").read_text(encoding="utf-8"))
        logits = np.load(FOLDER / "logits.npy", mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; run `dvc repro train_teacher` first") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{FOLDER}: damaged ({error}); {again}") from None
    if identity["images_sha256"] != images_digest:
        raise InputError(f"{FOLDER}: the logits belong to other training images than data/prepared holds; {again}")
    if logits.shape != (images, classes):
        raise InputError(f"{FOLDER}/logits.npy: found shape {logits.shape}, expected {(images, classes)}; {again}")
    return logits
