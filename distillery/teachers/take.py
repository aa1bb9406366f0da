"""Take a teacher from elsewhere: find out what it means, check it, and put it into its folder."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.data.errors import InputError
from distillery.data.files import file_digest, write_json
from distillery.data.prepared import DatasetInfo, Split
from distillery.teachers.inner_tensors import embedding_tensor
from distillery.teachers.source import source_of
from distillery.teachers.take_classifier import take_classifier
from distillery.teachers.take_ensemble import take_ensemble
from distillery.teachers.take_table import take_table
from distillery.teachers.taken import Taken
from distillery.teachers.teacher import DESCRIPTION

Settings = Any  # section `train_teacher`


def take_teacher(
    settings: Settings, info: DatasetInfo, parts: Mapping[str, Split], folder: Path, dataset: str
) -> Taken:
    """Write the folder of a teacher from elsewhere.

    Args:
        settings: section `train_teacher`.
        info: of the data set.
        parts: all that `info` names; what is chosen is chosen on validation images.
        folder: where to.
        dataset: `prepare.dataset`, the folder from which a table counts the paths of its images.

    Raises:
        InputError: when it cannot be run or read, fits no images or classes, or guesses.
    """
    source = source_of(settings.model)
    if settings.embedding is not None and source.kind != "onnx":
        raise InputError(
            f"train_teacher.embedding: found {settings.embedding!r}; {source.model} is no ONNX file; accepted: null"
        )
    if source.kind == "table":
        taken = take_table(source.model, settings, info, parts, folder, dataset)
    elif source.kind == "ensemble":
        taken = take_ensemble(source, settings, info, parts["validation"], folder)
    else:
        taken = take_classifier(source, settings, info, parts["validation"], folder)
    if settings.embedding is not None:
        tensor = embedding_tensor(source.model, taken.described["output"], settings.embedding)
        taken.described["embedding"] = tensor
    inside = source.folder.resolve() if Path(settings.model).is_dir() else None
    for path in (settings.preprocessing, settings.classes):
        if isinstance(path, str) and Path(path).is_file():
            taken.beside.append(Path(path))
    unseen = [path for path in taken.beside if inside is None or not path.resolve().is_relative_to(inside)]
    taken.described |= {
        "source": settings.model,
        "beside": {str(path): file_digest(path) for path in unseen if path != Path(settings.model)},
    }
    if taken.described["beside"]:
        taken.notes.append(
            f"DVC does not see a change of {', '.join(taken.described['beside'])}; give the folder as"
            " train_teacher.model, or run `dvc repro --force train_teacher` after one"
        )
    for name, path in taken.links.items():
        _link(path, folder / name)
    write_json(folder / DESCRIPTION, taken.described)
    return taken


def _link(path: Path, target: Path) -> None:
    """Let a file stand in a folder without copying it where the file system can; DVC makes its own copy of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:  # another file system, or none that can
        shutil.copyfile(path, target)
