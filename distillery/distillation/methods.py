"""Methods of distillation: the soft loss in a file of the catalogue `methods/`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from distillery.data.catalogue import load_module

CATALOGUE = Path(__file__).resolve().parents[2] / "methods"


def load_method(name: str, **parameters: float) -> Callable:
    """Return the soft loss of a method: (labels, teacher, student, temperature) → a scalar, or one value an
    image.

    Args:
        name: of a file in `methods/`, without its ending.
        parameters: the method's own; its defaults for those that are left out.

    Raises:
        InputError: when there is no such file, or it defines no `loss`.
    """
    loss = load_module(CATALOGUE / f"{name}.py", "loss").loss
    return partial(loss, **parameters) if parameters else loss
