"""Take a table of outputs: match its rows to the images and its columns to the classes, and check it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest
from distillery.data.pixel_digests import pixel_digests
from distillery.data.prepared import DatasetInfo, Split
from distillery.teachers.check import guesses, refuse_another_order
from distillery.teachers.classes import outputs_by_name, own_logits, read_classes
from distillery.teachers.outputs import kind_of, logits_of
from distillery.teachers.table import read_table_of_outputs, rows_of, save_table
from distillery.teachers.taken import Taken


def take_table(
    path: Path, settings: Any, info: DatasetInfo, parts: Mapping[str, Split], folder: Path, dataset: str
) -> Taken:
    """Write the table of a teacher's folder: the logits of the data set's classes, by image.

    Args: as of `take.take_teacher`; `path`: the file.

    Raises:
        InputError: when it cannot be read, fits no images or classes, or guesses.
    """
    if not info.files:
        raise InputError(
            f"{path}: a table knows images by their paths; accepted: a folder of images as prepare.dataset"
        )
    for name, default in (("preprocessing", "auto"), ("input_size", "auto"), ("output", None)):
        if getattr(settings, name) != default:
            raise InputError(f"train_teacher.{name}: {path} is a table of outputs, which has none; accepted: {default}")
    names, columns, values = read_table_of_outputs(path)
    if not columns:
        raise InputError(f"{path}: it has no column besides the paths; accepted: a column of numbers a class")
    rows = rows_of(path, names, info.files, dataset)
    width = max(len(columns), 2)  # a single output is that of the second of two classes
    if settings.classes is None:
        classes = outputs_by_name(columns, info.classes, width, path)
    else:
        classes = read_classes(settings.classes, columns, info.classes, width)
    kind = _kind(values[rows["validation"]], classes)
    logits = {part: own_logits(logits_of(values[of_part], kind), classes) for part, of_part in rows.items()}
    labels = np.asarray(parts["validation"].labels)
    refuse_another_order(path, [lambda chosen: logits["validation"][chosen]], labels, info.classes, classes)
    correct = int((logits["validation"].argmax(axis=1) == labels).sum())
    if guesses(correct, np.bincount(labels, minlength=len(info.classes))):
        raise InputError(
            f"{path}: {correct:,} of {len(labels):,} validation images are correct, hardly more than by guessing;"
            " accepted: the outputs of a classifier of these classes; do the columns mean others? see"
            " train_teacher.classes"
        )
    keys = np.concatenate([pixel_digests(parts[part].images) for part in logits])
    save_table(folder, keys, np.concatenate(list(logits.values())))
    described = {
        "kind": "table",
        "model": path.name,
        "runtime": None,
        "files": {path.name: file_digest(path)},
        "outputs_are": kind,
        "classes": classes,
        "images": [len(np.unique(keys)), len(info.classes)],
        "bytes": None,
        "parameters": None,
        "multiply_adds": None,
    }
    note = f"{path}: a table of {len(names):,} rows, whose {len(columns)} columns hold {kind}"
    return Taken(notes=[note], described=described)


def _kind(values: np.ndarray, classes: Sequence[Sequence[int]] | None) -> str:
    """Return what the numbers are: of all columns, which may mean more classes; where those make no sense together, as
    one is a label or a confidence, of the classes' own."""
    kind = kind_of(values)
    if kind not in ("logits", "one sigmoid a class") or classes is None or values.shape[1] == 1:
        return kind
    return kind_of(values[:, [number for numbers in classes for number in numbers]])
