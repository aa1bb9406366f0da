"""Files written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from distillery.data.errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes the name `path` when the block ends without an exception.

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
    """Write a JSON file: the same tree always gives the same bytes, floats with all their digits."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        InputError: when it is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `dvc repro` first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run `dvc repro --force`") from None


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file, which `numpy.load` reads without pickle."""
    with atomic_write(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def new_map(path: str | Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.ndarray:
    """Make a `.npy` file and return its array, mapped, of zeros.

    Raises:
        OSError: when there is no room for it. Writing to a mapped file without room would end the process.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        reserve(file)
    return array


def reserve(file: IO[bytes]) -> None:
    """Take the room that a file with holes needs; systems other than Linux take it when it is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def map_array(path: str | Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array of a `.npy` file, mapped: only what is used is read.

    Args:
        path: the file.
        dtype: the type of number that is expected.
        shape: the shape that is expected.

    Raises:
        InputError: when the file is missing or damaged, or the array is another one.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `dvc repro` first") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro --force`") from None
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{path}: found {array.dtype} of shape {array.shape}, expected {np.dtype(dtype)} {shape}; "
            "run `dvc repro --force`"
        )
    return array


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
