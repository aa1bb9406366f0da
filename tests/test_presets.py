"""Every preset through the stages, cut down to digits: the same networks, losses and switches, little training."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from foreign import write_linear
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from distillery.data.errors import InputError
from distillery.data.prepared import save_prepared
from pipeline.flat import flat
from pipeline.params import Params, load_params
from pipeline.presets import DEFAULT, preset_names, preset_text, write_preset
from pipeline.tracking.run_log import RunLog

ROOT = Path(__file__).resolve().parent.parent
PRESETS = preset_names()
STAGES = ("train_teacher", "transfer", "distill", "train_scratch", "evaluate", "export", "timing", "register")
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIDE = 24  # the digits' 8 × 8 pixels three times as large, so that every preset's convolutions and poolings fit
# These run the same code as hinton_no_threes, imagenet_teacher or the shared run of other tests; the last has a
# network that takes minutes to export, which test_networks.py and test_input_size.py have.
LIKE_ANOTHER = (
    "mnist",
    "keras_guide",
    "soft_labels",
    "tf2_mnist",
    "showcase",
    "hinton",
    "imagenet_features",
    "digits",
    "emoji",
)


def parameters(preset: str) -> Params:
    """The parameters of a preset, in a working directory with the files that they name."""
    write_preset(preset)
    return load_params()


def overrides(preset: str) -> dict:
    return dict(flat(yaml.safe_load((ROOT / f"presets/{preset}.yaml").read_text(encoding="utf-8"))))


def cut_down(params: Params) -> Params:
    little = {"epochs": 1, "batch_size": 64, "precision": "float32"}
    tree = params.model_dump()
    tree["student"] |= little | {"seeds": [0, 1], "views": min(params.student.views, 2)}
    tree["train_teacher"] |= little
    tree["distill"] |= {"folds": min(params.distill.folds, 2)}
    tree["timing"] = {"rounds": 3, "batch": 10}
    tree["export"] |= {"calibration_images": 50, "int8_max_loss": 100.0}  # one epoch teaches some next to nothing
    return type(params).model_validate(tree)


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


def write_teacher(params: Params, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a linear classifier of digits as the teacher from elsewhere that a preset takes."""
    fitted = LogisticRegression(max_iter=300).fit(images.reshape(len(images), -1) / 255, labels)
    outputs, width = range(10), 10
    if (
        params.train_teacher.classes
    ):  # the first of those that stand for a class stands for a digit, the others for none
        mapping = yaml.safe_load(Path(params.train_teacher.classes).read_text()).values()
        outputs, width = [np.ravel(one["from"] if isinstance(one, dict) else one)[0] for one in mapping], 1000
    model = SimpleNamespace(coef_=np.zeros((width, images[0].size)), intercept_=np.full(width, -40.0))
    model.coef_[outputs], model.intercept_[outputs] = fitted.coef_, fitted.intercept_
    write_linear(Path(params.train_teacher.model) / "model.onnx", model, images.shape[1:])


