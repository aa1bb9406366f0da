"""What the catalogues hold, read from the text of their files, so that nothing heavy is imported."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class MethodParameter:
    """A parameter of a method of distillation: an argument of its `loss`, or of its class `Loss`.

    Attributes:
        name: of the argument.
        type: `float`, `int`, `bool` or `str`.
        default: the argument's.
        description: from the docstring.
    """

    name: str
    type: type
    default: float | int | bool | str
    description: str


SHARED = ("labels", "teacher", "student", "temperature")
SHARED_BY_CLASSES = ("self", "teacher", "student", "images")
TYPES = {"float": float, "int": int, "bool": bool, "str": str}


def files(folder: str) -> list[str]:
    """Return the paths of the files of a catalogue, `architectures/cnn.py`, sorted."""
    return sorted(f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py"))


def check_file(path: str, function: str) -> None:
    """Check that a file is Python and defines a function, without running it.

    Raises:
        ValueError: with what is wrong.
    """
    if _function(path, function) is None:
        raise ValueError(f"the file defines no function `{function}`")


def method_parameters(name: str) -> list[MethodParameter]:
    """Return the parameters of a method: the arguments of its loss after the four that all methods get.

    Raises:
        ValueError: when the file is not a method's.
    """
    loss, docstring, shared = _loss(name)
    described = dict(re.findall(r"^ {8}(\w+): (.+)$", docstring, re.MULTILINE))
    parameters = []
    own, defaults = loss.args.args[len(shared) :], loss.args.defaults
    defaults = [None] * (len(own) - len(defaults)) + defaults[-len(own) :] if own else []
    for keyword, default in zip([*own, *loss.args.kwonlyargs], [*defaults, *loss.args.kw_defaults], strict=True):
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError):
            value = None
        kind = TYPES.get(getattr(keyword.annotation, "id", type(value).__name__))
        if kind is None or value is None:
            raise ValueError(
                f"parameter `{keyword.arg}` of `loss` needs a default that is a number, true or false, or text"
            )
        parameters.append(MethodParameter(keyword.arg, kind, value, described.get(keyword.arg, "").rstrip(".")))
    return parameters


def method_outputs(name: str) -> tuple[str, ...]:
    """Return the names of the teacher's outputs that a method reads, from its file's `OUTPUTS`; the logits without.

    Raises:
        ValueError: when `OUTPUTS` is no tuple of text.
    """
    for node in _tree(ROOT / "methods" / f"{name}.py").body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "OUTPUTS" for target in node.targets):
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                found = None
            if not isinstance(found, tuple) or not all(isinstance(one, str) for one in found):
                raise ValueError("OUTPUTS: accepted: a tuple of names")
            return found
    return ("logits",)


def _loss(name: str) -> tuple[ast.FunctionDef, str, tuple[str, ...]]:
    """Return the function whose arguments are a method's parameters, the text that describes them, and what all get."""
    path = ROOT / "methods" / f"{name}.py"
    if loss := _function(path, "loss"):
        return loss, ast.get_docstring(loss, clean=False) or "", SHARED
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef) and node.name == "Loss":
            made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            if made:
                return made[-1], ast.get_docstring(node, clean=False) or "", SHARED_BY_CLASSES
    raise ValueError("the file defines no function `loss`")


def _function(path: str | Path, name: str) -> ast.FunctionDef | None:
    found = [node for node in _tree(path).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None


def _tree(path: str | Path) -> ast.Module:
    try:
        return ast.parse(Path(path).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"not valid Python in line {error.lineno} ({error.msg})") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read ({error})") from None
