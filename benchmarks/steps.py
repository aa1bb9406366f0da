"""Step rate of training: the students of `mnist` and `cifar10`, against plain PyTorch and the machine's own rate.

python -m benchmarks steps
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from benchmarks.record import part_arguments, report, shortest
from distillery.distillation.distiller import Distiller
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.settings import Training
from distillery.learning.training import compile_model, train_epoch

STUDENTS = {  # architecture: shape of its images, batch size of its preset, images per epoch
    "dense_800_800": ((28, 28, 1), 512, 54_000),
    "cnn_32_64_dense_128": ((32, 32, 3), 128, 12_800),
}
MULTIPLICATIONS = {  # of the forward pass for one image; training takes about three times as many
    "dense_800_800": 784 * 800 + 800 * 800 + 800 * 10,
    "cnn_32_64_dense_128": 32 * 32 * 27 * 32 + 16 * 16 * 9 * 32 * 64 + 4096 * 128 + 128 * 10,
}
PRECISIONS = ("float32", "mixed_bfloat16")
EPOCHS = 5
CLASSES = 10


def main() -> dict:
    """Return the images per second of each way, measured in a process of its own."""
    rates: dict[str, float] = {}
    peak: dict[str, float] = {}
    for precision in PRECISIONS:
        for architecture in STUDENTS:
            for how in ("distill", "scratch", "scratch_keras_adam", "pytorch"):
                rates[f"{architecture}.{precision}.{how}"] = _child(how, architecture, precision)
        peak[precision] = _child("multiply", "-", precision)
    return {"images_per_second": rates, "multiply_flops": peak, "multiplications": MULTIPLICATIONS}


def _child(how: str, architecture: str, precision: str) -> float:
    child = [sys.executable, "-m", "benchmarks.steps", how, architecture, precision]
    rate = float(subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1])
    report(f"{how} {architecture} {precision}: {rate:,.0f}")
    return rate


def generated(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random images, labels and teacher logits: the rate does not depend on what they show."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    return images, labels, random.normal(size=(1, count, CLASSES)).astype(np.float32)


def here(how: str, architecture: str, precision: str) -> float:
    """Return the images per second of the pipeline's own training."""
    shape, batch_size, count = STUDENTS[architecture]
    training = Training(EPOCHS, batch_size, learning_rate=0.002, precision=precision)
    images, labels, logits = generated(shape, count)
    spec = ModelSpec(f"architectures/{architecture}.py", shape, CLASSES)
    model = build_model(spec, seed=0, precision=precision)
    if how == "distill":
        batches = Batches(Examples(images, labels, teacher={"logits": logits}), batch_size, seed=0)
        model = Distiller(model, temperature=4.0, alpha=0.1)
        compile_model(model, training, len(batches), label_smoothing=None)
    else:
        batches = Batches(Examples(images, labels), batch_size, seed=0)
        compile_model(model, training, len(batches), label_smoothing=0.0)
    if how == "scratch_keras_adam":
        model.optimizer = keras.optimizers.Adam(training.learning_rate)
    return count / shortest(epoch_seconds(model, batches))


def epoch_seconds(model: keras.Model, batches: Batches, epochs: int = EPOCHS) -> list[float]:
    """Return the seconds of each epoch of the pipeline's own training."""
    seconds = []
    for number in range(1, epochs + 1):
        began = time.perf_counter()
        train_epoch(model, batches, number)
        seconds.append(time.perf_counter() - began)
    return seconds


def in_pytorch(architecture: str, precision: str) -> float:
    """Return the images per second of the same network in plain PyTorch: channels last, its own fused Adam."""
    import torch  # optional: only this benchmark needs it
    from torch import nn
    from torch.nn import functional

    shape, batch_size, count = STUDENTS[architecture]
    images, labels, _ = generated(shape, count)
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last in memory
    labels = torch.from_numpy(labels).long()
    if architecture == "dense_800_800":
        layers = [nn.Flatten(), nn.Linear(784, 800), nn.ReLU(), nn.Linear(800, 800), nn.ReLU(), nn.Linear(800, 10)]
    else:
        layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 10)]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16")

    def epoch() -> float:
        began = time.perf_counter()
        correct = torch.zeros((), dtype=torch.long)
        for chosen in torch.randperm(count).split(batch_size):
            batch = images[chosen].float().div_(255).contiguous(memory_format=torch.channels_last)
            with half:
                logits = model(batch)
            loss = functional.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            correct += (logits.argmax(1) == labels[chosen]).sum()  # the accuracy that `fit` computes, too
        return time.perf_counter() - began

    return count / shortest([epoch() for _ in range(EPOCHS)])


def multiply_rate(precision: str) -> float:
    """Return the FLOP/s of the faster library's product of two large matrices."""
    size = 2048

    def tensorflow() -> Callable[[], object]:
        matrix = tf.cast(tf.random.normal((size, size)), "bfloat16" if precision != "float32" else "float32")
        return lambda: tf.linalg.matmul(matrix, matrix)

    def pytorch() -> Callable[[], object]:
        import torch  # optional

        matrix = torch.randn(size, size).to(torch.bfloat16 if precision != "float32" else torch.float32)
        return lambda: matrix @ matrix

    def seconds(multiply: Callable[[], object]) -> Iterator[float]:
        for _ in range(20):
            began = time.perf_counter()
            multiply()
            yield time.perf_counter() - began

    return max(2 * size**3 / shortest(list(seconds(library()))) for library in (tensorflow, pytorch))


if __name__ == "__main__":
    how, architecture, precision = part_arguments("steps", 3)
    if how == "multiply":
        print(multiply_rate(precision))
    elif how == "pytorch":
        print(in_pytorch(architecture, precision))
    else:
        print(here(how, architecture, precision))
