"""A table of a classifier's outputs: a row an image by its path, a column a class.

For a teacher that cannot run here: an API, an ensemble, a cluster's job. What it says of an image is found again by the
image's pixels, so that it is a function of pixels like any other teacher.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from distillery.data.errors import InputError, reason, shown, some
from distillery.data.files import map_array, write_array
from distillery.data.pixel_digests import pixel_digests

PATHS = ("path", "file", "image", "filename", "file_name", "name")
LOGITS, KEYS = "table_logits.npy", "table_keys.npy"


def read_table_of_outputs(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return the paths of the images, the names of the columns, and the values, float32, (rows, columns).

    Raises:
        InputError: when it is no such table.
    """
    try:
        table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except Exception as error:  # pandas and PyArrow raise whatever they raise
        raise InputError(f"{path}: cannot be read as a table ({reason(error)})") from None
    if not len(table):
        raise InputError(f"{path}: no rows; accepted: a row for each image")
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    named = [name for name in table.columns if str(name).casefold() in PATHS]
    if not named and len(texts) != 1:
        raise InputError(
            f"{path}: found the columns {', '.join(map(str, table.columns[:20]))}; accepted: one with the path of the"
            f" image, called {', '.join(PATHS)}, and a column of numbers a class"
        )
    column = (named or texts)[0]
    if other := [name for name in texts if name != column]:
        raise InputError(f"{path}: column {other[0]!r} holds no numbers; accepted: a column of numbers a class")
    values = table.drop(columns=column).to_numpy(np.float32)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise InputError(
            f"{path}: row {row + 1} ({table[column].iloc[row]}) has a value that is not finite; accepted: a finite"
            " number for each image and class"
        )
    return [str(name) for name in table[column]], [str(name) for name in table.columns if name != column], values


def _read_parquet(path: Path) -> pd.DataFrame:
    """Return a table whose index, where it holds the paths, is a column like any other."""
    table = pd.read_parquet(path)
    return table if pd.api.types.is_numeric_dtype(table.index) else table.reset_index()


def _read_csv(path: Path) -> pd.DataFrame:
    """Return a table, separated by what its first line has most, without the column of numbers that pandas writes."""
    with path.open(encoding="utf-8-sig") as file:
        header, row = file.readline(), file.readline()
    separator = max(",;\t", key=header.count)
    decimal = "," if separator == ";" and "," in row else "."  # as a spreadsheet writes it in many countries
    table = pd.read_csv(path, sep=separator, decimal=decimal)
    first = table.columns[0]
    return table.drop(columns=first) if first == "Unnamed: 0" and pd.api.types.is_integer_dtype(table[first]) else table


def rows_of(path: Path, names: Sequence[str], files: Mapping[str, Sequence[str]], folder: str) -> dict[str, np.ndarray]:
    """Return the row of each image, int, (n,), by part; say which rows belong to none.

    Args:
        path: the table, for messages.
        names: the images' paths as the table has them: from the data set's folder, or whole.
        files: the images' paths from the data set's folder, by part.
        folder: the data set's folder.

    Raises:
        InputError: when images have no row, or more than one.
    """
    known = {file for of_part in files.values() for file in of_part}
    rows: dict[str, int] = {}
    for number, name in enumerate(names):
        key = _key(name, folder, known)
        if key in rows:
            raise InputError(f"{path}: {shown(name)} stands in rows {rows[key] + 1} and {number + 1}; accepted: once")
        rows[key] = number
    missing = [file for part in files.values() for file in part if file not in rows]
    if missing:
        raise InputError(
            f"{path}: no row for {len(missing):,} of {sum(map(len, files.values())):,} images:"
            f" {some(missing)}; its first row is of {shown(names[0])};"
            " accepted: a row for each image of the data set, by its path from the data set's folder"
        )
    found = {part: np.array([rows[file] for file in of_part]) for part, of_part in files.items()}
    surplus = sorted(set(range(len(names))) - set(np.concatenate(list(found.values())).tolist()))
    if surplus:
        named = some([names[number] for number in surplus])
        print(f"note: {path}: {len(surplus):,} rows belong to no image in use: {named}", flush=True)
    return found


def _key(name: str, folder: str, known: Collection[str]) -> str:
    """Return a path as the prepared data have it, whose paths are known: from the data set's folder, with slashes."""
    found = PurePosixPath(name.replace("\\", "/"))
    if str(found) in known:  # a folder in the data set's may have its name
        return str(found)
    for base in (folder, str(Path(folder).resolve())):
        if found.is_relative_to(base):
            found = found.relative_to(base)
    return str(found)


def save_table(folder: Path, keys: np.ndarray, logits: np.ndarray) -> None:
    """Write the logits of images, float32, (n, classes), under the keys of their pixels, the first of equal ones."""
    keys, first = np.unique(keys, return_index=True)
    write_array(folder / KEYS, keys)
    write_array(folder / LOGITS, logits[first])


class TableOutputs:
    """The logits of a table, by the pixels of the images.

    Args:
        folder: where `save_table` wrote them.
        described: the content of `teacher.json`.
    """

    def __init__(self, folder: Path, described: Mapping[str, Any]):
        images, classes = described["images"]
        self._keys = map_array(folder / KEYS, np.uint64, (images,))
        self._logits = map_array(folder / LOGITS, np.float32, (images, classes))
        self._source = described["source"]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images, float32, (n, classes).

        Raises:
            InputError: when the table has none of an image.
        """
        keys = pixel_digests(images)
        rows = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if missing := int((self._keys[rows] != keys).sum()):
            raise InputError(
                f"{self._source}: a table knows the images of the data set alone, as they are; {missing:,} of"
                f" {len(images):,} are others; accepted: student.views 1"
            )
        return np.array(self._logits[rows])
