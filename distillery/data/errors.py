"""The error of invalid input."""

import textwrap
from pathlib import Path


class InputError(Exception):
    """Invalid input: the text is one line that says where, what was found and what is accepted."""


def shown(name: str | Path) -> str:
    """Return a name for a message: as it is, or escaped where it would break the line or is no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


def reason(error: Exception | str) -> str:
    """Return what a library says of an error, for a message: one line, cut between words where it is long."""
    return textwrap.shorten(str(error), 200, placeholder=" …")
