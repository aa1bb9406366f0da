"""Models in files: written so that the same model has the same bytes, and read back in safe mode."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

import keras

from distillery.data.errors import InputError, reason
from distillery.data.files import atomic_write
from distillery.learning.devices import xla_is_faster

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP archive can hold


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a `.keras` file whose bytes depend on nothing but configuration and weights.

    Keras's own writer puts the date, and addresses of objects in memory, into the file, so that it never has the same
    hash twice. Here the dates are fixed and the objects numbered; plain `keras.models.load_model` opens the file.
    """
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as temporary:
        as_keras_writes = Path(folder) / "model.keras"
        model.save(as_keras_writes)
        with zipfile.ZipFile(as_keras_writes) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in sorted(source.namelist()):
                target.writestr(zipfile.ZipInfo(name, _ZIP_DATE), _canonical(name, source.read(name)))


def _canonical(name: str, content: bytes) -> bytes:
    if not name.endswith(".json"):
        return content
    tree = json.loads(content)
    tree.pop("date_saved", None)
    numbers: dict[int, int] = {}

    def number_shared_objects(node):
        if isinstance(node, dict):
            if "shared_object_id" in node:
                node["shared_object_id"] = numbers.setdefault(node["shared_object_id"], len(numbers) + 1)
            for child in node.values():
                number_shared_objects(child)
        elif isinstance(node, list):
            for child in node:
                number_shared_objects(child)

    number_shared_objects(tree)
    return json.dumps(tree, indent=1, sort_keys=True).encode()


AS_ONNX = (
    "accepted: Keras's own layers, since no code of a file is run; where its code is at hand, write it as ONNX:"
    " model.export('model.onnx', format='onnx')"
)


def load_model(path: str | Path) -> keras.Model:
    """Return the model of a `.keras` file, read in Keras's safe mode: no code from the file is run.

    Raises:
        InputError: when the file is missing or is not a whole model.
    """
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its readers of ZIP, JSON and HDF5 raise
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; run `dvc repro` first") from None
        raise InputError(f"{path}: not a Keras model that can be read ({_reason(error)})") from error
    model.jit_compile = xla_is_faster()
    return model


def _reason(error: Exception) -> str:
    """Return the first sentence of what Keras says; the rest is the model's configuration, or how to run its code."""
    if "File not found" in str(error):  # Keras says so of a file that is no archive
        return "no ZIP archive, perhaps cut short or of another kind; accepted: a file that Keras 3 wrote"
    said = " ".join(str(error).rpartition("Exception encountered: ")[2].split())
    if "`Lambda` layer" in said:
        return f"it has a Lambda layer, which is code; {AS_ONNX}"
    if unknown := re.search(r"(?:Could not locate (?:class|function)|Unknown layer:) '([^']+)'", said):
        return f"it has {unknown[1]}, which is not Keras's own; {AS_ONNX}"
    if "No model config found" in said:
        return "it holds weights and no network; accepted: what `model.save` writes"
    return reason(said.split(". ")[0])
