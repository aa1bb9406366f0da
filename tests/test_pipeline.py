"""The real pipeline on digits, by the real `dvc`, into the real MLflow."""

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from conftest import (
    ROOT,
    STAGES,
    change_params,
    commit,
    environment,
    free_port,
    run,
    stages_run,
    store,
    tracked,
)
from PIL import Image
from sklearn.datasets import load_digits

AFTER = ["export", "timing", "register"]  # run again wherever the student is another


def headline(folder: Path) -> dict:
    return json.loads((folder / "metrics/evaluate.json").read_text())


def test_the_run_gives_what_the_contract_names(pipeline):
    metrics = headline(pipeline)
    gains = {"gain": "scratch", "gain_over_same_recipe": "same_recipe"}
    assert set(metrics) == {"teacher", "distilled", "scratch", "same_recipe", *gains, "compression"}
    assert set(metrics["teacher"]) == {"accuracy", "balanced_accuracy", "macro_f1", "errors"}
    for role in ("distilled", *gains.values()):
        assert set(metrics[role]) == {*metrics["teacher"], "accuracy_std"}
    assert set(metrics["compression"]) == {"parameters", "bytes", "multiply_adds", "student_parameters"}
    assert metrics["teacher"]["accuracy"] > 0.8
    assert metrics["distilled"]["accuracy"] > 0.8
    for name, role in gains.items():
        gain = metrics[name]
        assert set(gain) == {"points", "ci_low", "ci_high", "p"}
        assert gain["points"] == pytest.approx(100 * (metrics["distilled"]["accuracy"] - metrics[role]["accuracy"]))
        assert gain["ci_low"] <= gain["points"] <= gain["ci_high"]
    per_class = json.loads((pipeline / "metrics/per_class.json").read_text())
    assert {model: list(values) for model, values in per_class.items()} == {
        model: [str(digit) for digit in range(10)] for model in ("teacher", "distilled", "scratch")
    }


def test_the_metrics_are_those_of_the_saved_models(pipeline):
    """Counted again from the files, with plain Keras and NumPy."""
    images = np.load(pipeline / "data/prepared/test_images.npy")
    labels = np.load(pipeline / "data/prepared/test_labels.npy")

    def errors(path: Path) -> int:
        model = keras.models.load_model(path)
        return int((model.predict(images, verbose=0).argmax(axis=1) != labels).sum())

    metrics = headline(pipeline)
    assert errors(pipeline / "models/teacher/teacher.keras") == metrics["teacher"]["errors"]
    for kind in ("distilled", "scratch", "same_recipe"):
        students = sorted((pipeline / "models" / kind).glob("seed_*.keras"))
        assert [path.name for path in students] == ["seed_0.keras", "seed_1.keras"]
        counts = np.array([errors(path) for path in students])
        assert counts.mean() == pytest.approx(metrics[kind]["errors"])
        assert (counts / len(labels)).std(ddof=1) == pytest.approx(metrics[kind]["accuracy_std"])
    parameters = [
        keras.models.load_model(pipeline / f"models/{name}.keras").count_params()
        for name in ("teacher/teacher", "distilled/seed_0")
    ]
    assert metrics["compression"]["parameters"] == pytest.approx(parameters[0] / parameters[1])


def test_the_logits_are_the_saved_teachers(pipeline):
    teacher = keras.models.load_model(pipeline / "models/teacher/teacher.keras")
    images = np.load(pipeline / "data/prepared/train_images.npy")
    logits = np.load(pipeline / "data/transfer/logits.npy")
    np.testing.assert_allclose(logits, teacher.predict(images, verbose=0)[np.newaxis], atol=1e-4)


def test_nothing_to_do_does_nothing(pipeline):
    assert "Data and pipelines are up to date" in run(pipeline, "dvc", "repro").stdout
    assert run(pipeline, "git", "status", "--porcelain").stdout == ""


