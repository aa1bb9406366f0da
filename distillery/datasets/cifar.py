"""CIFAR-10 and CIFAR-100: batches of images that are Python pickles, read without running what is in them."""

import io
import pickle
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

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
    user_folder,
)

URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets.

    Attributes:
        title: its name, for people.
        folder: what its archive holds.
        archive: its archive, without what tells the compression.
        digest: SHA-256 of the official .tar.gz.
        files: the files in `folder` by their digests, SHA-256, or `md5:` and MD5.
        train, test: those with images.
        meta: the one with the classes' names.
        labels: key of a batch's labels.
        classes: key of the names.
    """

    title: str
    folder: str
    archive: str
    digest: str
    files: dict[str, str]
    train: list[str]
    test: str
    meta: str
    labels: bytes
    classes: bytes


CIFAR10 = Cifar(
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python",
    digest="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    files={
        "batches.meta": "f962466ef690d46b226450fb9aadc74ba4bc64a76aa526b5827fe4bc5c7125cb",
        "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
        "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
        "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
        "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
        "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
        "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
    },
    train=[f"data_batch_{number}" for number in range(1, 6)],
    test="test_batch",
    meta="batches.meta",
    labels=b"labels",
    classes=b"label_names",
)
CIFAR100 = Cifar(
    title="CIFAR-100",
    folder="cifar-100-python",
    archive="cifar-100-python",
    digest="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    files={
        "meta": "md5:7973b15100ade9c7d40fb424638fde48",
        "train": "md5:16019d7e3df5f24257cddd939b257f8d",
        "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    train=["train"],
    test="test",
    meta="meta",
    labels=b"fine_labels",
    classes=b"fine_label_names",
)


def cifar_batches(cifar: Cifar) -> tuple[dict[str, dict[bytes, Any]], str]:
    """Every file of CIFAR-10 or CIFAR-100, from the first source that has them all.

    Returns:
        File name to what `read_batch` gives, and a phrase that names the source.

    Raises:
        InputError: when no source has them (the text lists what was tried and the ways out), or when a file in the
            user's own folder is damaged.
    """
    files, where = first_available(
        cifar.title,
        [partial(source, cifar) for source in (_in_user_folder, _in_cache, _official)],
        [
            f"set DISTILLERY_DATA to a folder with {cifar.archive}.tar.gz, with {cifar.archive}.tar.xz or with the "
            f"folder {cifar.folder} from it",
            f"put {cifar.archive}.tar.gz into {cache_folder()}",
        ],
    )
    check_digests(files, cifar.files, where)
    return {name: read_batch(files.pop(name)) for name in cifar.files}, where


def _in_user_folder(cifar: Cifar) -> tuple[dict[str, bytes], str]:
    folder = user_folder()
    if (folder / cifar.folder).is_dir():
        files = {}
        for name in cifar.files:
            path = folder / cifar.folder / name
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return files, f"the folder {folder / cifar.folder}"
    names = [f"{cifar.archive}.tar.gz", f"{cifar.archive}.tar.xz"]
    for name in names:
        if (folder / name).is_file():
            return _members(folder / name, cifar), f"the archive {folder / name}"
    raise Unavailable(f"the folder {folder}: holds neither {', '.join(names)} nor the folder {cifar.folder}")


def _in_cache(cifar: Cifar) -> tuple[dict[str, bytes], str]:
    path = cached(f"{cifar.archive}.tar.gz", cifar.digest)
    if path is None:
        raise nothing_cached()
    return _members(path, cifar), f"the download cache, {path}"


def _official(cifar: Cifar) -> tuple[dict[str, bytes], str]:
    url = f"{URL}{cifar.archive}.tar.gz"
    return _members(download(url, cifar.digest), cifar), url


def _members(path: Path, cifar: Cifar) -> dict[str, bytes]:
    """The archive's files, read in one pass and never extracted, so that nothing can be written anywhere."""
    paths = {f"{cifar.folder}/{name}": name for name in cifar.files}
    files = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = paths.get(str(PurePosixPath(member.name)))
                if name and member.isfile():
                    files[name] = archive.extractfile(member).read()
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a tar archive ({error})") from None
    for member, name in paths.items():
        if name not in files:
            raise InputError(f"{path}: damaged: it does not hold {member}")
    return files


class _ArraysOnly(pickle.Unpickler):
    """A pickle names the functions that rebuild its objects; only NumPy's own for arrays are let through."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise InputError(f"a CIFAR batch asks for {module}.{name}; accepted: NumPy arrays only")
        return super().find_class(module, name)


def read_batch(content: bytes) -> dict[bytes, Any]:
    """What a file of CIFAR holds; nothing in it is run.

    Args:
        content: a pickle as Python 2 wrote it: a dictionary whose keys and strings become bytes.

    Raises:
        InputError: when it asks for anything but what rebuilds NumPy arrays.
    """
    return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()


def planes_to_images(planes: list[np.ndarray]) -> np.ndarray:
    """The batches' images, one after another.

    Args:
        planes: each uint8, (n, 3072): 32 × 32 red values row by row, then green, then blue.

    Returns:
        uint8, (n, 32, 32, 3).
    """
    images = np.empty((sum(map(len, planes)), 32, 32, 3), np.uint8)
    return np.concatenate([part.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in planes], out=images)
