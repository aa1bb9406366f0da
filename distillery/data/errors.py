"""The error of invalid input."""

import textwrap
from collections.abc import Sequence
from pathlib import Path


class InputError(Exception):
    """Invalid input: the text is one line that says where, what was found and what is accepted."""


def shown(name: str | Path) -> str:
    """Return a name for a message: as it is, or escaped where it would break the line or is no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


def some(names: Sequence[str | Path], limit: int = 10) -> str:
    """Return names for a message: the first of them, and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return f"{', '.join(map(shown, names[:limit]))}{more}"


def reason(error: Exception | str) -> str:
    """Return what a library says of an error, for a message: one line, cut between words where it is long."""
    return textwrap.shorten(str(error), 200, placeholder=" …")