def test_every_stage_has_its_run_in_mlflow(pipeline):
    runs = tracked(pipeline, "workspace")
    client = store(pipeline)
    assert sorted(runs) == sorted(STAGES)
    assert [experiment.name for experiment in client.search_experiments()] == ["distillery", "Default"]
    for stage, found in runs.items():
        assert found.info.status == "FINISHED", stage
        assert found.inputs.dataset_inputs[0].dataset.name == "digits"
    for stage, epochs in (("train_teacher", 4), ("distill", 3), ("train_scratch", 3)):
        run_id = runs[stage].info.run_id
        for metric in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert [point.step for point in client.get_metric_history(run_id, metric)] == list(range(1, epochs + 1))
        assert {item.path for item in client.list_artifacts(run_id)} >= {
            "figures",
            "images",
            "per_class_accuracy.json",
            "confusion_matrix.json",
        }
        series = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
        assert len(series) == epochs
    for metric in ("hard_loss", "soft_loss", "seed_0/val_accuracy", "seed_1/soft_loss"):
        assert metric in runs["distill"].data.metrics


def test_one_run_above_those_of_the_stages_decides_between_experiments(pipeline):
    stages = tracked(pipeline, "workspace")
    (parent_id,) = {found.data.tags["mlflow.parentRunId"] for found in stages.values()}
    parent = store(pipeline).get_run(parent_id)
    assert (parent.info.run_name, parent.info.status) == ("workspace", "FINISHED")
    assert parent.data.params == {key: value for found in stages.values() for key, value in found.data.params.items()}
    for role in ("teacher", "distilled", "scratch", "same_recipe"):
        for name in ("accuracy", "errors"):
            assert parent.data.metrics[f"{role}.{name}"] == headline(pipeline)[role][name]
    assert parent.data.metrics["gain.points"] == headline(pipeline)["gain"]["points"]
    assert len(parent.data.metrics) < 36
    (experiment,) = [found for found in store(pipeline).search_experiments() if found.name == "distillery"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_evaluates_run_holds_everything_and_links_to_the_makers(pipeline):
    runs = tracked(pipeline, "workspace")
    evaluation = runs["evaluate"]
    assert evaluation.data.params["distill.temperature"] == "4.0"
    sections = {"prepare", "student", "train_teacher", "transfer", "distill", "train_scratch", "evaluate"}
    assert {key.split(".")[0] for key in evaluation.data.params} == sections
    assert evaluation.data.metrics["gain.points"] == pytest.approx(headline(pipeline)["gain"]["points"])
    for word, stage in (("teacher", "train_teacher"), ("distilled", "distill"), ("scratch", "train_scratch")):
        assert evaluation.data.tags[f"distillery.run.{word}"] == runs[stage].info.run_id
        assert runs[stage].info.run_id in evaluation.data.tags["mlflow.note.content"]
    names = {item.path for item in store(pipeline).list_artifacts(evaluation.info.run_id, "figures")}
    assert names == {
        f"figures/{name}.png"
        for name in (
            "training_curves",
            "confusion_matrices",
            "per_class_accuracy",
            "per_class_gain",
            "comparison",
            "instructive_images",
        )
    }


def test_timings_run_holds_the_figure_with_latency(pipeline):
    timing = tracked(pipeline, "workspace")["timing"]
    names = {item.path for item in store(pipeline).list_artifacts(timing.info.run_id, "figures")}
    assert names == {"figures/comparison_with_latency.png"}
    assert timing.data.metrics["speedup.latency"] > 0


def logged_student(folder: Path):
    client = store(folder)
    models = client.search_logged_models([client.get_experiment_by_name("distillery").experiment_id])
    run_id = tracked(folder, "workspace")["distill"].info.run_id
    (student,) = [model for model in models if model.source_run_id == run_id]
    return student


def test_the_model_in_mlflow_is_the_one_in_dvc(pipeline):
    student = logged_student(pipeline)
    mlflow.set_tracking_uri(f"sqlite:///{pipeline}/mlflow.db")
    model = mlflow.keras.load_model(f"models:/{student.model_id}")
    chosen = json.loads((pipeline / "models/distilled/students.json").read_text())["chosen_seed"]
    own = keras.models.load_model(pipeline / f"models/distilled/seed_{chosen}.keras")
    images = np.load(pipeline / "data/prepared/test_images.npy")[:20]
    np.testing.assert_array_equal(model.predict(images, verbose=0), own.predict(images, verbose=0))
    signature = mlflow.models.get_model_info(f"models:/{student.model_id}").signature
    assert signature.inputs.inputs[0].type == np.uint8
    assert signature.inputs.inputs[0].shape == (-1, 8, 8, 1)
    answer = mlflow.pyfunc.load_model(f"models:/{student.model_id}").predict(images)
    assert signature.outputs.input_names() == list(answer) == ["class", "logits"]
    np.testing.assert_allclose(answer["logits"].tolist(), own.predict(images, verbose=0), atol=1e-4)
    assert answer["class"].tolist() == [str(digit) for digit in own.predict(images, verbose=0).argmax(axis=1)]


@pytest.mark.long
def test_mlflow_serves_the_student(pipeline, tmp_path):
    port = free_port()
    uri = "models:/digits-student@champion"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager=local", f"--port={port}", "-m", uri],
        cwd=pipeline,
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{pipeline}/mlflow.db"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    images = np.load(pipeline / "data/prepared/test_images.npy")[:5]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": images.tolist()}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    answers = json.load(answer)["predictions"]
                break
            except OSError:
                assert time.monotonic() < deadline, "the server did not answer"
                time.sleep(0.5)
        Image.fromarray(images[0, :, :, 0]).save(tmp_path / "digit.png")
        address, classes = f"http://127.0.0.1:{port}", "models/exported/classes.txt"
        said = run(pipeline, "python", "examples/classify_served.py", address, classes, str(tmp_path / "digit.png"))
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    chosen = json.loads((pipeline / "models/distilled/students.json").read_text())["chosen_seed"]
    own = keras.models.load_model(pipeline / f"models/distilled/seed_{chosen}.keras")
    logits = own.predict(images, verbose=0)
    np.testing.assert_allclose([answer["logits"] for answer in answers], logits, atol=1e-4)
    assert [answer["class"] for answer in answers] == [str(digit) for digit in logits.argmax(axis=1)]
    assert said.stdout == f"{answers[0]['class']}\n"


