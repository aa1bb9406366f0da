"""What `train_teacher` records: every epoch as it ends, and the result, for MLflow and for DVC alike."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distillery.data.files import write_json
from distillery.data.tables import write_records
from distillery.learning.checkpoint import Epoch
from distillery.learning.metrics import negative_log_likelihood
from distillery.learning.training import Fitted
from pipeline.tracking.journal import Journal
from pipeline.tracking.training import confusion_of, numbered, record_result, record_series


class TeacherRecord:
    """The record of `train_teacher`.

    Args:
        run: the stage's journal.
        labels: the validation labels, int, (n,).
        about: what `dataset.json` says.
    """

    def __init__(self, run: Journal, labels: np.ndarray, about: Mapping):
        self._run, self._labels, self._about = run, labels, about

    def on_epoch(self, epoch: Epoch) -> None:
        self._run.metrics(epoch.metrics, step=epoch.number, time=epoch.ended)
        confusion = confusion_of(self._labels, epoch.predictions, self._about)
        record_series(self._run, epoch, confusion, self._about["classes"])

    def finish(self, fitted: Fitted, logits: np.ndarray, parameters: int, model: Path) -> None:
        """Write `metrics/train_teacher.json` and the curves, and attach the model.

        Args:
            fitted: how training went.
            logits: of the saved model on the validation images, (n, classes).
            parameters: the model's.
            model: its file.
        """
        confusion = confusion_of(self._labels, logits.argmax(axis=1), self._about)
        metrics = {
            "val_accuracy": float(np.trace(confusion) / confusion.sum()),
            "val_loss": negative_log_likelihood(self._labels, logits),
            "best_epoch": fitted.best_epoch,
        }
        write_json("metrics/train_teacher.json", metrics)
        write_records("plots/train_teacher/curves.csv", numbered([epoch.metrics for epoch in fitted.epochs]))
        self._run.metrics({"best": metrics, "parameters": parameters}, time=fitted.epochs[-1].ended)
        record_result(self._run, "teacher", confusion, self._about, "plots/train_teacher/curves.csv", model)
