"""The example that fits a head to a network's features: what is taken gives what scikit-learn gives on them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from conftest import ROOT, run
from foreign import CLASSES, info_of, pictures, settings
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

SIZE = 12
PARTS = {"train": pictures(500, seed=1), "validation": pictures(300, seed=2), "test": pictures(100, seed=3)}
PIXELS = {"size": SIZE, "interpolation": "bicubic", "scale": 1 / 255, "mean": 0.5, "std": [0.2, 0.3, 0.4]}
FEATURES = np.random.default_rng(0).normal(0, 0.1, (3 * SIZE * SIZE, 20)).astype(np.float32)


def write_network(folder: Path, outputs: int = 7, last: str = "Gemm") -> None:
    """Write a classifier of other classes: a dense layer, and another one on top of its features."""
    folder.mkdir()
    weights = {"first": FEATURES, "second": np.ones((20, outputs), np.float32), "bias": np.ones(outputs, np.float32)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["features"]),
    ]
    if last == "Gemm":
        nodes.append(helper.make_node("Gemm", ["features", "second", "bias"], ["y"]))
    else:  # as exporters write a dense layer on more than two axes
        nodes.append(helper.make_node("MatMul", ["features", "second"], ["unbiased"]))
        nodes.append(helper.make_node("Add", ["unbiased", "bias"], ["biased"]))
        nodes.append(helper.make_node("Softmax", ["biased"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "model.onnx")
    (folder / "preprocessing.yaml").write_text(yaml.safe_dump(PIXELS))


def write_data(folder: Path) -> None:
    """Write the pictures as `prepare` writes them."""
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"classes": CLASSES}))
    for part in ("train", "validation"):
        np.save(folder / f"{part}_images.npy", PARTS[part].images)
        np.save(folder / f"{part}_labels.npy", PARTS[part].labels)


def features(part: str) -> np.ndarray:
    """Return the features by Pillow and NumPy, float64."""
    resized = [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in PARTS[part].images]
    pixels = (np.stack([np.asarray(image) for image in resized]) / 255 - 0.5) / PIXELS["std"]
    return np.maximum(np.moveaxis(pixels, -1, 1).reshape(len(pixels), -1) @ FEATURES.astype(float), 0)


def expected() -> np.ndarray:
    """Return the probabilities of the test pictures by the regression with the least validation log loss."""
    train, validation, test = (features(part) for part in ("train", "validation", "test"))
    mean, std = train.mean(axis=0), train.std(axis=0)
    labels, least, best = PARTS["validation"].labels, np.inf, None
    for strength in (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0):
        model = LogisticRegression(C=strength, max_iter=300).fit((train - mean) / std, PARTS["train"].labels)
        loss = -model.predict_log_proba((validation - mean) / std)[np.arange(len(labels)), labels].mean()
        if loss < least:
            least, best = loss, model.predict_proba((test - mean) / std)
    return best


def example(folder: Path, *more: str, check: bool = True):
    command = (str(ROOT / "examples/teacher_from_features.py"), "network", "--data", "data", "--out", "teacher", *more)
    return run(folder, "python", *command, check=check)


@pytest.mark.parametrize("last", ["Gemm", "MatMul"])
def test_a_head_on_features_teaches(tmp_path, last):
    write_network(tmp_path / "network", last=last)
    write_data(tmp_path / "data")
    example(tmp_path)
    assert (tmp_path / "teacher/classes.txt").read_text().split() == CLASSES
    take_teacher(settings(tmp_path / "teacher"), info_of(PARTS), PARTS, tmp_path / "taken", "pictures")
    logits = load_teacher(tmp_path / "taken").outputs(PARTS["test"].images)["logits"]
    weights = {
        one.name: numpy_helper.to_array(one) for one in onnx.load(tmp_path / "teacher/model.onnx").graph.initializer
    }
    np.testing.assert_allclose(logits, features("test") @ weights["head.weight"] + weights["head.bias"], atol=1e-4)
    right = expected()
    np.testing.assert_allclose(softmax(logits.astype(float), axis=1), right, atol=0.01)  # by another end of the search
    assert (right.argmax(axis=1) == PARTS["test"].labels).mean() > 0.8


def test_what_has_no_features_is_refused_in_one_line(tmp_path):
    write_network(tmp_path / "network")
    write_data(tmp_path / "data")

    def refused(said: str) -> None:
        answer = example(tmp_path, check=False)
        assert answer.returncode == 1
        assert answer.stderr.startswith(f"teacher_from_features.py: {said}")
        assert answer.stderr.count("\n") == 1
        assert not (tmp_path / "teacher").exists()

    (tmp_path / "network/preprocessing.yaml").rename(tmp_path / "kept.yaml")
    refused("network/preprocessing.yaml: no such file; accepted: a folder as teacher_from_pytorch.py writes it")
    (tmp_path / "kept.yaml").rename(tmp_path / "network/preprocessing.yaml")
    model = onnx.load(tmp_path / "network/model.onnx")
    model.graph.output[0].name = "features"
    onnx.save(model, tmp_path / "network/model.onnx")
    refused("network/model.onnx: its logits come from Relu; accepted: a dense layer last, Gemm or MatMul")
    (tmp_path / "data/dataset.json").unlink()
    refused("data/dataset.json: no such file; run `dvc repro prepare`")
