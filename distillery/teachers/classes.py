"""Which of a classifier's outputs stand for which of the data set's classes."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from distillery.data.errors import InputError
from distillery.teachers.configuration import read_names, read_tree

NAMED = 5  # names that a message shows


def own_logits(logits: np.ndarray, outputs: Sequence[Sequence[int]] | None) -> np.ndarray:
    """Return the logits of the data set's classes, float32, (n, classes).

    The probability of a class is the sum of those of its outputs; outputs of no class are left out, and the others
    share what they had.

    Args:
        logits: (n, outputs), the classifier's.
        outputs: the numbers of each class's outputs; None where they are the classes, in their order.
    """
    if outputs is None:
        return logits
    if all(len(numbers) == 1 for numbers in outputs):
        return np.ascontiguousarray(logits[:, [numbers[0] for numbers in outputs]])
    columns = [logsumexp(logits[:, list(numbers)].astype(np.float64), axis=1) for numbers in outputs]
    return np.stack(columns, axis=1).astype(np.float32)


def read_classes(given: str | Mapping, names: Sequence[str] | None, classes: Sequence[str], width: int | None) -> list:
    """Return the outputs of each class as `train_teacher.classes` gives them.

    Args:
        given: a file of the outputs' names, one a line; a YAML or JSON file that holds a mapping; or a mapping, from a
            class of the data set to names or numbers of outputs, or to ranges, `{from: [[first, last], …]}`.
        names: of the classifier's outputs, where it comes with them.
        classes: names of the data set's classes.
        width: number of outputs; None where any number is accepted.

    Raises:
        InputError: when a class has no output, or a name or number means none.
    """
    where = "train_teacher.classes"
    if isinstance(given, str):
        path = Path(given)
        where = f"{where}: {given}"
        tree = read_tree(path) if path.suffix in (".yaml", ".yml", ".json") else read_names(path)
        if isinstance(tree, list):
            found = matched([str(name) for name in tree], classes)
            if width is not None and len(tree) != width:
                raise InputError(f"{where}: found {len(tree)} names; accepted: one for each of the {width} outputs")
            if found is None:
                missing = unmatched([str(name) for name in tree], classes)
                raise InputError(f"{where}: {_no_output(missing[0], tree)}")
            return found
        given = tree
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: found {type(given).__name__}; accepted: names, one a line, or a mapping by class")
    given = {str(key): value for key, value in given.items()}
    for name in given:
        if name not in classes:
            raise InputError(f"{where}: found class {name!r}; accepted: the data set's: {_some(classes)}")
    outputs = []
    for name in classes:
        numbers = _numbers(given.get(name, []), names, f"{where}: {name}")
        if not numbers:
            raise InputError(f"{where}: no output means class {name!r}; accepted: one or more for each class")
        if width is not None and max(numbers) >= width:
            raise InputError(f"{where}: {name}: found output {max(numbers)}; accepted: 0 to {width - 1}")
        outputs.append(numbers)
    taken: dict[int, str] = {}
    for name, numbers in zip(classes, outputs, strict=True):
        for number in numbers:
            if number in taken:
                raise InputError(f"{where}: output {number} is given to {taken[number]!r} and to {name!r}")
            taken[number] = name
    return outputs


def _numbers(given: Any, names: Sequence[str] | None, where: str) -> list[int]:
    if isinstance(given, Mapping):
        ranges = given.get("from")
        if set(given) != {"from"} or not isinstance(ranges, list):
            raise InputError(f"{where}: found {given!r}; accepted: {{from: [[first, last], …]}}, both ends included")
        pairs = [pair for pair in ranges if isinstance(pair, list) and len(pair) == 2 and all(map(_whole, pair))]
        if len(pairs) != len(ranges) or any(first > last for first, last in pairs):
            raise InputError(f"{where}: found {ranges!r}; accepted: pairs [first, last], both ends included")
        return list(dict.fromkeys(number for first, last in pairs for number in range(first, last + 1)))
    found = []
    for one in given if isinstance(given, list | tuple) else [given]:
        if _whole(one):
            found.append(one)
        elif isinstance(one, str):
            if not names:
                raise InputError(f"{where}: found {one!r}, but the classifier names no outputs; accepted: numbers")
            (number,) = matched(names, [one]) or [[None]]
            if number[0] is None:
                raise InputError(f"{where}: {_no_output(one, names)}")
            found.append(number[0])
        else:
            raise InputError(f"{where}: found {one!r}; accepted: names or numbers of outputs, from 0")
    return list(dict.fromkeys(found))


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def matched(names: Sequence[str], classes: Sequence[str]) -> list[list[int]] | None:
    """Return the output of each class by its name; None where a class has none, or more than one.

    The same name counts first; else names are the same whatever their case and what stands between words; of
    `n01440764 tench, Tinca tinca` each part is one.

    Args:
        names: of the outputs.
        classes: names of the data set's classes.
    """
    same: dict[str, list[int]] = {}
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        same.setdefault(str(name), []).append(number)
        whole.setdefault(_key(name), []).append(number)
        for part in {_key(part) for part in _parts(name)} - {_key(name)}:
            parts.setdefault(part, []).append(number)
    found = [same.get(name) or whole.get(_key(name)) or parts.get(_key(name), []) for name in classes]
    return found if all(len(numbers) == 1 for numbers in found) else None


def unmatched(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the classes for which no output, or no single one, has the name."""
    return [name for name in classes if matched(names, [name]) is None]


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", str(name).casefold()).strip() or str(name)


def _parts(name: str) -> list[str]:
    return [re.sub(r"^n\d{8}\s+", "", part) for part in [name, *re.sub(r"^n\d{8}\s+", "", name).split(",")]]


def _no_output(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(_key(name), [_key(one) for one in names], NAMED, 0.6)
    hint = f"; names like it: {', '.join(near)}" if near else f"; its outputs are {_some(names)}"
    return f"no output, or more than one, means {name!r}{hint}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(str, names[:20])) + more


def outputs_by_name(
    names: Sequence[str] | None, classes: Sequence[str], width: int, where: str | Path
) -> list[list[int]] | None:
    """Return the outputs of each class where the user gave none: by name if the classifier has names.

    Returns:
        None where the outputs are the classes in their order.

    Raises:
        InputError: when the names do not say which output means which class, and their number does not either.
    """
    if names and len(names) == width:
        found = matched(names, classes)
        if found is not None:
            return None if found == [[number] for number in range(width)] else found
    if width == len(classes):
        return None
    known = ""
    if names and len(names) != width:
        known = f"; it comes with {len(names)} names"
    elif names:
        known = f"; of its names, {_no_output(unmatched(names, classes)[0], names)}"
    raise InputError(
        f"{where}: it gives {width} outputs, the data set has {len(classes)} classes{known}; accepted: as many, or"
        f" train_teacher.classes, a file that says which output means which class"
    )
