"""Teachers from elsewhere in the real pipeline: every stage, MLflow and the demo, against the models' own runtimes."""

import json
import shutil
from pathlib import Path

import keras
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from conftest import STAGES, change_params, run, stages_run, store, tracked
from foreign import write_linear
from pages import enter, open_page, shown_text
from PIL import Image
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from stages.evaluate import SUMMARY

AFTER_A_TEACHER = ["train_teacher", "transfer", "distill", "evaluate", "export", "timing", "register"]
UNSAID = ("Traceback", "None", "nan", "null", "{{")  # what a card or a page has where a number is missing


def prepared(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of a part as `prepare` wrote them."""
    return tuple(np.load(folder / f"data/prepared/{part}_{kind}.npy") for kind in ("images", "labels"))


def linear(images: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """A classifier of pixels from 0 to 1."""
    return LogisticRegression(max_iter=300).fit(images.reshape(len(images), -1) / 255, labels)


def clone_of(pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline, tmp_path / "a clone", symlinks=True))


def check_transfer(folder: Path, expected: np.ndarray) -> None:
    """The transfer set has the log-probabilities of the views, (views, n, classes), whatever constant is added."""
    logits = np.load(folder / "data/transfer/logits.npy").astype(float)
    np.testing.assert_allclose(log_softmax(logits, axis=2), expected, atol=1e-3)


def check_results(folder: Path, predicted: np.ndarray) -> dict:
    """The metrics are those of these predictions, and the card says them; return the metrics."""
    _, labels = prepared(folder, "test")
    metrics = json.loads((folder / "metrics/evaluate.json").read_text())
    assert metrics["teacher"]["errors"] == (predicted != labels).sum()
    assert metrics["teacher"]["accuracy"] == pytest.approx((predicted == labels).mean())
    assert metrics["teacher"]["accuracy"] > 0.85
    card = (folder / "MODEL_CARD.md").read_text().partition("## Parameters")[0]
    accuracy, balanced, f1, errors = (metrics["teacher"][name] for name in SUMMARY)
    row = f"| teacher | {100 * accuracy:.2f} % | {100 * balanced:.2f} % | {100 * f1:.2f} % | {errors:,.1f} |"
    assert row in card
    assert not [word for word in UNSAID if word in card]
    curves = (folder / "plots/train_teacher/curves.csv").read_text()
    assert len(curves.splitlines()) > 1
    assert run(folder, "dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    return metrics


def check_logged(folder: Path, expected: np.ndarray) -> None:
    """The model in MLflow gives these log-probabilities of the test images."""
    runs, client = tracked(folder, "taken"), store(folder)
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    models = client.search_logged_models([client.get_experiment_by_name("distillery").experiment_id])
    (teacher,) = [model for model in models if model.source_run_id == runs["train_teacher"].info.run_id]
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    answer = mlflow.pyfunc.load_model(f"models:/{teacher.model_id}").predict(prepared(folder, "test")[0])
    np.testing.assert_allclose(log_softmax(np.stack(answer["logits"]), axis=1), expected, atol=1e-3)
    assert answer["class"].tolist() == [str(digit) for digit in expected.argmax(axis=1)]


def check_members(folder: Path, said: str, members: np.ndarray, together: np.ndarray) -> None:
    """The validation scores of an ensemble and of its members are those of these log-probabilities."""
    _, labels = prepared(folder, "validation")
    metrics = json.loads((folder / "metrics/train_teacher.json").read_text())
    assert list(metrics["members"]) == ["network.h5", "planes.onnx"]
    for score, log_p in zip([*metrics["members"].values(), metrics], [*members, together], strict=True):
        assert score["val_accuracy"] == pytest.approx((log_p.argmax(axis=1) == labels).mean())
        assert score["val_loss"] == pytest.approx(-log_p[np.arange(len(labels)), labels].mean(), rel=1e-3)
        assert f"  {100 * score['val_accuracy']:5.2f} %  {score['val_loss']:8.4f}\n" in said
    gain = metrics["val_loss"] - min(score["val_loss"] for score in metrics["members"].values())
    assert f" and {gain:+.4f} of log loss, compared with the best of its members" in said
    logged = tracked(folder, "taken")["train_teacher"]
    assert logged.data.metrics["best.val_loss"] == pytest.approx(metrics["val_loss"])


def check_nothing_logged(folder: Path) -> None:
    """MLflow has no model of the teacher, which is none, and its students'."""
    runs, client = tracked(folder, "taken"), store(folder)
    models = client.search_logged_models([client.get_experiment_by_name("distillery").experiment_id])
    sources = [model.source_run_id for model in models]
    assert runs["train_teacher"].info.run_id not in sources
    assert runs["distill"].info.run_id in sources


def open_sections(page) -> None:
    """Every section of the page Compare is shown."""
    for section in ("Training", "Confusion", "Per class", "Experiments"):
        page.button_group[0].set_value(section).run()
        shown_text(page)


def timed_models() -> list[str]:
    """Return the models that the page Speed measures."""
    page = open_page("speed.py")
    page.multiselect[1].set_value([1])
    page.slider[0].set_value(3)
    page.button[0].click().run()
    shown_text(page)
    return page.dataframe[0].value["Model"].tolist()


def check_pages_of_a_table(folder: Path, monkeypatch) -> None:
    """The demo shows what the teacher said, and goes on without it where pictures are new."""
    enter(monkeypatch, folder)
    page = open_page("compare.py")
    text = shown_text(page)
    assert "Of the teacher's speed nothing is known: it is a table of outputs." in text
    assert "parameters** than its teacher" not in text
    open_sections(page)
    page = open_page("try_page.py")
    page.button_group[0].set_value("Test image").run()
    assert "the teacher is a table of outputs, " in shown_text(page)
    assert len(page.metric) == 2
    assert timed_models() == ["Distilled student", "Scratch student"]


def check_pages(folder: Path, monkeypatch, parameters: int, expected: np.ndarray) -> None:
    """The demo shows the teacher's size, predicts with it and times it."""
    enter(monkeypatch, folder)
    page = open_page("compare.py")
    text = shown_text(page)
    assert f"{parameters:,}" in text
    assert not page.warning
    open_sections(page)
    page = open_page("try_page.py")
    page.button_group[0].set_value("Test image").run()
    page.number_input[0].set_value(7).run()
    shown_text(page)
    assert page.metric[0].value == str(expected[6].argmax())
    assert len(page.metric) == 3
    assert timed_models() == ["Teacher", "Distilled student", "Scratch student"]


@pytest.mark.long
def test_an_onnx_file_teaches(pipeline, tmp_path, monkeypatch):
    """A linear classifier that takes values from 0 to 1 and gives probabilities."""
    folder = clone_of(pipeline, tmp_path)
    write_linear(folder / "own.onnx", linear(*prepared(folder, "train")), (8, 8, 1), gives="probabilities")
    session = onnxruntime.InferenceSession(folder / "own.onnx")

    def answers(part: str) -> np.ndarray:
        pixels = np.moveaxis(prepared(folder, part)[0], -1, 1).astype(np.float32) / 255
        return np.log(session.run(None, {"x": pixels})[0].astype(float))

    answer = run(folder, "dvc", "exp", "run", "--name", "taken", "-S", "train_teacher.model=own.onnx")
    assert stages_run(answer) == AFTER_A_TEACHER
    check_transfer(folder, answers("train")[np.newaxis])
    metrics = check_results(folder, answers("test").argmax(axis=1))
    assert json.loads((folder / "metrics/timing.json").read_text())["machine"]["runtime"]["teacher"] == "ONNX Runtime"
    student = json.loads((folder / "metrics/export.json").read_text())["keras"]["parameters"]
    assert metrics["compression"]["parameters"] == pytest.approx((10 * 64 + 10) / student)
    check_logged(folder, answers("test"))
    check_pages(folder, monkeypatch, 10 * 64 + 10, answers("test"))


@pytest.mark.long
def test_an_ensemble_teaches_by_each_member(pipeline, tmp_path, monkeypatch):
    """An ONNX file that takes planes of −1…1, and an older Keras's file of 0…255."""
    folder = clone_of(pipeline, tmp_path)
    (own := folder / "own").mkdir()
    images, labels = prepared(folder, "train")
    planes = LogisticRegression(max_iter=300).fit(images.reshape(len(images), -1) / 127.5 - 1, labels)
    write_linear(own / "planes.onnx", planes, (8, 8, 1))
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
    network.add(keras.layers.Dense(32, activation="relu"))
    network.add(keras.layers.Dense(10))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss)
    network.fit(images, labels, epochs=8, verbose=0)
    network.save(own / "network.h5")

    def of_members(part: str) -> np.ndarray:
        """Return the log-probabilities of each member, (members, n, classes)."""
        shown = prepared(folder, part)[0]
        scaled = shown.reshape(len(shown), -1) / 127.5 - 1
        by_network = log_softmax(network.predict(shown, verbose=0).astype(float), axis=1)
        return np.stack([by_network, planes.predict_log_proba(scaled)])

    def answers(part: str) -> np.ndarray:
        return np.log(np.exp(of_members(part)).mean(axis=0))

    change_params(folder, {"distill": {"method": "dkd", "folds": 2}})
    command = ("dvc", "exp", "run", "--name", "taken", "-S", "train_teacher.model=own")
    answer = run(folder, *command, "-S", "train_teacher.ensemble=mean_loss")
    assert stages_run(answer) == AFTER_A_TEACHER
    check_members(folder, answer.stdout, of_members("validation"), answers("validation"))
    check_transfer(folder, answers("train")[np.newaxis])
    members = np.load(folder / "data/transfer/member_logits.npy").astype(float)
    expected = np.moveaxis(of_members("train"), 0, 1)[np.newaxis]
    np.testing.assert_allclose(log_softmax(members, axis=3), expected, atol=1e-3)
    check_results(folder, answers("test").argmax(axis=1))
    assert json.loads((folder / "metrics/timing.json").read_text())["machine"]["runtime"]["teacher"] == "ONNX Runtime"
    check_logged(folder, answers("test"))
    check_pages(folder, monkeypatch, 10 * 64 + 10 + network.count_params(), answers("test"))
    mean = ("-S", "train_teacher.ensemble=mean_probabilities", "transfer")
    assert stages_run(run(folder, "dvc", "exp", "run", "--name", "mean", *mean)) == ["train_teacher", "transfer"]
    check_transfer(folder, answers("train")[np.newaxis])
    assert not (folder / "data/transfer/member_logits.npy").exists()


