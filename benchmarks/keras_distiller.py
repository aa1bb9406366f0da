"""Distilling here against Keras's own Distiller and the one of its guide: the guide's networks, MNIST, batches of 64.

python -m benchmarks keras_distiller
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from benchmarks.record import tell
from benchmarks.steps import epoch_seconds
from experiments.run import clone, environment, stage_times

EPOCHS, GUIDE_EPOCHS = 10, 2
GUIDE_PART = 4  # the guide's way is so slow that a quarter of the images must do; its seconds are times four
TEMPERATURE, ALPHA, BATCH = 10.0, 0.1, 64
SEED = 0


def main() -> dict:
    """Both, in a clone in which the same teacher was trained for an epoch; the machine does nothing else."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        (folder / ".dvc/config.local").unlink()  # everything runs, nothing comes from this repository's cache
        _settings(folder)
        tell("the teacher, one epoch, and its logits")
        with subprocess.Popen(
            ["dvc", "repro", "transfer"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            seconds, _ = stage_times(process.stdout)
        measured = {"transfer_seconds": seconds["transfer"]}
        for name, command in {
            "distill": ["python", "-m", "stages.distill"],
            "scratch": ["python", "-m", "stages.train_scratch"],
            "keras": [sys.executable, "-m", "benchmarks.keras_distiller", "keras"],
            "keras_guide": [sys.executable, "-m", "benchmarks.keras_distiller", "keras_guide"],
        }.items():
            tell(f"{name}: {' '.join(command[1:])}")
            began = time.perf_counter()
            answer = subprocess.run(
                command,
                cwd=folder,
                env=environment() | {"DVC_ROOT": str(folder)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            measured[name] = {"process_seconds": time.perf_counter() - began}
            if name.startswith("keras"):
                *epochs, accuracy = map(float, answer.stdout.split("seconds and accuracy:")[1].split())
                measured[name] |= {"epoch_seconds": epochs, "test_accuracy": accuracy}
            else:
                kind = "distilled" if name == "distill" else "scratch"
                measured[name] |= {
                    "epoch_seconds": _recorded_seconds(folder, name),
                    "test_accuracy": _test_accuracy(folder, kind),
                }
            tell(str(measured[name]))
    return measured


def _settings(folder: Path) -> None:
    """The guide's preset, with one student, ten epochs for it and one for the teacher."""
    shutil.copy(folder / "presets/keras_guide.yaml", folder / "params.yaml")
    yaml = YAML()
    tree = yaml.load(folder / "params.yaml")
    tree["train_teacher"]["epochs"] = 1
    tree["student"] |= {"epochs": EPOCHS, "seeds": [SEED]}
    yaml.dump(tree, folder / "params.yaml")


def _recorded_seconds(folder: Path, name: str) -> list[float]:
    """Seconds from one epoch's end to the next, validation and resume point included, as MLflow has them."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    stage = "distill" if name == "distill" else "train_scratch"
    experiment = client.get_experiment_by_name("distillery").experiment_id
    run = client.search_runs([experiment], f"tags.`distillery.stage` = '{stage}'")[0]
    ended = [point.timestamp / 1000 for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
    return np.diff(sorted(ended)).tolist()


def _test_accuracy(folder: Path, kind: str) -> float:
    """Of the saved student, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.keras_distiller", f"models/{kind}/seed_{SEED}.keras"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(answer.stdout.split()[-1])


def distil_as_keras(guide: bool) -> tuple[list[float], float]:
    """Seconds of each epoch and accuracy on the test images.

    Args:
        guide: as the Keras guide writes it by hand, with its default compilation; else `keras.distillation.Distiller`,
            with the faster compilation of the two, and with a divergence that is one.
    """
    import distillery.learning  # noqa: F401, first, since it imports Keras without TensorFlow's announcements
    import keras  # isort: skip

    from distillery.data.prepared import load_split
    from distillery.learning.models import build_model, load_model

    train, test = load_split("train"), load_split("test")
    teacher = load_model("models/teacher.keras")
    student = build_model("cnn_16_32", train.images.shape[1:], 10, dropout=0.0, seed=SEED)
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
    seconds = epoch_seconds(distiller, (images, labels), GUIDE_EPOCHS if guide else EPOCHS, batch_size=BATCH)
    seconds = [value * (GUIDE_PART if guide else 1) for value in seconds]
    predicted = student.predict(np.array(test.images), batch_size=1000, verbose=0).argmax(axis=1)
    return seconds, float(np.mean(predicted == test.labels))


def _guides_distiller(student, teacher):
    """https://keras.io/examples/vision/knowledge_distillation/: a teacher's pass in every step."""
    import keras
    from keras import ops

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
            soft_answers = ops.softmax(y_pred / self.temperature, axis=1)
            soft = self.distillation_loss_fn(soft_targets, soft_answers) * self.temperature**2
            return self.alpha * self.student_loss_fn(y, y_pred) + (1 - self.alpha) * soft

        def call(self, x):
            return self.student(x)

    teacher.trainable = False
    return Distiller()


if __name__ == "__main__":
    what = sys.argv[1]
    if what.startswith("keras"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        epochs, accuracy = distil_as_keras(guide=what == "keras_guide")
        print("seconds and accuracy:", *epochs, accuracy)
    else:
        from distillery.data.prepared import load_split
        from distillery.learning.models import load_model
        from distillery.learning.prediction import predict_logits

        test = load_split("test")
        print(np.mean(predict_logits(load_model(what), test.images).argmax(axis=1) == test.labels))
