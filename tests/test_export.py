"""The student as it is shipped: each format against Keras, by its own runtime, and without TensorFlow."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pytest
from conftest import ROOT, environment, run
from PIL import Image
from ruamel.yaml import YAML
from scipy.stats import multinomial
from sklearn.metrics import accuracy_score, cohen_kappa_score

from distillery.data.errors import InputError
from distillery.datasets.pictures import Preprocessing
from distillery.export.check import Loss, loss
from distillery.export.formats import FORMATS
from distillery.export.student import ExportedStudent
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.onnx_writer import write_onnx
from distillery.learning.prediction import predict_in_batches
from distillery.learning.saving import save_model
from pipeline.params import load_params
from pipeline.tracking.run_log import RunLog
from stages import export
from stages.export import check_int8

FILES = {name: format.FILE for name, format in FORMATS.items()}


@pytest.fixture(scope="module")
def test_set(pipeline):
    return tuple(np.load(pipeline / f"data/prepared/test_{part}.npy") for part in ("images", "labels"))


@pytest.fixture(scope="module")
def keras_logits(pipeline, test_set):
    chosen = json.loads((pipeline / "models/distilled/students.json").read_text())["chosen_seed"]
    return keras.models.load_model(pipeline / f"models/distilled/seed_{chosen}.keras").predict(test_set[0], verbose=0)


def logits_of(pipeline: Path, name: str, images: np.ndarray) -> np.ndarray:
    predict = FORMATS[name].load(pipeline / "models/exported" / FILES[name])
    return predict_in_batches(predict, images)


def test_float_formats_give_keras_logits_and_int8_nearly(pipeline, test_set, keras_logits):
    images, _ = test_set
    exported = pipeline / "models/exported"
    for name in ("keras", "litert", "onnx"):
        np.testing.assert_allclose(logits_of(pipeline, name, images), keras_logits, atol=1e-4)
    int8 = logits_of(pipeline, "litert_int8", images)
    assert int8.dtype == np.float32
    assert not np.array_equal(int8, keras_logits)
    agreement = np.mean(int8.argmax(axis=1) == keras_logits.argmax(axis=1))
    assert agreement > 0.97
    weights = (exported / "student.tflite").stat().st_size / (exported / "student_int8.tflite").stat().st_size
    assert 3 < weights < 4.1


def test_metrics_are_computed_from_the_exported_files(pipeline, test_set, keras_logits):
    images, labels = test_set
    metrics = json.loads((pipeline / "metrics/export.json").read_text())
    assert list(metrics) == list(FILES)
    for name, file in FILES.items():
        logits = logits_of(pipeline, name, images)
        assert metrics[name]["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(axis=1)))
        assert metrics[name]["errors"] == np.sum(labels != logits.argmax(axis=1))
        assert metrics[name]["bytes"] == (pipeline / "models/exported" / file).stat().st_size
    kappa = cohen_kappa_score(logits_of(pipeline, "onnx", images).argmax(axis=1), keras_logits.argmax(axis=1))
    assert kappa == metrics["onnx"]["agreement_with_keras"] == 1
    timing = json.loads((pipeline / "metrics/timing.json").read_text())["formats"]
    assert list(timing) == list(FILES)
    assert all(
        values["latency_ms"]["median"] > 0 and values["images_per_second"]["median"] > 0 for values in timing.values()
    )
    assert (pipeline / "models/exported/classes.txt").read_text().splitlines() == [str(digit) for digit in range(10)]
    preprocessing = json.loads((pipeline / "models/exported/preprocessing.json").read_text())
    assert preprocessing == vars(Preprocessing(size=8, channels=1)) | {"size": [8, 8]}


def test_dvc_artifact_is_found_by_its_name(pipeline, tmp_path):
    artifacts = YAML(typ="safe").load(pipeline / "dvc.yaml")["artifacts"]
    assert {Path(artifact["path"]).name for artifact in artifacts.values()} == set(FILES.values())
    run(pipeline, "gto", "register", "student-litert-int8")
    run(pipeline, "dvc", "artifacts", "get", ".", "student-litert-int8", "--out", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == (pipeline / "models/exported/student_int8.tflite").read_bytes()


@pytest.mark.long
def test_dvc_get_by_revision_gives_the_committed_student(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "clone", symlinks=True))
    student = folder / "models/exported/student.onnx"
    committed = student.read_bytes()
    student.unlink()  # else the link into DVC's cache
    student.write_bytes(b"another student")
    run(folder, "dvc", "commit", "--force", "export")
    assert "dvc.lock" in run(folder, "git", "status", "--short").stdout
    page = (ROOT / "docs/deployment.md").read_text()
    (command,) = re.findall(r"`(dvc get --rev HEAD [^`]+)`", page)
    run(folder, *command.split(), "--out", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == committed


def untrained(architecture: str, path: Path, image_shape: tuple[int, int, int], classes: int) -> ExportedStudent:
    spec = ModelSpec(ROOT / f"architectures/{architecture}.py", image_shape, classes, dropout=0.0)
    model = build_model(spec, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (30, *image_shape)).astype(np.uint8)
    save_model(model, path)
    write_onnx(model, path.with_suffix(".onnx"), images)
    return ExportedStudent(path, model, images)


@pytest.mark.parametrize("architecture", ["dense_128", "cnn_16_32"])
def test_same_weights_give_the_same_bytes_and_a_valid_file(architecture, tmp_path):
    student = untrained(architecture, tmp_path / "model.keras", (12, 12, 3), 4)
    for folder in ("once", "again"):
        for format in FORMATS.values():
            format.write(student, tmp_path / folder / format.FILE)
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == sorted(FILES.values())
    for path in sorted((tmp_path / "once").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert (tmp_path / "once" / FILES["keras"]).read_bytes() == student.path.read_bytes()
    onnx.checker.check_model(onnx.load(tmp_path / "once" / FILES["onnx"]), full_check=True)


def without_tensorflow(folder: Path) -> dict[str, str]:
    """An environment in which neither TensorFlow nor Keras can be imported."""
    for package in ("tensorflow", "keras"):
        (folder / f"{package}.py").write_text(f"raise ImportError('{package} is not to be imported')")
    return environment(PYTHONPATH=str(folder))


def test_readmes_snippet_says_what_keras_says_and_nothing_else(pipeline, keras_logits, tmp_path):
    (code,) = re.findall(r"## Use the student\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=pipeline, env=environment(), capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == (f"{keras_logits[:5].argmax(axis=1)}\n", "")


@pytest.mark.parametrize(
    ("example", "file"),
    [("litert", "student.tflite"), ("litert", "student_int8.tflite"), ("onnx", "student.onnx")],
)
def test_examples_run_without_tensorflow(pipeline, test_set, keras_logits, tmp_path, example, file):
    exported, predicted = pipeline / "models/exported", keras_logits.argmax(axis=1)
    sure = int(np.argmax(keras_logits.max(axis=1)))  # for which int8 predicts the same class
    Image.fromarray(test_set[0][sure, :, :, 0]).save(tmp_path / "digit.png")
    script = ROOT / f"examples/classify_{example}.py"
    answer = subprocess.run(
        [sys.executable, str(script), str(exported / file), str(exported / "classes.txt"), str(tmp_path / "digit.png")],
        env=without_tensorflow(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == str(predicted[sure])


def test_loss_is_the_difference_of_accuracies():
    labels = np.array([0, 1, 1, 0])
    correct, half = np.eye(2)[labels], np.eye(2)[[0, 1, 0, 1]]
    assert (loss(labels, correct, half), loss(labels, correct, half).points) == (Loss(4, 2, 0), 50)
    assert (loss(labels, half, correct), loss(labels, half, correct).points) == (Loss(4, 0, 2), -50)
    assert loss(labels, half, half).points == 0


@pytest.mark.parametrize("images", [40, 60, 144, 400])
@pytest.mark.parametrize("gains", [0.0, 0.02])
@pytest.mark.parametrize("points", [1.0, 5.0])
def test_student_that_loses_what_is_accepted_is_rarely_refused(images, gains, points):
    """All outcomes by their exact probability, of a student whose loss is just the accepted one."""
    lost, gained = np.indices((images + 1, images + 1))
    chances = np.array([gains + points / 100, gains, 1 - 2 * gains - points / 100])
    probability = multinomial(images, chances).pmf(np.stack([lost, gained, images - lost - gained], axis=-1))
    likely = np.argwhere(probability > 1e-6)
    refused = [(a, b) for a, b in likely if Loss(images, int(a), int(b)).lower_bound > points]
    assert sum(probability[a, b] for a, b in refused) < 0.06


def test_int8_gate_counts_images(capsys):
    settings = SimpleNamespace(int8_max_loss=1.0, calibration_images=500)
    path = Path("student_int8.tflite")
    check_int8(path, Loss(6000, 60, 0), settings)  # one point
    assert capsys.readouterr().out == ""
    for few in (Loss(60, 1, 0), Loss(60, 3, 0), Loss(144, 6, 2)):  # points, and no evidence
        check_int8(path, few, settings)
        said = capsys.readouterr().out
        assert said.startswith(f"warning: {path}: of {few.images} validation images {few.lost} are correct in Keras al")
        assert said.endswith("accepted: 1 (export.int8_max_loss); more export.calibration_images than 500 may help\n")
    for many in (Loss(60, 9, 0), Loss(60, 20, 5), Loss(6000, 120, 10)):
        with pytest.raises(InputError, match=r"points lost, surely more than [\d.]+; accepted: 1 \(export.int8_max_l"):
            check_int8(path, many, settings)


def make_one_unit_dominate(path: Path) -> None:
    """Write the same function of the images, in float32, with one hidden unit 100,000 times as large as it was.

    ReLU(a·x)/a = ReLU(x). In 8 bits a layer's activations share one scale, on which the other units then are zero.
    """
    model = keras.models.load_model(path)
    hidden, logits = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-2:]
    unit = int(np.argmax(hidden.bias.numpy()))
    hidden.kernel.assign(hidden.kernel.numpy() * np.where(np.arange(hidden.units) == unit, 1e5, 1))
    hidden.bias.assign(hidden.bias.numpy() * np.where(np.arange(hidden.units) == unit, 1e5, 1))
    logits.kernel.assign(logits.kernel.numpy() * np.where(np.arange(hidden.units) == unit, 1e-5, 1)[:, np.newaxis])
    model.save(path)


def test_int8_student_with_a_large_loss_raises_input_error(pipeline, tmp_path, monkeypatch):
    for part in ("data/prepared", "models/distilled"):
        (tmp_path / part).mkdir(parents=True)
        for path in (pipeline / part).iterdir():
            (tmp_path / part / path.name).write_bytes(path.read_bytes())
    for room in ("stages", "distillery", "pipeline"):  # the tracker's process runs from the working directory
        (tmp_path / room).symlink_to(ROOT / room)
    for path in (tmp_path / "models/distilled").glob("*.keras"):
        make_one_unit_dominate(path)
    params = load_params(pipeline / "params.yaml")  # the files that it names lie in the working directory
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    message = (
        r"student_int8\.tflite: of 144 validation images \d+ are correct in Keras alone, \d+ in 8 bits alone: [\d.]+"
    )
    with RunLog("export", params.flat()) as log, pytest.raises(InputError, match=message) as caught:
        export.main(params, log)
    assert "accepted: 5 (export.int8_max_loss)" in str(caught.value)
    assert not Path("metrics/export.json").exists()


def test_other_backend_than_tensorflow_raises_input_error(monkeypatch, tmp_path):
    student = untrained("dense_10_10", tmp_path / "model.keras", (8, 8, 1), 3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for name in ("litert", "litert_int8"):
        with pytest.raises(InputError, match=r"KERAS_BACKEND: found jax; models are exported by TensorFlow alone"):
            FORMATS[name].write(student, tmp_path / "model")
