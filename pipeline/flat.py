"""The names that DVC and MLflow give to what stands in nested dictionaries: `gain.points`."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested dictionary with their names, `("gain.points", 0.3)`."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def at(tree: Mapping[str, Any], key: str) -> Any:
    """Return a parameter in a tree, or a section."""
    for part in key.split("."):
        tree = tree[part]
    return tree


def put(tree: dict, key: str, value: Any) -> None:
    """Set a parameter in a tree; sections that it lacks are made."""
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(tree.get(section), dict):
            tree[section] = {}
        tree = tree[section]
    tree[name] = value
