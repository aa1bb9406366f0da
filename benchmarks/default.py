"""The default from nothing, against PyTorch that trains the same teacher and students and does nothing else.

python -m benchmarks default

On a processor with AVX-512 both are measured a second time, held to AVX2: ordinary servers have no more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.pipeline import timed_run
from benchmarks.record import part_arguments, report
from experiments.run import clone
from pipeline.params import load_params

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SHAPE, CLASSES, IMAGES = (28, 28, 1), 10, 54_000  # MNIST's training images, without those for validation
TIMED = {"teacher": 10_752, "student": IMAGES}  # images per timed epoch: whole batches, some seconds each
EPOCHS = 3  # timed, after one in which there is something to compile
WAYS = ("eager", "compiled")


def main() -> dict:
    """Return seconds and accuracies of `dvc repro`, and seconds of PyTorch, on each kind of machine."""
    from distillery.learning.precision import read_cpu  # imports TensorFlow, which PyTorch's processes must not

    kinds = {"as it is": {}}
    if "avx512f" in read_cpu(Path("/proc/cpuinfo")).flags:
        kinds["held to AVX2"] = AVX2
    return {kind: measured(variables) for kind, variables in kinds.items()}


def measured(variables: Mapping[str, str]) -> dict:
    """Return what both take under these environment variables: PyTorch before and after the pipeline."""
    before = pytorch(variables)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        (folder / ".dvc/config.local").unlink()  # it does not share this repository's cache
        repro = timed_run(folder, "dvc", "repro", **variables)
        repro["evaluate"] = json.loads((folder / "metrics/evaluate.json").read_text())
        repro["precision"] = json.loads((folder / "metrics/timing.json").read_text())["machine"]["precision"]
    after = pytorch(variables)
    rates = {name: max(before[name], after[name]) for name in before if name in after}
    return {"repro": repro, "pytorch": {"images_per_second": rates, "seconds": pytorch_seconds(rates)}}


def pytorch(variables: Mapping[str, str]) -> dict[str, float]:
    """Return PyTorch's images per second, by network and way, each in a process of its own.

    Note: what PyTorch compiles for AVX-512 crashed on one processor; a way that crashes is said, and left out.
    """
    rates = {}
    for network in ("teacher", "student"):
        for way in WAYS:
            child = [sys.executable, "-m", "benchmarks.default", network, way]
            found = subprocess.run(child, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=False)
            if found.returncode < 0:
                report(f"PyTorch, {network}, {way}: ended by signal {-found.returncode}")
                continue
            found.check_returncode()
            rates[f"{network}.{way}"] = float(found.stdout.split()[-1])
            report(f"PyTorch, {network}, {way}: {rates[f'{network}.{way}']:,.0f} images/s")
    return rates


def pytorch_seconds(rates: Mapping[str, float]) -> float:
    """Return the seconds in which PyTorch, the faster way, trains the default's teacher and all its students."""
    params = load_params()
    students = 3 * len(params.student.seeds)  # distilled, and from the labels alone with two recipes
    shown = {"teacher": IMAGES * params.train_teacher.epochs, "student": IMAGES * params.student.epochs * students}
    return sum(count / fastest(rates, network) for network, count in shown.items())


def fastest(rates: Mapping[str, float], network: str) -> float:
    """Return PyTorch's images per second for a network, the faster way of those that ran."""
    return max(rate for name, rate in rates.items() if name.startswith(f"{network}."))


def in_pytorch(network: str, way: str) -> float:
    """Return the images per second of a network of the default in float32: no augmentation, no validation."""
    import torch  # optional: only the benchmarks need it
    from torch.nn import functional

    params = load_params()
    settings = params.train_teacher if network == "teacher" else params.student
    random = np.random.default_rng(0)
    count = TIMED[network]
    images = torch.from_numpy(random.integers(0, 256, (count, *SHAPE), dtype=np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(random.integers(0, CLASSES, count))
    model = layers(network, settings.dropout).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    forward = torch.compile(model) if way == "compiled" else model

    def epoch() -> float:
        began = time.perf_counter()
        correct = torch.zeros((), dtype=torch.long)
        for chosen in torch.randperm(count).split(settings.batch_size):
            if len(chosen) < settings.batch_size:
                continue  # another shape would be compiled anew
            batch = images[chosen].float().div_(255).contiguous(memory_format=torch.channels_last)
            logits = forward(batch)
            loss = functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            correct += (logits.argmax(1) == labels[chosen]).sum()  # the accuracy that `fit` computes, too
        return time.perf_counter() - began

    counted = count // settings.batch_size * settings.batch_size
    return counted / min([epoch() for _ in range(1 + EPOCHS)][1:])


def layers(network: str, dropout: float):
    """Return the network of `architectures/cnn.py`, or of `architectures/dense_800_800.py`, in PyTorch."""
    from torch import nn

    if network == "student":
        hidden = [nn.Linear(784, 800), nn.ReLU(), nn.Dropout(dropout), nn.Linear(800, 800), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Dropout(dropout), nn.Linear(800, CLASSES))
    convolutions = [nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.ReLU()]
    convolutions += [nn.Conv2d(32, 64, 5, stride=2, padding=2), nn.ReLU()]
    dense = [nn.Flatten(), nn.Dropout(dropout), nn.Linear(3136, 1024), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*convolutions, *dense, nn.Linear(1024, CLASSES))


if __name__ == "__main__":
    print(in_pytorch(*part_arguments("default", 2)))
