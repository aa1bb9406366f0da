"""Files of the catalogues (`datasets/`, `architectures/`, `methods/`), and the user's own like them, found by path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from distillery.data.errors import InputError, reason


def load_module(path: str | Path, function: str, *or_else: str) -> ModuleType:
    """Return the module in a Python file.

    Args:
        path: the file; it may lie anywhere.
        function: the function that the file must define,
        or_else: or one of these functions or classes.

    Raises:
        InputError: when the file is missing, cannot be run or does not define the function.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(f"catalogue_{path.stem}", path)
    if spec is None:
        raise InputError(f"{path}: not a Python file; accepted: a `.py` file that defines `{function}`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's own file raises
        raise InputError(f"{path}: cannot be run ({type(error).__name__}: {reason(error)})") from error
    if not any(callable(getattr(module, name, None)) for name in (function, *or_else)):
        names = " or ".join(f"`{name}`" for name in (function, *or_else))
        raise InputError(f"{path}: does not define a function {names}")
    return module
