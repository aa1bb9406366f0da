"""How fast `transfer` runs a teacher from elsewhere, against its runtime alone: ONNX files, views of small photographs.

python -m benchmarks taken_teacher
"""

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnxruntime

from benchmarks.record import report
from distillery.distillation.transfer_set import view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.teachers.conventions import convention
from distillery.teachers.onnx_runtime import OnnxRuntime
from distillery.teachers.teacher import Classifier

NETWORKS = {  # with the side of its images: the weights do not matter for the time
    "MobileNetV2, 96 px": (keras.applications.MobileNetV2, 96),
    "MobileNetV2, 160 px": (keras.applications.MobileNetV2, 160),
    "ResNet50, 96 px": (keras.applications.ResNet50, 96),
}
IMAGES, ROUNDS = 2048, 5
ALONE = (16, 32, 64, 128)  # images at a time: the runtime may have the one that suits it


def main() -> dict:
    """Return images per second of each network in `transfer` and alone, medians of alternating rounds."""
    images = np.random.default_rng(0).integers(256, size=(IMAGES, 32, 32, 3), dtype=np.uint8)
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (network, side) in NETWORKS.items():
            path = Path(folder) / "model.onnx"
            model = network(weights=None, classes=10, input_shape=(side, side, 3))
            model(np.zeros((1, side, side, 3)))  # an export asks for it
            model.export(path, format="onnx", verbose=False)
            measured[name] = _rates(path, images, side)
            report(f"{name}: {measured[name]}")
    return {"models": measured, "slowest": min(one["in_transfer"] / one["alone"] for one in measured.values())}


def _rates(path: Path, images: np.ndarray, side: int) -> dict[str, float]:
    runtime = OnnxRuntime(path)
    pixels = convention("symmetric").with_size((side, side))
    (takes, *_), output = runtime.takes(images.shape[1:]), runtime.outputs[0]
    classifier = Classifier(runtime, takes, pixels, output, "logits", None)
    teacher = SimpleNamespace(outputs=lambda batch: {"logits": classifier.predict(batch)}, digest="0" * 64)
    views = Views(Policy(max_shift=4, horizontal_flip=True), len(images), 2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ways = {"in_transfer": lambda: view_outputs(teacher, images, views, 1)}
    ways |= {str(size): lambda size=size: _alone(session, side, size) for size in ALONE}
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: float(len(images) / np.median(of_way)) for name, of_way in seconds.items()}
    best = max(map(str, ALONE), key=rates.get)
    return {"in_transfer": rates["in_transfer"], "alone": rates[best], "batch": int(best)}


def _alone(session: onnxruntime.InferenceSession, side: int, size: int) -> None:
    """Run a model on arrays that are ready for it."""
    (taken,) = session.get_inputs()
    batch = np.random.default_rng(0).uniform(-1, 1, (size, side, side, 3)).astype(np.float32)
    for _ in range(IMAGES // size):
        session.run(None, {taken.name: batch})
