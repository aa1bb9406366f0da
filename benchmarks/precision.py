"""What trains each network fastest: precision, XLA or not, how many steps at once, oneDNN; and what precision costs.

python -m benchmarks precision
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.default import AVX2
from benchmarks.pipeline import timed_run
from benchmarks.record import part_arguments, report, shortest
from benchmarks.steps import EPOCHS, epoch_seconds
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.settings import Training
from distillery.learning.training import compile_model
from experiments.run import clone

NETWORKS = {  # architecture: shape of its images, batch size
    "cnn": ((28, 28, 1), 256),
    "dense_800_800": ((28, 28, 1), 512),
    "cnn_32_64_dense_128": ((32, 32, 3), 128),
}
PRECISIONS = ("float32", "mixed_bfloat16")
COMPILATIONS = ("none", "xla")
STEPS = (1, 16, 64)
BATCHES, CLASSES = 64, 10
ONEDNN = {"with oneDNN": "1", "without": "0"}  # values of TF_ENABLE_ONEDNN_OPTS


def main() -> dict:
    """Return the images per second of each, in a process of its own; steps at once vary where the rest is fastest."""
    rates = {}
    for architecture in NETWORKS:
        for precision in PRECISIONS:
            for compilation in COMPILATIONS:
                _measure(rates, architecture, precision, compilation, STEPS[-1])
        best = max((key for key in rates if key.startswith(f"{architecture}.")), key=rates.get)
        _, precision, compilation, _ = best.split(".")
        for steps in STEPS[:-1]:
            _measure(rates, architecture, precision, compilation, steps)
    held = {}
    for architecture in NETWORKS:
        for name, value in ONEDNN.items():
            variables = AVX2 | {"TF_ENABLE_ONEDNN_OPTS": value}
            held[f"{architecture}.{name}"] = _rate_of(architecture, "float32", "none", STEPS[-1], variables)
    return {
        "images_per_second": rates,
        "held_to_avx2": held,
        "default": {precision: _default(precision) for precision in PRECISIONS},
    }


def _default(precision: str) -> dict[str, float]:
    """Return the test accuracies of the default pipeline whose models are all trained in this precision."""
    settings = ["-S", f"train_teacher.precision={precision}", "-S", f"student.precision={precision}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        timed_run(folder, "dvc", "exp", "run", *settings, "evaluate")
        headline = json.loads((folder / "metrics/evaluate.json").read_text(encoding="utf-8"))
    return {role: headline[role]["accuracy"] for role in ("teacher", "distilled", "scratch")}


def _measure(rates: dict, architecture: str, precision: str, compilation: str, steps: int) -> None:
    key = f"{architecture}.{precision}.{compilation}.{steps}"
    rates[key] = _rate_of(architecture, precision, compilation, steps, {"TF_ENABLE_ONEDNN_OPTS": "1"})


def _rate_of(architecture: str, precision: str, compilation: str, steps: int, variables: Mapping[str, str]) -> float:
    child = [sys.executable, "-m", "benchmarks.precision", architecture, precision, compilation, str(steps)]
    found = subprocess.run(child, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
    images_per_second = float(found.stdout.split()[-1])
    report(f"{architecture}, {precision}, {compilation}, {steps} steps, {variables}: {images_per_second:,.0f} images/s")
    return images_per_second


def rate(architecture: str, precision: str, compilation: str, steps: int) -> float:
    """Return the images per second of training from scratch."""
    shape, batch_size = NETWORKS[architecture]
    random = np.random.default_rng(0)
    count = batch_size * BATCHES
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    batches = Batches(Examples(images, labels), batch_size, seed=0)
    training = Training(EPOCHS, batch_size, 0.002, compilation=compilation, steps_per_execution=steps)
    model = build_model(ModelSpec(f"architectures/{architecture}.py", shape, CLASSES), seed=0, precision=precision)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    return count / shortest(epoch_seconds(model, batches))


if __name__ == "__main__":
    architecture, precision, compilation, steps = part_arguments("precision", 4)
    print(rate(architecture, precision, compilation, int(steps)))
