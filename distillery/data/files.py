"""Files written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, which takes the name `path` when the block ends without an exception.

    The folder is made where it is missing. An exception leaves no temporary file, and an earlier `path` untouched. The
    content is on the disk before it gets its name, so that a power cut leaves the one or the other, too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # and so is the name
        finally:
            os.close(folder)
    except OSError as error:  # of a full disk, NumPy and HDF5 do not say which file it was
        if error.errno:
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, tree: Any) -> None:
    """The same tree always gives the same bytes; floats are written with all their digits."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file, which `numpy.load` reads without pickle."""
    with written_whole(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
