"""What was found out of a teacher that is taken."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery.teachers.conventions import Comparison


@dataclass
class Taken:
    """What was found out of a teacher.

    Attributes:
        comparison: of conventions of pixels; None for a table.
        notes: lines for people: what was taken, and what speaks against it.
        described: the content of `teacher.json`.
        links: files of the folder by name, and where each comes from.
        beside: files besides `train_teacher.model` on which it depends, that DVC does not see.
        members: what was found out of each, by name, of an ensemble.
    """

    comparison: Comparison | None = None
    notes: list[str] = field(default_factory=list)
    described: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)
    beside: list[Path] = field(default_factory=list)
    members: dict[str, "Taken"] = field(default_factory=dict)
