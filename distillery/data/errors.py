"""The error of invalid input."""

import errno
import textwrap
from collections.abc import Sequence
from pathlib import Path

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "file too large"}
REFUSED = {number: f"could not be written: {why}; make room" for number, why in FULL.items()} | {
    errno.EROFS: "could not be written: the file system is read-only; mount it otherwise",
    errno.EACCES: "could not be opened: this user may not; change its owner or permissions",
    errno.EPERM: "could not be changed: this user may not; change its owner or permissions",
    errno.EMFILE: "could not be opened: too many files are open; raise the limit, `ulimit -n`",
}


class InputError(Exception):
    """Invalid input: the text is one line that says where, what was found and what is accepted."""


def shown(name: str | Path) -> str:
    """Return a name for a message: as it is, or escaped where it would break the line or is no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


def some(names: Sequence[str | Path], limit: int = 10) -> str:
    """Return names for a message: the first of them, and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return f"{', '.join(map(shown, names[:limit]))}{more}"


def refusal(error: OSError) -> str | None:
    """Return what to do where the system refuses a file, as on a full disk; None where the error is of another kind."""
    does = REFUSED.get(error.errno)
    return does and f"{shown(error.filename or 'a file')} {does}"


def reason(error: Exception | str) -> str:
    """Return what a library says of an error, for a message: one line, cut between words where it is long."""
    return textwrap.shorten(str(error), 200, placeholder=" …")