def test_a_fresh_clone_with_nothing_but_the_lock_makes_an_experiment(pipeline, tmp_path):
    run(tmp_path, "git", "clone", "--quiet", str(pipeline), "fresh")
    folder = tmp_path / "fresh"
    answer = run(folder, "dvc", "exp", "run", "prepare", "--name", "other", "-S", "prepare.seed=1")
    assert stages_run(answer) == ["prepare"]
    assert run(folder, "dvc", "exp", "list", "--name-only").stdout.split() == ["other"]
    known = json.loads((folder / "metrics/headline.json").read_text())
    assert known == headline(pipeline)


def test_dvc_compares_and_draws(pipeline):
    assert "gain.points" in run(pipeline, "dvc", "metrics", "diff", "HEAD~1").stdout
    assert "distill.temperature" in run(pipeline, "dvc", "params", "diff", "--all").stdout
    assert "distill.temperature" in run(pipeline, "dvc", "exp", "show", "--csv").stdout
    run(pipeline, "dvc", "plots", "show", "--out", "page")
    page = (pipeline / "page" / "index.html").read_text()
    for title in ("Accuracy on validation images", "Confusion of the distilled student", "Accuracy by class"):
        assert title in page
    pictures = list((pipeline / "page").rglob("*.png"))
    assert {path.stem.split("plots_evaluate_")[-1] for path in pictures} == {"comparison", "per_class_gain"}
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width <= 660  # two revisions stand side by side on a screen of 1,400 pixels
    shutil.rmtree(pipeline / "page")


@pytest.mark.long
def test_the_table_of_experiments_shows_what_changed_at_120_columns(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "clone", symlinks=True))
    run(folder, "dvc", "exp", "run", "evaluate", "-S", "distill.temperature=7")
    (command,) = re.findall(r"^\$ (dvc exp show .+)$", (ROOT / "docs/experiments.md").read_text(), re.MULTILINE)
    ours, theirs = pty.openpty()  # a terminal: DVC makes its table as wide as that
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    own = environment(COLUMNS="120")  # of which rich takes more notice than of the terminal
    with subprocess.Popen(shlex.split(command), cwd=folder, env=own, stdin=theirs, stdout=theirs) as shown:
        os.close(theirs)
        printed = b""
        with suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # Linux ends a terminal with an error
            while part := terminal.read(65536):
                printed += part
    assert shown.returncode == 0
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", printed.decode()).splitlines()
    header = next(line for line in lines if "Experiment" in line)
    columns = re.findall(r"[\w.:/]+", header)
    assert columns[0] == "Experiment"
    assert columns[-1] == "distill.temperature", header
    # One that is equal in both rows is not shown.
    assert set(columns[1:-1]) <= {"metrics/distill.json:val_accuracy", "gain.points"}
    assert len(columns) > 2
    assert [re.findall(r"\d+", line)[-1] for line in lines if "workspace" in line or "main" in line] == ["7", "4"]


