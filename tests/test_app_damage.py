"""The pages of the demo without a run, and over damaged parts of one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, model
from pages import copied, enter, open_page, shown_text

from app import charts, results
from app.results import PREPARED, find_models
from distillery.data.files import write_json
from distillery.data.prepared import save_prepared
from distillery.learning.saving import save_model

PAGES = ["compare.py", "try_page.py", "speed.py"]


@pytest.mark.parametrize("name", PAGES)
def test_page_without_a_run_shows_the_command(name, tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    enter(monkeypatch, tmp_path)
    text = shown_text(open_page(name))
    assert "There are no models to show yet" in text
    assert "dvc repro" in text
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_demo_outside_the_project_shows_where_to_start_it(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    text = shown_text(open_page("compare.py"))
    assert "Start the demo from the project's folder" in text
    assert "streamlit run app/demo.py" in text


def only_a_teacher(folder: Path) -> str:
    for name in ("models/distilled", "models/scratch", "metrics", "plots"):
        shutil.rmtree(folder / name)
    return "models/distilled/students.json: no such file; run `dvc repro`"


def a_damaged_model(folder: Path) -> str:
    path = folder / "models/teacher/teacher.keras"
    path.write_bytes(path.read_bytes()[:5000])
    return "models/teacher/teacher.keras: not a Keras model that can be read"


def a_choice_of_another_form(folder: Path) -> str:
    write_json(folder / "models/scratch/students.json", ["seed"])
    return "models/scratch/students.json: not as the pipeline writes it"


def no_metrics(folder: Path) -> str:
    shutil.rmtree(folder / "metrics")
    return "metrics/evaluate.json: no such file; run `dvc repro`"


def a_teacher_for_other_images(folder: Path) -> str:
    save_model(model("dense_128", image_shape=(9, 9, 1)), folder / "models/teacher/teacher.keras")
    return "the models in models/ are not of one run"


def data_replaced(folder: Path) -> str:
    images, labels = np.zeros((4, 9, 9, 1), np.uint8), np.arange(4, dtype=np.int32)
    save_prepared(PREPARED, "other", list("abcd"), "", dict.fromkeys(("train", "validation", "test"), (images, labels)))
    return "; run `dvc repro`"


def damaged_test_images(folder: Path) -> str:
    (folder / "data/prepared/test_images.npy").write_bytes(b"half of ")
    return "test_images.npy: damaged"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("compare.py", only_a_teacher),
        ("try_page.py", only_a_teacher),
        ("speed.py", only_a_teacher),
        ("compare.py", a_damaged_model),
        ("try_page.py", a_damaged_model),
        ("speed.py", a_choice_of_another_form),
        ("compare.py", no_metrics),
        ("compare.py", a_teacher_for_other_images),
        ("try_page.py", a_teacher_for_other_images),
        ("compare.py", data_replaced),
        ("try_page.py", data_replaced),
        ("try_page.py", damaged_test_images),
    ],
)
def test_page_of_half_a_run_shows_the_rest_and_the_reason(name, damage, pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    expected = damage(tmp_path)
    page = open_page(name)
    if name == "try_page.py" and page.button_group:
        shown_text(page)
        page.button_group[0].set_value("Test image").run()
    assert expected in shown_text(page)
    if name == "speed.py":
        page.button[0].click().run()
        shown_text(page)
        assert set(page.dataframe[0].value["Model"]) == {charts.NAMES[role] for role in find_models()[0]}


def test_compare_of_retrained_models_warns_of_old_numbers(pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    assert results.stages_since_evaluation() == []
    lock = Path("dvc.lock").read_text()
    output = lock.index("path: models/scratch", lock.index("  train_scratch:"))
    digest = lock.index("md5: ", lock.index("md5\n", output)) + len("md5: ")
    Path("dvc.lock").write_text(lock[:digest] + "0" * 32 + lock[digest + 32 :])
    assert results.stages_since_evaluation() == ["train_scratch"]
    assert "`train_scratch` ran after the last `evaluate`" in shown_text(open_page("compare.py"))