@pytest.mark.long
@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset not in LIKE_ANOTHER])
def test_preset_runs_through_all_stages(preset, digits, project, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(project))
    params = cut_down(parameters(preset))
    cifar = params.prepare.dataset == "datasets/cifar10.py"
    classes = CIFAR if cifar else [str(digit) for digit in range(10)]
    channels = 3 if cifar else 1
    splits = {part: (np.repeat(images, channels, axis=-1), labels) for part, (images, labels) in digits.items()}
    if not params.train_teacher.model.endswith(".py"):
        write_teacher(params, *splits["train"])
    save_prepared(Path("data/prepared"), "digits", classes, "scikit-learn", splits)

    with RunLog("preset", params.flat()) as run:
        for stage in STAGES:
            importlib.import_module(f"stages.{stage}").main(params, run)

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
    "digits": {"prepare": {"dataset": "datasets/digits.py"}},
    "keras_guide": {
        "train_teacher": {"model": "architectures/cnn_256_512.py", "epochs": 5, "batch_size": 64},
        "student": {"model": "architectures/cnn_16_32.py", "epochs": 3, "batch_size": 64},
        "distill": {"method": "kd", "alpha": 0.1, "temperature": 10, "t_squared": True},
    },
    "tf2_mnist": {"distill": {"method": "kd", "alpha": 0.5, "temperature": 3, "t_squared": False}},
    "showcase": {
        "train_teacher": {"model": "architectures/cnn_pool5_dense_128.py", "epochs": 5, "learning_rate": 0.001},
        "student": {"model": "architectures/dense_128.py", "epochs": 5, "learning_rate": 0.001},
        "distill": {"method": "kd", "alpha": 0, "temperature": 1},
    },
    "soft_labels": {
        "train_teacher": {"model": "architectures/cnn_dense_1200_1200.py", "dropout": 0.5, "softmax_temperature": 3.5},
        "student": {"model": "architectures/dense_10_10.py"},
        "distill": {"method": "kd", "alpha": 0, "temperature": 1, "folds": 3},
    },
    "hinton": {
        "train_teacher": {"model": "architectures/dense_1200_1200.py", "max_shift": 2},
        "student": {"model": "architectures/dense_800_800.py", "dropout": 0, "weight_decay": 0, "omit_classes": []},
        "distill": {"method": "kd", "temperature": 20},
    },
    "hinton_no_threes": {
        "student": {"model": "architectures/dense_800_800.py", "omit_classes": ["3"]},
        "distill": {"method": "kd", "temperature": 20},
    },
    "cifar10": {
        "prepare": {"dataset": "datasets/cifar10.py", "validation_fraction": 0.2},
        "train_teacher": {"model": "architectures/vgg_64_128_256.py"},
        "student": {"model": "architectures/cnn_32_64_dense_128.py"},
        "distill": {"alpha": 0.1, "temperature": 5},
    },
    "imagenet_teacher": {"prepare": {"dataset": "datasets/cifar10.py", "validation_fraction": 0.2}},
    "imagenet_features": {"prepare": {"dataset": "datasets/cifar10.py", "validation_fraction": 0.2}},
    "emoji": {"prepare": {"dataset": "emoji", "image_size": 64}},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_keeps_what_its_original_fixes(preset, project):
    tree = parameters(preset).model_dump()
    for section, values in EXACT[preset].items():
        assert {key: tree[section][key] for key in values} == values
    assert len(tree["student"]["seeds"]) >= 3


def test_hinton_presets_share_their_teacher(project):
    with_threes, without = (parameters(name) for name in ("hinton", "hinton_no_threes"))
    assert (with_threes.prepare, with_threes.train_teacher) == (without.prepare, without.train_teacher)


def test_default_preset_is_params_yaml():
    assert preset_text(DEFAULT) == (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != DEFAULT])
def test_preset_holds_only_what_differs(preset):
    default, complete = (dict(flat(yaml.safe_load(preset_text(name)))) for name in (DEFAULT, preset))
    differing = {key: value for key, value in complete.items() if value != default[key]}
    assert overrides(preset) == differing
    assert complete.keys() == default.keys()
    assert "#" in preset_text(preset)


def test_preset_command_writes_the_complete_parameters(project):
    (project / "dvc.yaml").symlink_to(ROOT / "dvc.yaml")
    command = [sys.executable, "-m", "pipeline", "preset"]
    subprocess.run([*command, "hinton"], check=True)
    written = Path("params.yaml").read_text(encoding="utf-8")
    assert written == preset_text("hinton")
    assert "temperature: 20.0" in written
    shutil.rmtree("teachers")
    for name, told in (
        ("hnton", f"preset: found 'hnton'; accepted: {', '.join(PRESETS)}\n"),
        (
            "imagenet_teacher",
            "preset: train_teacher.model: found 'teachers/imagenet'; presets/imagenet_teacher.yaml says",
        ),
    ):
        refused = subprocess.run([*command, name], capture_output=True, text=True)
        assert refused.returncode == 1
        assert refused.stderr.startswith(told)
        assert refused.stderr.count("\n") == 1
        assert Path("params.yaml").read_text(encoding="utf-8") == written


def test_unknown_parameter_in_preset_raises_input_error(tmp_path, monkeypatch):
    (tmp_path / "mnist.yaml").write_text((ROOT / "presets/mnist.yaml").read_text())
    (tmp_path / "own.yaml").write_text("distill: {dkd: {betta: 1.0}}\n")
    monkeypatch.setattr("pipeline.presets.FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"presets/own.yaml: distill.dkd.betta: unknown parameter; accepted: alpha"):
        preset_text("own")
