"""The pages of the demo over a real run."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT
from pages import copied, enter, open_page, shown_text
from pictures import COLOURS, png, saved
from PIL import Image

from app import cache, charts
from app.results import PREPARED, find_models, read_evaluation
from distillery.data.files import write_json
from distillery.data.prepared import save_prepared
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.saving import save_model


def test_compare_shows_what_evaluate_found(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("compare.py")
    text = shown_text(page)
    headline = json.loads((pipeline / "metrics/evaluate.json").read_text())
    assert f"{abs(headline['gain']['points']):.2f} percentage points" in text
    rows = [line.split(",") for line in (pipeline / "plots/evaluate/predictions.csv").read_text().splitlines()]
    header, rows = rows[0], np.array(rows[1:])
    shown = [metric.value for metric in page.metric]
    correct = [(rows[:, header.index(role)] == rows[:, 0]).mean() for role in ("teacher", "distilled", "scratch")]
    assert shown == [f"{100 * part:.2f} %" for part in correct]
    teacher = keras.models.load_model(pipeline / "models/teacher/teacher.keras")
    assert f"{teacher.count_params():,}" in text
    assert f"{(pipeline / 'models/teacher/teacher.keras').stat().st_size:,} bytes" in text
    assert not page.warning
    for section, count in (("Training", 1), ("Confusion", 1), ("Per class", 2)):
        page.button_group[0].set_value(section).run()
        shown_text(page)
        assert len(page.image) == count
    page.button_group[0].set_value("Experiments").run()
    shown_text(page)
    (table,) = page.dataframe
    (now,) = table.value[table.value["Now"]].to_dict("records")  # another test may have left an experiment
    assert now["Experiment"] == "main"  # one row: the commit has the same results
    assert now["Distilled (%)"] == 100 * headline["distilled"]["accuracy"]
    assert [now[column] for column in ("Data set", "Teacher", "Student")] == ["digits", "cnn", "dense_800_800"]
    assert now["Seeds"] == "[0, 1]"
    assert now["Teacher parameters"] == teacher.count_params()
    student = keras.models.load_model(find_models()[0]["distilled"].path)
    assert now["Student parameters"] == student.count_params()
    assert not page.warning


def test_try_test_image_shows_predictions_of_the_models(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("try_page.py")
    assert "Nothing to look at yet" in shown_text(page)
    assert page.button_group[0].options == ["Draw", "Test image", "Upload"]
    page.button_group[0].set_value("Test image").run()
    page.number_input[0].set_value(5).run()
    text = shown_text(page)
    label = np.load(pipeline / "data/prepared/test_labels.npy")[4]
    assert f"Test image 5 of 360, label **{label}**" in text
    image = np.load(pipeline / "data/prepared/test_images.npy")[4:5]
    models = {role: keras.models.load_model(file.path) for role, file in find_models()[0].items()}
    logits = {role: model.predict(image, verbose=0)[0].astype(float) for role, model in models.items()}
    assert [metric.value for metric in page.metric] == [str(scores.argmax()) for scores in logits.values()]
    page.slider[0].set_value(5.0).run()
    text = shown_text(page)
    for scores, metric in zip(logits.values(), page.metric, strict=True):
        softened = np.exp(scores / 5) / np.exp(scores / 5).sum()
        assert metric.delta == f"{charts.percent(softened.max())} at temperature 5"
    assert "*dark knowledge*" in text
    assert text.count(" ms</span>") == 3


def test_try_picks_images_on_which_the_models_differ(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("try_page.py")
    page.button_group[0].set_value("Test image").run()
    evaluation = read_evaluation([str(digit) for digit in range(10)])
    correct = {role: predicted == evaluation.labels for role, predicted in evaluation.predicted.items()}
    expected = np.flatnonzero(correct["distilled"] & ~correct["scratch"])
    name = "distilled correct, scratch wrong"
    assert [option for option in page.selectbox[0].options if option.startswith(name)] == (
        [f"{name} ({len(expected)})"] if len(expected) else []
    )
    if len(expected):
        page.selectbox[0].set_value(name).run()
        assert f"Test image {expected[0] + 1:,} of " in shown_text(page)
    page.button[0].click().run()
    shown_text(page)
    assert 1 <= page.number_input[0].value <= page.number_input[0].max


def test_try_upload_is_predicted_or_refused(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("try_page.py")
    page.button_group[0].set_value("Upload").run()
    image = np.load(pipeline / "data/prepared/test_images.npy")[7]
    page.file_uploader[0].set_value(("digit.png", png(image[..., 0]), "image/png")).run()
    shown_text(page)
    teacher = keras.models.load_model(pipeline / "models/teacher/teacher.keras")
    assert page.metric[0].value == str(teacher.predict(image[np.newaxis], verbose=0).argmax())
    page.file_uploader[0].set_value(("notes.png", b"not a picture", "image/png")).run()
    assert "notes.png: cannot be read as an image; accepted: PNG" in shown_text(page)
    assert not page.metric


def test_speed_measures_chosen_models_and_batches(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("speed.py")
    shown_text(page)
    assert not page.dataframe
    page.multiselect[0].set_value(["teacher", "scratch"])
    page.multiselect[1].set_value([1, 100])
    page.slider[0].set_value(3)
    page.button[0].click().run()
    shown_text(page)
    measured = page.dataframe[0].value
    assert measured["Model"].tolist() == ["Teacher", "Scratch student"] * 2
    assert measured["Images at once"].tolist() == [1, 1, 100, 100]
    assert (measured["Quartile low"] <= measured["Milliseconds"]).all()
    assert measured["Images per second"].tolist() == pytest.approx(
        (1000 * measured["Images at once"] / measured["Milliseconds"]).tolist(), abs=1
    )
    assert measured["Against teacher"][0] == measured["Against teacher"][2] == 1
    page.multiselect[0].set_value([])
    page.button[0].click().run()
    assert "Choose at least one model" in shown_text(page)


def test_new_run_shows_without_a_restart(pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    before, problems = cache.models()
    assert problems == []
    assert cache.models()[0]["teacher"].model is before["teacher"].model
    shutil.copy(find_models()[0]["scratch"].path, "models/teacher/teacher.keras")
    after, _ = cache.models()
    assert after["teacher"].parameters == before["scratch"].parameters != before["teacher"].parameters
    assert after["distilled"].model is before["distilled"].model


def small_project(name: str, classes: list[str], shape: tuple[int, int, int]) -> None:
    """Make a project in this folder with data and untrained models, as if the pipeline had come so far."""
    random = np.random.default_rng(0)
    splits = {
        part: (random.integers(256, size=(20, *shape), dtype=np.uint8), np.arange(20, dtype=np.int32) % len(classes))
        for part in ("train", "validation", "test")
    }
    save_prepared(PREPARED, name, classes, "", splits)
    for seed, path in enumerate(["teacher/teacher.keras", "distilled/seed_0.keras", "scratch/seed_0.keras"]):
        spec = ModelSpec(ROOT / "architectures/dense_128.py", shape, len(classes), dropout=0)
        save_model(build_model(spec, seed), Path("models") / path)
    for role in ("distilled", "scratch"):
        choice = {"chosen_seed": 0, "by_seed": {"0": 0.1}, "omitted_classes": classes[:1], "teacher_sha256": None}
        write_json(Path("models") / role / "students.json", choice)
    shutil.copy(ROOT / "params.yaml", "params.yaml")


def test_try_shows_hundreds_of_classes_of_any_name_in_colour(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    classes = [f"Größe *{number}* <b>`$x$`</b> 'ж\\" for number in range(200)]
    small_project("folder", classes, (16, 16, 3))
    page = open_page("try_page.py")
    text = shown_text(page)
    assert page.button_group[0].options == ["Test image", "Upload"]  # nobody can draw a photograph
    assert "Bars show 10 of 200 classes" in text
    assert text.count(f"It never saw: {classes[0]}") == 2
    page.button_group[0].set_value("Upload").run()
    page.file_uploader[0].set_value(("photo.jpg", saved(Image.fromarray(COLOURS), "JPEG"), "image/jpeg")).run()
    assert "What was done: the middle square, scaled to 16 × 16." in shown_text(page)
    assert len(page.metric) == 3
