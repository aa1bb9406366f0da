"""Scale: images per second with 60 thousand, 600 thousand and 6 million small images, under a limit of memory.

python -m benchmarks scale
"""

import json
import resource
import tempfile
import time
from pathlib import Path
from statistics import median

import keras
import numpy as np

from benchmarks.record import part_arguments, part_of, report, resident_bytes, shortest
from benchmarks.steps import epoch_seconds
from distillery.distillation.distiller import Distiller
from distillery.distillation.stored_logits import compact
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training
from distillery.learning.training import compile_model

COUNTS = (60_000, 600_000, 6_000_000)
SHAPE, CLASSES, BATCH = (28, 28, 1), 10, 512
CHUNK = 60_000
EPOCH_IMAGES = 6_000_000  # where there are fewer, more epochs are timed; two at least, after one that is not
MANY_CLASSES, MANY_IMAGES, MANY_EPOCHS = 1000, 60_000, 8
LIMIT = 3 * 10**9  # bytes of its own that a process may have; the system refuses more
STUDENT = "architectures/dense_128.py"


def main() -> dict:
    """Measure each count in a process of its own, on arrays on the disk, as `prepare` and `transfer` write them."""
    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        for count in COUNTS:
            report(f"{count:,} images")
            measured[str(count)] = part_of("scale", temporary, str(count))
            report(str(measured[str(count)]))
        report(f"{MANY_CLASSES:,} classes")
        measured["thousand_classes"] = part_of("scale", temporary, "classes")
        report(str(measured["thousand_classes"]))
    return measured


def generate(folder: Path, count: int) -> None:
    """Write images of noise, labels and teacher logits, chunk by chunk."""
    random = np.random.default_rng(0)
    for name, dtype, shape in (
        ("images", np.uint8, SHAPE),
        ("labels", np.int32, ()),
        ("logits", np.float32, (CLASSES,)),
    ):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape))
        for start in range(0, count, CHUNK):
            part = array[start : start + CHUNK]
            if name == "logits":
                part[:] = random.standard_normal(part.shape, dtype=np.float32)
            else:
                part[:] = random.integers(0, 256 if name == "images" else CLASSES, part.shape, dtype=dtype)
        array.flush()
        del array


def train(folder: Path, count: int) -> dict[str, float]:
    """Distil the showcase's small student for an epoch or several."""
    generate(folder, count)
    images, labels, logits = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels", "logits"))
    most = {"RssAnon": 0.0, "RssFile": 0.0}

    class Watched(Batches):
        def segments(self, epoch: int):
            for segment in super().segments(epoch):
                for name in most:
                    most[name] = max(most[name], resident_bytes(name))
                yield segment

    batches = Watched(Examples(images, labels, teacher={"logits": logits[np.newaxis]}), BATCH, seed=0)
    began = time.perf_counter()
    np.random.default_rng([0, 1]).permutation(count)
    shuffling = time.perf_counter() - began
    epochs = 1 + max(2, EPOCH_IMAGES // count)
    distiller, _ = _distiller(CLASSES, Training(epochs, BATCH, learning_rate=0.002), len(batches))
    few = Examples(images[:CHUNK], labels[:CHUNK], teacher={"logits": logits[np.newaxis, :CHUNK]})
    epoch_seconds(distiller, Batches(few, BATCH, seed=0), 1)
    seconds = epoch_seconds(distiller, batches, epochs)
    return {
        "images_per_second": count / median(seconds[1:]),
        "shuffle_seconds": shuffling,
        "own_gigabytes": most["RssAnon"] / 1e9,
        "mapped_gigabytes": most["RssFile"] / 1e9,
        "limit_gigabytes": LIMIT / 1e9,
        "data_gigabytes": (images.nbytes + logits.nbytes) / 1e9,
    }


def _distiller(classes: int, training: Training, steps: int) -> tuple[Distiller, keras.Model]:
    """Return a compiled distiller, and its student."""
    student = build_model(ModelSpec(STUDENT, SHAPE, classes), seed=0)
    distiller = Distiller(student, temperature=4.0, alpha=0.1)
    compile_model(distiller, training, steps, label_smoothing=None)
    return distiller, student


def thousand_classes() -> dict[str, float]:
    """Compare logits of a thousand classes in full and half precision: bytes, and what a student learns from each."""
    images, labels, logits = _many_classes()
    training = Training(MANY_EPOCHS, BATCH, learning_rate=0.003)
    predicted, found = {}, {}
    for name, stored in (("full", logits), ("half", compact(logits))):
        batches = Batches(Examples(images, labels, teacher={"logits": stored[np.newaxis]}), BATCH, seed=0)
        distiller, student = _distiller(MANY_CLASSES, training, len(batches))
        seconds = shortest(epoch_seconds(distiller, batches, MANY_EPOCHS))
        predicted[name] = predict_logits(student, images[:10_000]).argmax(axis=1)
        found |= {
            f"{name}_gigabytes": stored.nbytes / 1e9,
            f"{name}_images_per_second": MANY_IMAGES / seconds,
            f"{name}_accuracy": float(np.mean(predicted[name] == labels[:10_000])),
        }
    return found | {"agreement": float(np.mean(predicted["full"] == predicted["half"]))}


def _many_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, each its class's pattern under noise, labels, and logits that favour the label."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (MANY_CLASSES, *SHAPE))
    labels = random.integers(0, MANY_CLASSES, MANY_IMAGES).astype(np.int32)
    images = np.empty((MANY_IMAGES, *SHAPE), np.uint8)
    for start in range(0, MANY_IMAGES, CHUNK // 10):
        chosen = labels[start : start + CHUNK // 10]
        noise = random.integers(0, 256, (len(chosen), *SHAPE))
        images[start : start + CHUNK // 10] = (2 * patterns[chosen] + noise) // 3
    logits = random.standard_normal((MANY_IMAGES, MANY_CLASSES), dtype=np.float32)
    logits[np.arange(MANY_IMAGES), labels] += 6
    return images, labels, logits


if __name__ == "__main__":
    place, what = part_arguments("scale", 2)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    print(json.dumps(thousand_classes() if what == "classes" else train(Path(place), int(what))))
