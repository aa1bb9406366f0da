"""Small classifiers of other people: linear ones in ONNX, whose answers scikit-learn tells, too."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from distillery.data.prepared import DatasetInfo, Split
from distillery.teachers.pixels import Pixels, fitted, values

CLASSES = ["red", "green", "blue", "night", "day"]
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def settings(model: Path | str, **changes) -> SimpleNamespace:
    """Section `train_teacher` of a teacher that is taken."""
    own = {"preprocessing": "auto", "input_size": "auto", "output": None, "classes": None, "embedding": None}
    own |= {"ensemble": "mean_probabilities"}
    return SimpleNamespace(model=str(model), **own | changes)


def pictures(count: int = 700, shape: tuple[int, int, int] = (8, 8, 3), seed: int = 0) -> Split:
    """Noisy pictures whose colour, and brightness, tells the class."""
    random = np.random.default_rng(seed)
    colours = np.array([[170, 90, 60], [80, 160, 70], [60, 80, 165], [40, 45, 50], [200, 205, 210]])
    labels = (np.arange(count) % len(CLASSES)).astype(np.int32)
    centre = colours[labels][:, np.newaxis, np.newaxis, :]
    noise = random.normal(0, 22, (count, 1, 1, 3)) + random.normal(0, 40, (count, *shape[:2], 3))
    images = np.clip(centre + noise, 0, 255).astype(np.uint8)
    return Split(images if shape[2] == 3 else images.mean(axis=3, keepdims=True).astype(np.uint8), labels, str(seed))


def info_of(parts: dict[str, Split], classes: list[str] = CLASSES, files: dict | None = None) -> DatasetInfo:
    sizes = {part: len(split.labels) for part, split in parts.items()}
    digests = {part: split.digest for part, split in parts.items()}
    shape = parts["train"].images.shape[1:]
    return DatasetInfo("pictures", classes, shape, sizes, {}, "made for tests", digests, files=files)


def fit(train: Split, pixels: Pixels, channels: int = 3, strength: float = 1e4) -> LogisticRegression:
    """A linear classifier of the mean colour, as one of the values in the order height, width, channels."""
    learned = values(fitted(train.images, pixels, channels), pixels)
    scale = np.abs(learned).max()
    model = LogisticRegression(C=strength, max_iter=1000).fit(learned.mean(axis=(1, 2)) / scale, train.labels)
    count = learned.shape[1] * learned.shape[2]
    model.coef_ = np.tile(model.coef_ / scale / count, count)
    model.n_features_in_ = model.coef_.shape[1]
    return model


def probabilities(model: LogisticRegression, images: np.ndarray, pixels: Pixels, channels: int = 3) -> np.ndarray:
    """What scikit-learn says: independent of ONNX and of what is tested."""
    return model.predict_proba(values(fitted(images, pixels, channels), pixels).reshape(len(images), -1))


def write_linear(
    path: Path,
    model: LogisticRegression,
    shape: tuple[int, int, int],
    layout: str = "nchw",
    gives: str = "logits",
    dtype: str = "float32",
    batch: int | None = None,
    external: bool = False,
    outputs: tuple[str, ...] = (),
) -> Path:
    """Write the classifier as PyTorch would export it, with the names of outputs besides."""
    height, width, channels = shape
    weights = model.coef_.reshape(-1, height, width, channels)
    axes = {
        "nchw": (batch or "batch", channels, height, width),
        "nhwc": (batch or "batch", height, width, channels),
        "nhw": (batch or "batch", height, width),
        "flat": (batch or "batch", height * width * channels),
    }[layout]
    if layout == "nchw":
        weights = np.moveaxis(weights, -1, 1)
    kind = np.float16 if dtype == "float16" else np.float32
    weights = weights.reshape(len(weights), -1).astype(kind)
    nodes, last = [], "x"
    if dtype == "uint8":
        nodes, last = [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT)], "cast"
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
    ]
    name = {"logits": "logits", "probabilities": "p", "log-probabilities": "lp", "one sigmoid a class": "s"}[gives]
    operator = {"p": "Softmax", "lp": "LogSoftmax", "s": "Sigmoid"}.get(name)
    if operator:
        nodes.append(helper.make_node(operator, ["logits"], [name]))
    numbers = TYPES["float16" if dtype == "float16" else "float32"]
    shown = [helper.make_tensor_value_info(one, numbers, [None, None]) for one in outputs or (name,)]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TYPES[dtype], axes)],
        shown,
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(model.intercept_.astype(kind), "bias")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return path
