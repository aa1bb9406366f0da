"""Names and values as MLflow takes them."""

import hashlib
import json
import posixpath
import re
from typing import Any

NAME_LENGTH = 250
VALUE_LENGTHS = (6000, 500, 250)  # of a parameter: what MLflow takes since 2.10, since 1.28, and before
CUT = "… (whole in parameters.json)"


def entry_name(name: str) -> str:
    """Return the name of a metric or a parameter: its own where MLflow takes that, else one that no other name gets.

    Other characters become their code, `_x25_` for a percent sign, and a long name ends with its digest.
    """
    taken = re.sub(r"[^/\w.\- :]", lambda character: f"_x{ord(character[0]):x}_", name)
    if posixpath.normpath(taken) != taken or taken.startswith(("/", ".")):  # as a file, it would have another name
        taken = re.sub(r"/|^\.+", lambda part: "".join(f"_x{ord(one):x}_" for one in part[0]), taken)
    if len(taken) <= NAME_LENGTH:
        return taken
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{taken[: NAME_LENGTH - len(digest) - 1]}_{digest}"


def entry_value(value: Any, length: int) -> str:
    """Return the value of a parameter in at most `length` characters."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return text if len(text) <= length else text[: length - len(CUT)] + CUT
