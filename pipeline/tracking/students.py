"""What the stages that train students record: every epoch as it ends, means over the seeds, and the result."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from distillery.data.files import write_json
from distillery.data.tables import write_records
from distillery.learning.checkpoint import Epoch
from distillery.learning.metrics import negative_log_likelihood, spread
from distillery.learning.training import Fitted
from distillery.students.train import TrainedStudent, save_choice
from pipeline.params import Student
from pipeline.tracking.journal import Journal
from pipeline.tracking.training import confusion_of, numbered, record_result, record_series


class StudentsRecord:
    """The record of a stage that trains one student a seed. Means over the seeds are logged as soon as they are known.

    Args:
        run: the stage's journal.
        stage: `distill` or `train_scratch`.
        labels: the validation labels, int, (n,).
        about: what `dataset.json` says.
        student: the students' budget.
    """

    def __init__(self, run: Journal, stage: str, labels: np.ndarray, about: Mapping, student: Student):
        self._run, self._stage, self._labels, self._about, self._student = run, stage, labels, about, student
        self._folds: list[tuple[float, float]] = []
        self._metrics: dict[int, list[Mapping[str, float]]] = defaultdict(list)
        self._confusions: dict[int, np.ndarray] = defaultdict(int)

    def on_epoch(self, seed: int, epoch: Epoch) -> None:
        number, so_far = epoch.number, self._metrics[epoch.number]
        named = {f"seed_{seed}/{name}": value for name, value in epoch.metrics.items()}
        self._run.metrics(named, step=number, time=epoch.ended)
        so_far.append(epoch.metrics)
        self._confusions[number] = self._confusions[number] + confusion_of(self._labels, epoch.predictions, self._about)
        if len(so_far) == len(self._student.seeds):
            self._run.metrics(_mean(so_far), step=number, time=epoch.ended)
            record_series(self._run, epoch, self._confusions[number], self._about["classes"])

    def on_fold(self, fitted: Fitted, agreement: float, accuracy: float) -> None:
        self._folds.append((agreement, accuracy))
        self._run.metrics(
            {"fold/agreement_with_teacher": agreement, "fold/accuracy": accuracy},
            step=len(self._folds),
            time=fitted.epochs[-1].ended,
        )

    def finish(self, students: Sequence[TrainedStudent], folder: Path, teacher_digest: str | None = None) -> None:
        """Choose the student to ship, write `metrics/<stage>.json` and the curves, and attach the chosen model.

        Args:
            students: one a seed.
            folder: where they are.
            teacher_digest: SHA-256 of the file of the teacher that they learned from.
        """
        confusions = [
            confusion_of(self._labels, student.validation_logits.argmax(axis=1), self._about) for student in students
        ]
        accuracies = [float(np.trace(confusion) / confusion.sum()) for confusion in confusions]
        losses = [negative_log_likelihood(self._labels, student.validation_logits) for student in students]
        chosen = save_choice(
            folder,
            {student.seed: value for student, value in zip(students, accuracies, strict=True)},
            self._student.omit_classes,
            teacher_digest,
        )
        metrics = {
            "val_accuracy": float(np.mean(accuracies)),
            "val_accuracy_std": spread(accuracies),
            "val_loss": float(np.mean(losses)),
        }
        if self._folds:
            agreements, accuracies = zip(*self._folds, strict=True)
            metrics["cross_validation"] = {
                "agreement_with_teacher": float(np.mean(agreements)),
                "agreement_with_teacher_std": spread(agreements),
                "accuracy": float(np.mean(accuracies)),
            }
        write_json(f"metrics/{self._stage}.json", metrics)
        curves = f"plots/{self._stage}/curves.csv"
        write_records(curves, numbered([_mean(self._metrics[epoch]) for epoch in sorted(self._metrics)]))
        self._run.metrics(
            {"best": metrics, "parameters": students[0].parameters, "chosen_seed": chosen},
            time=students[-1].fitted.epochs[-1].ended,
        )
        model = next(student.path for student in students if student.seed == chosen)
        record_result(self._run, "student", sum(confusions), self._about, curves, model)


def _mean(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([record[name] for record in records])) for name in records[0]}