def test_a_bad_parameter_stops_dvc_with_one_line(pipeline):
    answer = run(pipeline, "dvc", "exp", "run", "--temp", "-S", "distill.temperature=-1", check=False)
    assert answer.returncode != 0
    said = [line for line in (answer.stdout + answer.stderr).splitlines() if "temperature" in line]
    assert "distill: params.yaml: distill.temperature: found -1; input should be greater than 0" in said
    assert "Traceback" not in answer.stdout + answer.stderr
    assert len(tracked(pipeline, "workspace")) == len(STAGES)
    assert run(pipeline, "git", "status", "--porcelain").stdout == ""


def test_another_temperature_trains_distilled_students_only(pipeline):
    answer = run(pipeline, "dvc", "exp", "run", "--temp", "--name", "warm", "-S", "distill.temperature=2")
    assert stages_run(answer) == ["distill", "evaluate", *AFTER]
    # in the repository's database, with artifacts that outlive the temporary folder
    runs = tracked(pipeline, "warm")
    assert sorted(runs) == sorted(["distill", "evaluate", *AFTER])
    assert runs["evaluate"].data.params["distill.temperature"] == "2.0"
    assert "distillery.run.teacher" in runs["evaluate"].data.tags
    for stage_run in runs.values():
        for item in store(pipeline).list_artifacts(stage_run.info.run_id, "figures"):
            path = mlflow.artifacts.download_artifacts(
                run_id=stage_run.info.run_id, artifact_path=item.path, tracking_uri=f"sqlite:///{pipeline}/mlflow.db"
            )
            assert Path(path).stat().st_size > 5000


def test_changing_one_image_of_ones_own_runs_prepare_again(pipeline, tmp_path):
    folder = tmp_path / "own images"
    bunch = load_digits(n_class=3)
    for number, (image, label) in enumerate(zip(bunch.images[:90], bunch.target[:90], strict=True)):
        path = folder / f"Ziffer №{label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(path)
    (tmp_path / "elsewhere").mkdir()
    clone = shutil.copytree(pipeline, tmp_path / "elsewhere" / "clone", ignore=shutil.ignore_patterns("mlartifacts"))
    change_params(clone, {"prepare": {"dataset": str(folder), "image_size": 8}})
    assert stages_run(run(clone, "dvc", "repro", "prepare")) == ["prepare"]
    about = json.loads((clone / "data/prepared/dataset.json").read_text())
    assert about["classes"] == ["Ziffer №0", "Ziffer №1", "Ziffer №2"]
    assert about["image_shape"] == [8, 8, 1]
    assert stages_run(run(clone, "dvc", "repro", "prepare")) == []
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(next(folder.rglob("*.png")))
    assert stages_run(run(clone, "dvc", "repro", "prepare")) == ["prepare"]
    assert json.loads((clone / "data/prepared/dataset.json").read_text())["digests"] != about["digests"]


def test_a_figures_code_trains_nothing(pipeline):
    module = pipeline / "distillery/figures/style.py"
    module.write_text(module.read_text().replace("magma", "viridis"))
    answer = run(pipeline, "dvc", "repro")
    assert stages_run(answer) == ["evaluate"]
    commit(pipeline, "other colours")


def test_the_same_model_again_runs_nothing_after_it(pipeline):
    """The teacher is trained again, since its stage's code changed, and is the same file."""
    module = pipeline / "stages/train_teacher.py"
    module.write_text(module.read_text() + "# nothing that matters\n")
    assert stages_run(run(pipeline, "dvc", "repro")) == ["train_teacher"]
    commit(pipeline, "a comment")


def test_a_stage_without_its_inputs_says_what_to_run(pipeline, tmp_path):
    for room in ("stages", "distillery", "pipeline", "datasets", "architectures", "methods"):
        shutil.copytree(pipeline / room, tmp_path / room)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(pipeline / name, tmp_path)
    change_params(tmp_path, {"student": {"seeds": [0]}})
    for stage in ("distill", "evaluate"):
        answer = run(tmp_path, "python", "-m", "pipeline", stage, check=False)
        assert answer.returncode == 1
        assert answer.stderr.strip().splitlines()[-1].startswith(f"{stage}: data/prepared/dataset.json: no such file;")
