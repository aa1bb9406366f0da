"""Every preset through the stages, cut down to digits: the same networks, losses and switches, little training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from distillery.data.prepared import save_prepared
from pipeline.params import Params, load_params
from pipeline.tracking.journal import Journal
from stages.distill import distill
from stages.evaluate import evaluate
from stages.export import export
from stages.register import register
from stages.train_scratch import train_scratch
from stages.train_teacher import train_teacher
from stages.transfer import transfer

ROOT = Path(__file__).resolve().parent.parent
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
SIDE = 24  # the digits' 8 × 8 pixels three times as large, so that every preset's convolutions and poolings fit


def cut_down(params: Params) -> Params:
    little = {"epochs": 1, "batch_size": 64, "precision": "float32"}
    tree = params.model_dump()
    tree["student"] |= little | {"seeds": [0, 1], "views": min(params.student.views, 2)}
    tree["train_teacher"] |= little
    tree["distill"] |= {"folds": min(params.distill.folds, 2)}
    tree["evaluate"] |= {"timing_rounds": 3, "timing_batch": 10, "bootstrap_samples": 200}
    tree["export"] |= {"calibration_images": 50, "int8_max_loss": 100.0}  # after an epoch some know next to nothing
    return Params.model_validate(tree)


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    images = np.kron(bunch.images * 15, np.ones((1, 3, 3))).astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int32)
    parts = train_test_split(images, labels, stratify=labels, test_size=0.6, random_state=0)
    train_images, rest, train_labels, rest_labels = parts
    half = len(rest) // 2
    return {
        "train": (train_images, train_labels),
        "validation": (rest[:half], rest_labels[:half]),
        "test": (rest[half:], rest_labels[half:]),
    }


@pytest.mark.long
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_through_all_stages(preset, digits, tmp_path, monkeypatch):
    for room in ("stages", "distillery", "pipeline"):  # delivery runs from the working directory
        shutil.copytree(ROOT / room, tmp_path / room)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    params = cut_down(load_params(ROOT / f"presets/{preset}.yaml"))
    classes = [f"class {digit}" for digit in range(10)] if preset == "cifar10" else [str(digit) for digit in range(10)]
    colours = 3 if preset == "cifar10" else 1
    splits = {part: (np.repeat(images, colours, axis=-1), labels) for part, (images, labels) in digits.items()}
    save_prepared("digits", classes, "scikit-learn", splits)

    with Journal("preset", params.flat(), ["distill"]) as run:
        for stage in (train_teacher, transfer, distill, train_scratch, evaluate, export, register):
            stage(params, run)

    headline = json.loads(Path("metrics/evaluate.json").read_text())
    assert len(list(Path("models/distilled").glob("seed_*.keras"))) == 2
    assert ("omitted" in headline) == bool(params.student.omit_classes)
    if params.student.omit_classes:
        assert headline["omitted"]["scratch"]["accuracy"] == 0
        assert Path("plots/figures/omitted_classes.png").is_file()
    exported = json.loads(Path("metrics/export.json").read_text())
    assert exported["litert"]["agreement_with_keras"] == exported["onnx"]["agreement_with_keras"] == 1
    card = Path("MODEL_CARD.md").read_text()
    assert f"{exported['keras']['errors']} errors" in card
    assert ("It never saw images of: 3" in card) == bool(params.student.omit_classes)
    validation = json.loads(Path("metrics/distill.json").read_text())
    assert ("cross_validation" in validation) == bool(params.distill.folds)
    assert np.load("data/transfer/logits.npy").shape == (params.student.views, len(digits["train"][1]), 10)


EXACT = {  # what each original fixes: networks, loss, budget, split
    "mnist": {},
    "keras_guide": {
        "train_teacher": {"architecture": "cnn_256_512", "epochs": 5, "batch_size": 64},
        "student": {"architecture": "cnn_16_32", "epochs": 3, "batch_size": 64},
        "distill": {"method": "kd", "alpha": 0.1, "temperature": 10, "t_squared": True},
    },
    "tf2_mnist": {"distill": {"method": "kd", "alpha": 0.5, "temperature": 3, "t_squared": False}},
    "showcase": {
        "train_teacher": {"architecture": "cnn_pool5_dense_128", "epochs": 5, "learning_rate": 0.001},
        "student": {"architecture": "dense_128", "epochs": 5, "learning_rate": 0.001},
        "distill": {"method": "kd", "alpha": 0, "temperature": 1},
    },
    "soft_labels": {
        "train_teacher": {"architecture": "cnn_dense_1200_1200", "dropout": 0.5, "softmax_temperature": 3.5},
        "student": {"architecture": "dense_10_10"},
        "distill": {"method": "kd", "alpha": 0, "temperature": 1, "folds": 3},
    },
    "hinton": {
        "train_teacher": {"architecture": "dense_1200_1200", "jitter": 2},
        "student": {"architecture": "dense_800_800", "dropout": 0, "weight_decay": 0, "omit_classes": []},
        "distill": {"method": "kd", "temperature": 20},
    },
    "hinton_no_threes": {
        "student": {"architecture": "dense_800_800", "omit_classes": ["3"]},
        "distill": {"method": "kd", "temperature": 20},
    },
    "cifar10": {
        "prepare": {"dataset": "cifar10", "validation_fraction": 0.2},
        "train_teacher": {"architecture": "vgg_64_128_256"},
        "student": {"architecture": "cnn_32_64_dense_128"},
        "distill": {"alpha": 0.1, "temperature": 5},
    },
}


@pytest.mark.parametrize("preset", PRESETS)
def test_what_must_be_exact_is(preset):
    tree = load_params(ROOT / f"presets/{preset}.yaml").model_dump()
    for section, values in EXACT[preset].items():
        assert {key: tree[section][key] for key in values} == values
    assert len(tree["student"]["seeds"]) >= 3


def test_both_hinton_presets_have_one_teacher():
    with_threes, without = (load_params(ROOT / f"presets/{name}.yaml") for name in ("hinton", "hinton_no_threes"))
    assert (with_threes.prepare, with_threes.train_teacher) == (without.prepare, without.train_teacher)
