"""Three seeds trained in one pass, as a stack of dense students, against one after the other as the pipeline does.

python -m benchmarks stacked
"""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.record import tell
from benchmarks.steps import CLASSES, epoch_seconds, generated, shortest

STUDENTS = {  # architecture: units of its hidden layers, batch size
    "dense_10_10": ((10, 10), 128),
    "dense_128": ((128,), 64),
    "dense_800_800": ((800, 800), 512),
}
PRECISIONS = ("float32", "mixed_bfloat16")
SHAPE, IMAGES, EPOCHS, SEEDS = (28, 28, 1), 25_600, 4, (0, 1, 2)


def main() -> dict:
    """Each in a process of its own, which measures both ways."""
    measured = {}
    for architecture in STUDENTS:
        for precision in PRECISIONS:
            child = [sys.executable, "-m", "benchmarks.stacked", architecture, precision]
            answer = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout
            measured[f"{architecture}.{precision}"] = {
                name: float(value) for name, value in (line.split() for line in answer.splitlines())
            }
            tell(f"{architecture} {precision}: {measured[f'{architecture}.{precision}']}")
    return {"seeds": len(SEEDS), "students": measured}


def both_ways(architecture: str, precision: str) -> dict[str, float]:
    """Seconds of an epoch of all seeds, and how far apart the students are after the last."""
    import distillery.learning  # noqa: F401, first, since it imports Keras without TensorFlow's announcements
    import keras  # isort: skip

    from distillery.learning.batches import Batches
    from distillery.learning.losses import hard_loss
    from distillery.learning.models import build_model
    from distillery.learning.prediction import predict_logits
    from distillery.learning.training import compile_model
    from pipeline.params import load_params

    units, batch_size = STUDENTS[architecture]
    noise, labels, _ = generated(SHAPE, IMAGES)
    patterns = np.random.default_rng(1).integers(0, 256, (CLASSES, *SHAPE))
    images = ((patterns[labels] + 3 * noise.astype(int)) // 4).astype(np.uint8)  # each its class's, under much noise
    changes = {"batch_size": batch_size, "epochs": EPOCHS, "learning_rate": 0.001}
    student = load_params().student.model_copy(update=changes)
    batches = [Batches(images, labels, batch_size, seed) for seed in SEEDS]

    class Stack:
        """The batches of all seeds side by side: images (m, seeds, …), labels (m, seeds)."""

        def __init__(self):
            self.batch_size = batch_size

        def __len__(self) -> int:
            return len(batches[0])

        def segments(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for parts in zip(*(one.segments(epoch) for one in batches), strict=True):
                yield tuple(np.stack(arrays, axis=1) for arrays in zip(*parts, strict=True))

    def stack_of(weights: list[list[np.ndarray]]) -> keras.Model:
        """One model of all students: every dense layer is a batched product of matrices."""
        keras.config.set_dtype_policy(precision)
        pixels = keras.Input((len(SEEDS), *SHAPE), dtype="uint8")
        features = keras.layers.Rescaling(1 / 255)(pixels)
        features = keras.layers.Reshape((len(SEEDS), -1))(features)
        for count in units:
            layer = keras.layers.EinsumDense("bsi,sio->bso", (len(SEEDS), count), activation="relu", bias_axes="so")
            features = layer(features)
        layer = keras.layers.EinsumDense("bsi,sio->bso", (len(SEEDS), CLASSES), bias_axes="so", dtype="float32")
        model = keras.Model(pixels, layer(features))
        model.set_weights([np.stack(arrays) for arrays in zip(*weights, strict=True)])
        return model

    def sum_of_losses(labels, logits):
        flat = keras.ops.reshape(labels, (-1,)), keras.ops.reshape(logits, (-1, CLASSES))
        return len(SEEDS) * hard_loss(*flat)

    first, single, answers = [], 0.0, []
    for seed, data in zip(SEEDS, batches, strict=True):
        model = build_model(architecture, SHAPE, CLASSES, dropout=0.0, seed=seed, precision=precision)
        first.append(model.get_weights())
        compile_model(model, student, len(data), 0.0)
        single += shortest(epoch_seconds(model, data, EPOCHS))
        answers.append(predict_logits(model, images))
    stack = stack_of(first)
    compile_model(stack, student, len(batches[0]), 0.0)
    stack.compile(
        stack.optimizer,
        loss=sum_of_losses,
        metrics=["accuracy"],
        jit_compile=stack.jit_compile,
        steps_per_execution=stack.steps_per_execution,
    )
    together = shortest(epoch_seconds(stack, Stack(), EPOCHS))
    shown = np.repeat(images[:, None], len(SEEDS), axis=1)
    stacked = np.swapaxes(predict_logits(stack, shown), 0, 1)
    return {
        "one_after_the_other": single,
        "stacked": together,
        "largest_difference": float(np.abs(stacked - np.stack(answers)).max()),
        "same_answers": float(np.mean(stacked.argmax(axis=2) == np.stack(answers).argmax(axis=2))),
    }


if __name__ == "__main__":
    for key, value in both_ways(*sys.argv[1:]).items():
        print(key, value)
