"""Scale: images a second and memory where there are 60 thousand, 600 thousand and 6 million small images.

python -m benchmarks scale
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.record import tell

COUNTS = (60_000, 600_000, 6_000_000)
SHAPE, CLASSES, BATCH = (28, 28, 1), 10, 512
CHUNK = 60_000
EPOCH_IMAGES = 6_000_000  # where there are fewer, more epochs are timed; two at least, after one that is not
MANY_CLASSES, MANY_IMAGES, MANY_EPOCHS = 1000, 60_000, 8


def main() -> dict:
    """Each count in a process of its own; the arrays lie on the disk, as `prepare` and `transfer` write them."""
    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        for count in COUNTS:
            tell(f"{count:,} images")
            measured[str(count)] = _child(temporary, str(count))
            tell(str(measured[str(count)]))
        tell(f"{MANY_CLASSES:,} classes")
        measured["thousand_classes"] = _child(temporary, "classes")
        tell(str(measured["thousand_classes"]))
    return measured


def _child(folder: str, what: str) -> dict:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", folder, what], stdout=subprocess.PIPE, text=True, check=True
    )
    return {name: float(value) for name, value in (line.split() for line in answer.stdout.splitlines())}


def generate(folder: Path, count: int) -> None:
    """Write images, labels and teacher logits a chunk at a time; what the images show is noise."""
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
    import distillery.learning  # noqa: F401, first, since it imports Keras without TensorFlow's announcements
    from benchmarks.steps import epoch_seconds
    from distillery.distillation.distiller import Distiller
    from distillery.learning.batches import Batches
    from distillery.learning.mapped import mapped_bytes
    from distillery.learning.models import build_model
    from distillery.learning.training import compile_model
    from pipeline.params import load_params

    images, labels, logits = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels", "logits"))
    student = load_params().student.model_copy(update={"batch_size": BATCH})
    model = Distiller(build_model("dense_128", SHAPE, CLASSES, dropout=0.0, seed=0), temperature=4.0, alpha=0.1)
    held = {"own": 0.0, "mapped": 0.0}

    class Watched(Batches):
        def segments(self, epoch: int):
            for segment in super().segments(epoch):
                held["own"], held["mapped"] = max(held["own"], _own_bytes()), max(held["mapped"], mapped_bytes())
                yield segment

    batches = Watched(images, labels, BATCH, 0, teacher_logits=logits[np.newaxis])
    began = time.perf_counter()
    np.random.default_rng([0, 1]).permutation(count)
    shuffling = time.perf_counter() - began
    compile_model(model, student, len(batches), None)
    epoch_seconds(model, Batches(images[:CHUNK], labels[:CHUNK], BATCH, 0, teacher_logits=logits[None, :CHUNK]), 1)
    seconds = epoch_seconds(model, batches, 1 + max(2, EPOCH_IMAGES // count))
    return {
        "images_per_second": count / median(seconds[1:]),
        "shuffle_seconds": shuffling,
        "own_gigabytes": held["own"] / 1e9,
        "mapped_gigabytes": held["mapped"] / 1e9,
        "data_gigabytes": (images.nbytes + logits.nbytes) / 1e9,
    }


def _own_bytes() -> float:
    """Memory that is this process's alone, and no file's (proc(5), RssAnon)."""
    return 1024.0 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])


def thousand_classes() -> dict[str, float]:
    """Logits of a thousand classes in full and in half precision: bytes, and what a student learns from each."""
    import distillery.learning  # noqa: F401, first, since it imports Keras without TensorFlow's announcements
    from benchmarks.steps import epoch_seconds, shortest
    from distillery.distillation.distiller import Distiller
    from distillery.distillation.transfer_set import compact
    from distillery.learning.batches import Batches
    from distillery.learning.models import build_model
    from distillery.learning.prediction import predict_logits
    from distillery.learning.training import compile_model
    from pipeline.params import load_params

    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (MANY_CLASSES, *SHAPE))
    labels = random.integers(0, MANY_CLASSES, MANY_IMAGES).astype(np.int32)
    images = np.empty((MANY_IMAGES, *SHAPE), np.uint8)
    for start in range(0, MANY_IMAGES, CHUNK // 10):  # each image is its class's pattern under noise
        chosen = labels[start : start + CHUNK // 10]
        noise = random.integers(0, 256, (len(chosen), *SHAPE))
        images[start : start + CHUNK // 10] = (2 * patterns[chosen] + noise) // 3
    logits = random.standard_normal((MANY_IMAGES, MANY_CLASSES), dtype=np.float32)
    logits[np.arange(MANY_IMAGES), labels] += 6
    student = load_params().student.model_copy(
        update={"batch_size": BATCH, "epochs": MANY_EPOCHS, "learning_rate": 0.003}
    )
    answers, found = {}, {}
    for name, stored in (("full", logits), ("half", compact(logits))):
        batches = Batches(images, labels, BATCH, 0, teacher_logits=stored[np.newaxis])
        model = build_model("dense_128", SHAPE, MANY_CLASSES, dropout=0.0, seed=0)
        distiller = Distiller(model, temperature=4.0, alpha=0.1)
        compile_model(distiller, student, len(batches), None)
        seconds = shortest(epoch_seconds(distiller, batches, MANY_EPOCHS))
        answers[name] = predict_logits(model, images[:10_000]).argmax(axis=1)
        found |= {
            f"{name}_gigabytes": stored.nbytes / 1e9,
            f"{name}_images_per_second": MANY_IMAGES / seconds,
            f"{name}_accuracy": float(np.mean(answers[name] == labels[:10_000])),
        }
    return found | {"agreement": float(np.mean(answers["full"] == answers["half"]))}


if __name__ == "__main__":
    place, what = Path(sys.argv[1]), sys.argv[2]
    for key, value in (thousand_classes() if what == "classes" else train(place, int(what))).items():
        print(key, value)
