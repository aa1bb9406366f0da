"""docs/benchmarks.md has the numbers that were measured, and the measurements still run, here on next to no images."""

import cProfile
import subprocess
import sys

import pytest

from benchmarks import photographs, photographs_training, precision, profile, scale, steps
from benchmarks.pipeline import epochs_noted
from benchmarks.record import NUMBERS, part_arguments
from benchmarks.table import ANOTHER, MEASUREMENTS, PAGE, page
from distillery.learning.models import ModelSpec, build_model
from experiments.run import ROOT


def test_benchmarks_page_is_current():
    assert {path.stem for path in NUMBERS.glob("*.json")} <= {*MEASUREMENTS, ANOTHER}
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("how", ["distill", "scratch", "scratch_keras_adam"])
def test_step_rate_is_measured(how, monkeypatch):
    monkeypatch.setitem(steps.STUDENTS, "dense_128", ((28, 28, 1), 32, 64))
    assert steps.here(how, "dense_128", "float32") > 0


def test_rate_by_precision_is_measured(monkeypatch):
    monkeypatch.setitem(precision.NETWORKS, "dense_128", ((28, 28, 1), 32))
    monkeypatch.setattr(precision, "BATCHES", 2)
    assert precision.rate("dense_128", "mixed_bfloat16", "none", steps=2) > 0


def test_scale_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "EPOCH_IMAGES", 1)
    measured = scale.train(tmp_path, 1000)
    assert measured["images_per_second"] > 0
    assert measured["own_gigabytes"] > 0.05
    assert measured["mapped_gigabytes"] > 0.05


def test_half_precision_is_compared(monkeypatch):
    for name, value in {"MANY_CLASSES": 100, "MANY_IMAGES": 1000, "MANY_EPOCHS": 2, "CHUNK": 10_000}.items():
        monkeypatch.setattr(scale, name, value)
    measured = scale.thousand_classes()
    assert measured["half_gigabytes"] == measured["full_gigabytes"] / 2
    assert measured["agreement"] > 0.9


def test_photographs_are_measured(tmp_path, monkeypatch):
    files = photographs.generate(tmp_path / "photographs", 13 * photographs.CLASSES)
    monkeypatch.chdir(ROOT)  # and back to where it was, whatever the parts do
    prepared = photographs.prepare(tmp_path)
    assert len(files) == len({*files}) == 260
    assert prepared["images_per_second"] > 0
    small = ModelSpec(ROOT / "architectures/dense_128.py", (photographs.SIZE, photographs.SIZE, 3), photographs.CLASSES)
    monkeypatch.setattr(photographs_training, "student", lambda: build_model(small, seed=0))
    assert photographs_training.epoch(tmp_path)["images"] == 180  # three of each class are tested, one is validated
    assert photographs_training.rate(tmp_path)["images_per_second"] > 0


def test_what_trains_in_pytorch_brings_no_tensorflow():
    said = "import sys, benchmarks.photographs; print({'keras', 'tensorflow'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_profile_finds_the_parts(tmp_path):
    with cProfile.Profile() as profiler:
        build_model(ModelSpec("architectures/dense_128.py", (8, 8, 1), 10), seed=0)
    profiler.dump_stats(tmp_path / "own.profile")
    parts = profile.parts_of(tmp_path / "own.profile")
    assert parts["models built, loaded, saved"] > 0
    assert parts["training and validation"] == 0


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2), (["one", "two", "three"], 2)])
def test_part_of_a_measurement_says_what_to_type(monkeypatch, capsys, words, code):
    monkeypatch.setattr(sys, "argv", ["part", *words])
    with pytest.raises(SystemExit) as ended:
        part_arguments("steps", 2)
    assert ended.value.code == code
    assert "usage: python -m benchmarks steps" in "".join(capsys.readouterr())


def test_epochs_are_counted_from_what_a_training_prints():
    lines, seconds = ["Epoch 1/2", "3.5 s: accuracy 0.9", "epoch 2/2, step 3 of 9, 4 s left", "12.0 s: loss 1"], []
    assert list(epochs_noted(lines, seconds)) == lines
    assert seconds == [3.5, 12.0]
