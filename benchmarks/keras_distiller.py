"""Distilling here against Keras's own Distiller and the one of its guide: the guide's networks, MNIST, batches of 64.

python -m benchmarks keras_distiller
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import mlflow
import numpy as np
from keras import ops
from ruamel.yaml import YAML

from benchmarks.record import part_arguments, report
from distillery.data.prepared import load_split
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.prediction import predict_logits
from distillery.learning.saving import load_model
from experiments.run import clone, environment, stage_times
from pipeline.presets import write_preset

PREPARED = Path("data/prepared")
EPOCHS, GUIDE_EPOCHS = 10, 2
GUIDE_PART = 4  # the guide's way is so slow that a quarter of the images must do; its seconds are times four
TEMPERATURE, ALPHA, BATCH = 10.0, 0.1, 64
SEED = 0
STAGES = {"distill": ("distill", "distilled"), "scratch": ("train_scratch", "scratch")}  # stage, folder of students


def main() -> dict:
    """Measure all in a clone in which the same teacher was trained for an epoch; the machine does nothing else."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        (folder / ".dvc/config.local").unlink()  # everything runs, nothing comes from this repository's cache
        _settings(folder / "params.yaml")
        report("the teacher, one epoch, and its logits")
        with subprocess.Popen(
            ["dvc", "repro", "transfer"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            seconds, _ = stage_times(process.stdout)
        measured = {"transfer_seconds": seconds["transfer"]}
        for name, (stage, students) in STAGES.items():
            measured[name] = {"process_seconds": _run(folder, "pipeline", stage)[0]}
            _run(folder, "pipeline.tracking.sync")
            student = _run(folder, "benchmarks.keras_distiller", f"models/{students}/seed_{SEED}.keras")[1]
            measured[name] |= {"epoch_seconds": _recorded_seconds(folder, stage), "test_accuracy": float(student)}
            report(f"{name}: {measured[name]}")
        for name in ("keras", "keras_guide"):
            seconds, answer = _run(folder, "benchmarks.keras_distiller", name)
            *epochs, accuracy = map(float, answer.split("seconds and accuracy:")[1].split())
            measured[name] = {"process_seconds": seconds, "epoch_seconds": epochs, "test_accuracy": accuracy}
            report(f"{name}: {measured[name]}")
    return measured


def _run(folder: Path, *words: str) -> tuple[float, str]:
    """Return the seconds of a Python module's process in a clone, and what it prints."""
    began = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - began, finished.stdout


def _settings(path: Path) -> None:
    """Write the guide's preset, with one student, ten epochs for it and one for the teacher."""
    write_preset("keras_guide", path)
    yaml = YAML()
    tree = yaml.load(path)
    tree["train_teacher"]["epochs"] = 1
    tree["student"] |= {"epochs": EPOCHS, "seeds": [SEED]}
    yaml.dump(tree, path)


def _recorded_seconds(folder: Path, stage: str) -> list[float]:
    """Return the seconds from one epoch's end to the next, validation and checkpoint included, as MLflow has them."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("distillery").experiment_id
    run = client.search_runs([experiment], f"tags.`distillery.stage` = '{stage}'")[0]
    ended = [point.timestamp / 1000 for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
    return np.diff(sorted(ended)).tolist()


def distil_as_keras(guide: bool) -> tuple[list[float], float]:
    """Return the seconds of each epoch and the accuracy on the test images.

    Args:
        guide: as the Keras guide writes it by hand, with its default compilation; else `keras.distillation.Distiller`,
            with the faster compilation of the two, and with a divergence that is one.
    """
    train, test = load_split(PREPARED, "train"), load_split(PREPARED, "test")
    teacher = load_model("models/teacher/teacher.keras")
    student = build_model(ModelSpec("architectures/cnn_16_32.py", train.images.shape[1:], 10), seed=SEED)
    divergence = keras.losses.KLDivergence()
    labelled = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if guide:
        distiller = _guides_distiller(student, teacher)
        distiller.compile(
            optimizer=keras.optimizers.Adam(),
            metrics=[keras.metrics.SparseCategoricalAccuracy()],
            student_loss_fn=labelled,
            distillation_loss_fn=divergence,
            alpha=ALPHA,
            temperature=TEMPERATURE,
        )
    else:
        distiller = keras.distillation.Distiller(
            teacher,
            student,
            keras.distillation.LogitsDistillation(temperature=TEMPERATURE, loss=divergence),
            student_loss_weight=ALPHA,
        )
        distiller.compile(optimizer=keras.optimizers.Adam(), loss=labelled, metrics=["accuracy"], jit_compile=False)
    count = len(train.labels) // (GUIDE_PART if guide else 1)
    images, labels = np.array(train.images[:count]), np.array(train.labels[:count])
    clock = _Clock()
    epochs = GUIDE_EPOCHS if guide else EPOCHS
    distiller.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock])
    seconds = [value * (GUIDE_PART if guide else 1) for value in clock.seconds]
    predicted = student.predict(np.array(test.images), batch_size=1000, verbose=0).argmax(axis=1)
    return seconds, float(np.mean(predicted == test.labels))


class _Clock(keras.callbacks.Callback):
    """Takes the seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._began)


def _guides_distiller(student, teacher):
    """Return https://keras.io/examples/vision/knowledge_distillation/: a teacher's pass in every step."""

    class Distiller(keras.Model):
        def __init__(self):
            super().__init__()
            self.teacher, self.student = teacher, student

        def compile(self, optimizer, metrics, student_loss_fn, distillation_loss_fn, alpha, temperature):
            super().compile(optimizer=optimizer, metrics=metrics)
            self.student_loss_fn, self.distillation_loss_fn = student_loss_fn, distillation_loss_fn
            self.alpha, self.temperature = alpha, temperature

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False, training=True):
            soft_targets = ops.softmax(self.teacher(x, training=False) / self.temperature, axis=1)
            soft_predictions = ops.softmax(y_pred / self.temperature, axis=1)
            soft = self.distillation_loss_fn(soft_targets, soft_predictions) * self.temperature**2
            return self.alpha * self.student_loss_fn(y, y_pred) + (1 - self.alpha) * soft

        def call(self, x):
            return self.student(x)

    teacher.trainable = False
    return Distiller()


if __name__ == "__main__":
    (what,) = part_arguments("keras_distiller", 1)
    if what.startswith("keras"):
        epochs, accuracy = distil_as_keras(guide=what == "keras_guide")
        print("seconds and accuracy:", *epochs, accuracy)
    else:
        test = load_split(PREPARED, "test")
        print(np.mean(predict_logits(load_model(what), test.images).argmax(axis=1) == test.labels))
