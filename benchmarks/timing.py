"""Whether a model is as fast in a comparison as alone, and what measuring in one process costs.

python -m benchmarks timing
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.record import report
from distillery.export import litert_model
from distillery.export.litert import convert, converter
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.onnx_model import load_onnx
from distillery.learning.onnx_writer import write_onnx
from distillery.timing import latency_and_throughput, measure_alternating
from experiments.run import ROOT

ARCHITECTURES = ("cnn", "dense_800_800")
SHAPE, CLASSES, BATCH, ROUNDS = (28, 28, 1), 10, 1000, 100


def main() -> dict:
    """Return images per second and milliseconds of each network and runtime: alone, together, and in one process."""
    images = np.random.default_rng(0).integers(256, size=(BATCH, *SHAPE), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as temporary:
        models = _models(Path(temporary), images)
        alone = {name: latency_and_throughput({name: model}, images, ROUNDS)[name] for name, model in models.items()}
        together = latency_and_throughput(models, images, ROUNDS)
        in_one = _in_one_process({name: load(path) for name, (load, path) in models.items()}, images)
    measured = {}
    for name in models:
        measured[name] = {
            "alone": _numbers(alone[name]),
            "together": _numbers(together[name]),
            "in_one_process": in_one[name],
        }
        report(f"{name}: {measured[name]}")
    throughputs = [[found[how]["images_per_second"] for how in ("together", "alone")] for found in measured.values()]
    return {"models": measured, "largest_difference": max(abs(a / b - 1) for a, b in throughputs)}


def _models(folder: Path, images: np.ndarray) -> dict:
    models = {}
    for architecture in ARCHITECTURES:
        model = build_model(ModelSpec(ROOT / f"architectures/{architecture}.py", SHAPE, CLASSES), seed=0)
        paths = folder / f"{architecture}.onnx", folder / f"{architecture}.tflite"
        write_onnx(model, paths[0], images[:10])
        convert(converter(model), paths[1])
        models[f"{architecture}, ONNX Runtime"] = load_onnx, paths[0]
        models[f"{architecture}, LiteRT"] = litert_model.load, paths[1]
    return models


def _numbers(timed: dict) -> dict[str, float]:
    return {key: timed[key]["median"] for key in ("latency_ms", "images_per_second")}


def _in_one_process(predict: dict, images: np.ndarray) -> dict[str, dict[str, float]]:
    """Return what call after call of one model after the other gives, as was measured before."""
    one = measure_alternating({name: lambda model=model: model(images[:1]) for name, model in predict.items()}, ROUNDS)
    many = measure_alternating(
        {name: lambda model=model: model(images) for name, model in predict.items()}, ROUNDS // 10
    )
    return {
        name: {
            "latency_ms": float(1000 * np.median(one[name])),
            "images_per_second": float(len(images) / np.median(many[name])),
        }
        for name in predict
    }
