"""IDX, the format of the MNIST database, and data sets of four such files."""

import io
from pathlib import Path

import numpy as np

from distillery.datasets.dataset import Dataset


def read_idx(content: bytes) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes.

    Args:
        content: the whole file, decompressed: 0, 0, 8, number of dimensions, big-endian sizes, values.

    Returns:
        uint8, of the shape that the header names.

    Raises:
        ValueError: when the header is not that of unsigned bytes, or the sizes and the length disagree.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError("not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">i4"))
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def as_idx(array: np.ndarray) -> bytes:
    """Return an IDX file that holds the array as unsigned bytes."""
    file = io.BytesIO()
    file.write(bytes([0, 0, 8, array.ndim]))  # 8: unsigned bytes
    file.write(np.asarray(array.shape, ">i4").tobytes())
    return file.getvalue() + array.astype(np.uint8).tobytes()


def read_keras_archive(path: Path) -> dict[str, bytes]:
    """Return the IDX files whose arrays stand in Keras's `mnist.npz`, so that one digest fits every copy."""
    with np.load(path, allow_pickle=False) as arrays:
        return {
            f"{prefix}-{kind}": as_idx(arrays[f"{axis}_{part}"])
            for part, prefix in (("train", "train"), ("test", "t10k"))
            for axis, kind in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte"))
        }


def idx_dataset(files: dict[str, bytes], retrieved_from: str, classes: list[str], source: str) -> Dataset:
    """Return the data set of four IDX files that are named as MNIST's."""
    return Dataset(
        classes=classes,
        train_images=read_idx(files["train-images-idx3-ubyte"])[..., np.newaxis],
        train_labels=read_idx(files["train-labels-idx1-ubyte"]).astype(np.int32),
        test_images=read_idx(files["t10k-images-idx3-ubyte"])[..., np.newaxis],
        test_labels=read_idx(files["t10k-labels-idx1-ubyte"]).astype(np.int32),
        source=source,
        retrieved_from=retrieved_from,
    )