@pytest.mark.long
def test_a_table_of_outputs_teaches(pipeline, digits, tmp_path, monkeypatch):
    """What a classifier of scikit-learn said of the images of a folder, by their paths."""
    folder, pictures = clone_of(pipeline, tmp_path), tmp_path / "pictures"
    rows, (images, labels) = [], (array[:900] for array in digits)
    model = linear(images, labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = pictures / f"digit {label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
        rows.append(str(path.relative_to(pictures)))
    said = pd.DataFrame(model.predict_proba(images.reshape(900, -1) / 255), columns=[f"digit {n}" for n in range(10)])
    said.assign(path=rows).sample(frac=1, random_state=0).to_parquet(folder / "outputs.parquet")

    def answers(part: str) -> np.ndarray:
        shown = prepared(folder, part)[0]
        return model.predict_log_proba(shown.reshape(len(shown), -1) / 255)

    change_params(folder, {"prepare": {"dataset": str(pictures), "image_size": 8}, "student": {"seeds": [0]}})
    answer = run(folder, "dvc", "exp", "run", "--name", "taken", "-S", "train_teacher.model=outputs.parquet")
    assert stages_run(answer) == STAGES
    check_transfer(folder, answers("train")[np.newaxis])
    metrics = check_results(folder, answers("test").argmax(axis=1))
    assert list(metrics["compression"]) == ["student_parameters"]
    assert "distilled from one whose outputs are given" in (folder / "MODEL_CARD.md").read_text()
    check_nothing_logged(folder)
    check_pages_of_a_table(folder, monkeypatch)
