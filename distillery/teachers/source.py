"""What the user names as teacher: a model, a folder with one or with an ensemble of several, or a table of outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distillery.data.errors import InputError

ONNX, KERAS, TABLE = (".onnx",), (".keras", ".h5", ".hdf5"), (".parquet", ".csv")
PYTORCH = (".pt", ".pth", ".safetensors", ".ckpt", ".bin", ".pt2")
OWN_FILES = (
    "a `.onnx`, `.keras` or `.h5` file, a folder with one, or with several, an ensemble, or a `.parquet` or `.csv`"
    " table of outputs"
)
WHOLE = ("model.onnx", "onnx/model.onnx")  # the model of a folder, whatever else is in it
# In an ensemble's folder these are meant as members, too: none is left out without a word.
MEANT = (*ONNX, *KERAS, *(suffix for suffix in PYTORCH if suffix != ".bin"), ".tflite", ".pb")


@dataclass(frozen=True)
class Source:
    """Where a teacher comes from.

    Attributes:
        model: its file; of an ensemble the folder.
        folder: whose other files say what its pixels and outputs mean.
        members: of an ensemble, by name, sorted.
    """

    model: Path
    folder: Path
    members: Mapping[str, "Source"] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`onnx`, `keras`, `table` or `ensemble`."""
        if self.members:
            return "ensemble"
        suffix = self.model.suffix.lower()
        return "onnx" if suffix in ONNX else "keras" if suffix in KERAS else "table"


def find_source(given: str) -> Source:
    """Return the model that a path names.

    Raises:
        ValueError: when there is none, or it is of another kind; the text says what is accepted.
    """
    path = Path(given)
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (*ONNX, *KERAS, *TABLE):
        return Source(path, path.parent)
    if path.is_dir():
        if members := _members_in(path):
            return Source(path, path, {member.name: _member(member) for member in members})
        return Source(_model_in(path), path)
    if suffix in PYTORCH and path.exists():
        raise ValueError(_export(path))
    if suffix == ".tflite" and path.is_file():
        raise ValueError(_convert("tflite", path))
    raise ValueError(f"{'no such file; ' if not path.exists() else ''}accepted: {OWN_FILES}")


def _export(path: Path) -> str:
    """Return how PyTorch's own files become a teacher: reading them would run code, or need the network's."""
    return (
        "a file of PyTorch holds no network that can be run without its code; export it to ONNX:"
        f" python examples/teacher_from_pytorch.py {path} --model MODULE:FUNCTION --size PIXELS --out teacher;"
        " then train_teacher.model=teacher"
    )


def _convert(kind: str, path: Path) -> str:
    return (
        "a file of TensorFlow is run as ONNX; convert it:"
        f" python -m tf2onnx.convert --{kind} {path} --output teacher.onnx; then train_teacher.model=teacher.onnx"
    )


def _model_in(folder: Path) -> Path:
    """Return the model of a folder: `model.onnx`, also in `onnx/`, else the only one."""
    for path in (folder / name for name in WHOLE):
        if path.is_file():
            return path
    for suffixes in (ONNX, KERAS):
        found = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in suffixes)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"it has several models ({names}); accepted: a folder with `model.onnx`, or one of them")
    if (folder / "saved_model.pb").is_file():
        raise ValueError(_convert("saved-model", folder))
    torch = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in PYTORCH)
    if torch and (folder / "config.json").is_file():
        raise ValueError(
            "a model of PyTorch, not of ONNX; export it:"
            f" python examples/teacher_from_huggingface.py {folder} --out teacher; then train_teacher.model=teacher"
        )
    if torch:
        raise ValueError(_export(torch[0]))
    raise ValueError(f"a folder without a model; accepted: {OWN_FILES}")


def _members_in(folder: Path) -> list[Path]:
    """Return what is meant as the members of an ensemble, by name; nothing where a folder holds a single model."""
    if any((folder / name).is_file() for name in WHOLE):
        return []
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    twice = {path.with_suffix(suffix) for path in inside if path.suffix.lower() in ONNX for suffix in KERAS}
    inside = [path for path in inside if path not in twice]  # the same model in another format
    files = [path for path in inside if path.is_file() and path.suffix.lower() in (*ONNX, *KERAS)]
    models = files + [path for path in inside if path.is_dir() and _holds(path, (*ONNX, *KERAS), WHOLE)]
    meant = [path for path in inside if path in models or _meant(path)]
    single = len(models) == len(files) == 1  # beside it may lie whatever its training left
    return meant if models and len(meant) > 1 and not single else []


def _meant(path: Path) -> bool:
    """Return whether something in an ensemble's folder looks like a member, if one that cannot be taken."""
    return _holds(path, MEANT, ("config.json",)) if path.is_dir() else path.suffix.lower() in (*MEANT, *TABLE)


def _holds(folder: Path, suffixes: tuple[str, ...], names: tuple[str, ...]) -> bool:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return any(path.suffix.lower() in suffixes for path in files) or any((folder / name).is_file() for name in names)


def _member(path: Path) -> Source:
    """Return a member of an ensemble."""
    try:
        if path.is_dir():
            return Source(_model_in(path), path)
        if path.suffix.lower() in TABLE:
            raise ValueError("a table of outputs; accepted: `.onnx`, `.keras` and `.h5` files, and folders with one")
        return find_source(str(path))
    except ValueError as error:
        raise ValueError(f"of its ensemble, {path.name}: {error}") from None


def source_of(given: str) -> Source:
    """Return the model that a path names.

    Raises:
        InputError: as `find_source`.
    """
    try:
        return find_source(given)
    except ValueError as error:
        raise InputError(f"train_teacher.model: found {given!r}; {error}") from None
