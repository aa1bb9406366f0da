"""Take several classifiers as one teacher: each as if it were alone, with its own pixels and outputs."""

from pathlib import Path
from typing import Any

from distillery.data.prepared import DatasetInfo, Split
from distillery.teachers.ensemble import MEMBERS
from distillery.teachers.source import Source
from distillery.teachers.take_classifier import take_classifier
from distillery.teachers.taken import Taken


def take_ensemble(source: Source, settings: Any, info: DatasetInfo, validation: Split, folder: Path) -> Taken:
    """Find out what the pixels and outputs of each member mean; write what runs it into its folder.

    Args: as of `take.take_teacher`; `source`: the folder with the members.

    Raises:
        InputError: when a member cannot be run, fits no images or classes, or guesses.
    """
    taken = Taken()
    for number, (name, member) in enumerate(source.members.items(), start=1):
        print(f"member {number} of {len(source.members)} of the ensemble: {name}", flush=True)
        own = taken.members[name] = take_classifier(member, settings, info, validation, folder / MEMBERS / name)
        taken.links |= {f"{MEMBERS}/{name}/{file}": path for file, path in own.links.items()}
        taken.beside += own.beside
    described = [{"name": name} | own.described for name, own in taken.members.items()]
    taken.described |= {
        "kind": "ensemble",
        "ensemble": settings.ensemble,
        "model": source.folder.name,
        "runtime": " and ".join(sorted({member["runtime"] for member in described})),
        "members": described,
    }
    for name in ("bytes", "parameters", "multiply_adds"):
        of_each = [member[name] for member in described]
        taken.described[name] = None if None in of_each else sum(of_each)
    return taken
