"""Training on the photographs of `benchmarks/photographs.py`: its rate, and the memory of an epoch of all."""

import json
from pathlib import Path

import keras
import numpy as np

from benchmarks.photographs import AUGMENTED, BATCH, CLASSES, EPOCHS, LEARNING_RATE, SIZE, WIDTH, some, watched
from benchmarks.record import part_arguments, shortest
from benchmarks.steps import epoch_seconds
from distillery.data.prepared import load_split
from distillery.distillation.distiller import Distiller
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.settings import Training
from distillery.learning.training import compile_model
from experiments.run import ROOT


def epoch(folder: Path) -> dict:
    """Return the rate and the memory of distilling for an epoch of all training images, from views of theirs."""
    with watched() as most:
        train = load_split(folder / "data/prepared", "train")
        count, random = len(train.labels), np.random.default_rng(0)
        logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float32, (2, count, CLASSES))
        logits[:] = random.normal(size=logits.shape)
        views = Views(Policy(horizontal_flip=True, **AUGMENTED), count, 2)
        examples = Examples(train.images, train.labels, views=views, teacher={"logits": logits})
        batches = Batches(examples, BATCH, seed=0)
        distiller = Distiller(student(), temperature=4.0, alpha=0.1)
        compile_model(distiller, Training(1, BATCH, learning_rate=LEARNING_RATE), len(batches), label_smoothing=None)
        (seconds,) = epoch_seconds(distiller, batches, 1)
    return {"images_per_second": count / seconds, "images": count, **most}


def rate(folder: Path) -> dict:
    """Return the rate of plain training with views drawn anew, as PyTorch's below draws them."""
    images, labels = some(folder)
    examples = Examples(images, labels, augmentation=Policy(horizontal_flip=True, **AUGMENTED))
    batches, model = Batches(examples, BATCH, seed=0), student()
    compile_model(model, Training(EPOCHS, BATCH, learning_rate=LEARNING_RATE), len(batches), label_smoothing=0.0)
    return {"images_per_second": len(labels) / shortest(epoch_seconds(model, batches, EPOCHS))}


def student() -> keras.Model:
    """Return the student that is trained."""
    spec = ModelSpec(ROOT / "architectures/mobilenet_v3_small.py", (SIZE, SIZE, 3), CLASSES, width=WIDTH)
    return build_model(spec, seed=0)


if __name__ == "__main__":
    what, place = part_arguments("photographs", 2)
    print(json.dumps({"epoch": epoch, "rate": rate}[what](Path(place))))
