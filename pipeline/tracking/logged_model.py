"""A model as a logged model of MLflow, byte for byte: a Keras file, or the folder of a teacher from elsewhere."""

import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Array

import distillery
from distillery.data.files import write_json

DIGEST_TAG = "distillery.sha256"  # of a model's file: on a run that made it, a logged model, a registered version
SERVED_MODEL = Path(__file__).with_name("served_model.py")  # copied and not imported: it imports Keras
SERVED_TEACHER = Path(__file__).with_name("served_teacher.py")
LIBRARY = Path(distillery.__file__).parent
TEACHER_ROOMS = ("data", "learning", "teachers")  # of the library, that run a teacher from elsewhere


def log_model(
    client: MlflowClient,
    run_id: str,
    name: str,
    file: Path,
    digest: str,
    classes: Sequence[str],
    preprocessing: Mapping,
) -> str:
    """Log a model, once per run and name.

    `mlflow.keras.log_model` would import Keras and save the model again: ten seconds, and other bytes than those that
    DVC keeps. `mlflow.keras.load_model` reads what this writes, and `mlflow models serve` serves it by
    `served_model.py`.

    Args:
        client: of the tracking server.
        run_id: the run that made the model.
        name: of the logged model.
        file: the `.keras` file, or the folder of a teacher from elsewhere.
        digest: its SHA-256.
        classes: their names, in the order of the logits.
        preprocessing: of pictures, as `preprocessing.json` beside the exported student has it.

    Returns:
        The id of the logged model.
    """
    run = client.get_run(run_id)
    found = client.search_logged_models([run.info.experiment_id], f"name = '{name}' AND source_run_id = '{run_id}'")
    model = (
        found[0]
        if found
        else client.create_logged_model(
            run.info.experiment_id, name, run_id, tags={DIGEST_TAG: digest}, params=run.data.params
        )
    )
    if model.status == "READY":
        return model.model_id
    if all(output.model_id != model.model_id for output in run.outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    pixels = TensorSpec(np.dtype("uint8"), (-1, *preprocessing["size"], preprocessing["channels"]), "pixels")
    description = Model(model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id)
    description.signature = ModelSignature(
        inputs=Schema([pixels]),
        outputs=Schema([ColSpec("string", "class"), ColSpec(Array("double"), "logits")]),
    )
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / "data"
        beside.mkdir()
        (beside / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
        write_json(beside / "preprocessing.json", preprocessing)
        (_write_teacher if file.is_dir() else _write)(Path(folder), description, file)
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _write(folder: Path, model: Model, file: Path) -> None:
    """Write a model of MLflow's Keras flavor, and the environment in which it can be served."""
    shutil.copyfile(file, folder / "data" / "model.keras")
    (folder / "data" / "keras_module.txt").write_text("keras", encoding="utf-8")
    model.add_flavor(
        "keras", data="data", keras_version=version("keras"), keras_backend="tensorflow", save_exported_model=False
    )
    model.model_size_bytes = file.stat().st_size
    _write_pyfunc(folder, model, SERVED_MODEL, ("mlflow", "keras", "tensorflow", "numpy", "pandas"))


def _write_teacher(folder: Path, model: Model, teacher: Path) -> None:
    """Write a teacher from elsewhere, with the code that knows what its pixels and outputs mean."""
    shutil.copytree(teacher, folder / "data" / "teacher")
    for room in TEACHER_ROOMS:
        target = folder / "code" / LIBRARY.name / room
        shutil.copytree(LIBRARY / room, target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(LIBRARY / "__init__.py", folder / "code" / LIBRARY.name / "__init__.py")
    model.model_size_bytes = sum(file.stat().st_size for file in teacher.rglob("*") if file.is_file())
    packages = ("mlflow", "keras", "tensorflow", "onnx", "onnxruntime", "numpy", "pandas", "pillow", "pyyaml", "scipy")
    _write_pyfunc(folder, model, SERVED_TEACHER, packages)


def _write_pyfunc(folder: Path, model: Model, served: Path, names: Sequence[str]) -> None:
    (folder / "code").mkdir(exist_ok=True)
    shutil.copyfile(served, folder / "code" / served.name)
    environment = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    pyfunc.add_to_model(model, loader_module=served.stem, data="data", code="code", **environment)
    model.save(folder / "MLmodel")
    packages = [f"{name}=={version(name)}" for name in names]
    python = platform.python_version()
    conda = [f"python={python}", "pip", {"pip": packages}]
    environments = {
        "conda.yaml": {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": conda},
        "python_env.yaml": {
            "python": python,
            "build_dependencies": ["pip", "setuptools", "wheel"],
            "dependencies": ["-r requirements.txt"],
        },
    }
    for name, tree in environments.items():
        (folder / name).write_text(yaml.safe_dump(tree), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
