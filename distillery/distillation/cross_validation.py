"""Cross-validation of a student on its training images: how well does it imitate the teacher on what it did not see?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distillery.distillation.stored_logits import predicted_classes
from distillery.learning.checkpoint import Checkpoint
from distillery.learning.metrics import spread
from distillery.learning.models import ModelSpec
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training
from distillery.students.train import Distil, SeedTrainer
from distillery.students.training_set import TrainingSet


@dataclass(frozen=True)
class Fold:
    """A fold's score: how often the student agrees with the teacher, how often it is correct, and when it ended.

    The accuracy is None where no image of the fold has a label.
    """

    agreement: float
    accuracy: float | None
    ended: int


@dataclass(frozen=True)
class CrossValidation:
    """How a student is cross-validated.

    Attributes:
        folds: number of folds, drawn at random.
        seed: draws folds and weights.
        spec: what a student is built from.
        training: the budget.
        distil: wraps a student into the model that is fitted.
        class_weights: as `SeedTrainer` takes them.
    """

    folds: int
    seed: int
    spec: ModelSpec
    training: Training
    distil: Distil
    class_weights: np.ndarray | None = None

    def scores(self, data: TrainingSet, resume_folder: Path | None = None) -> Iterator[Fold]:
        """Train a fresh student for each fold, on the other folds, and score it on this one.

        The best epoch is chosen on the validation images as ever, never on the fold that is scored.

        Args:
            data: images and teacher outputs to learn from.
            resume_folder: where the checkpoints are; None for none.
        """
        from sklearn.model_selection import KFold  # takes a second, which students without folds need not wait

        examples = data.examples
        first_views = {name: output[0, examples.indices] for name, output in examples.teacher.items()}
        teacher_predictions = predicted_classes(first_views)
        splits = list(KFold(self.folds, shuffle=True, random_state=self.seed).split(examples.indices))
        trainer = SeedTrainer(
            self.spec,
            self.training,
            self.seed,
            max(len(rest) for rest, _ in splits),
            distil=self.distil,
            class_weights=self.class_weights,
        )
        for number, (rest, fold) in enumerate(splits, start=1):
            print(f"fold {number} of {self.folds}", flush=True)
            checkpoint = resume_folder and Checkpoint(resume_folder, f"fold_{number}")
            others = replace(examples, indices=examples.indices[rest])
            model, result = trainer.train(self.seed, others, data.validation, lambda _: None, checkpoint)
            held_out = examples.indices[fold]
            predictions = predict_logits(model, examples.as_they_are, held_out).argmax(axis=1)
            known = examples.labels[held_out] >= 0
            yield Fold(
                float(np.mean(predictions == teacher_predictions[fold])),
                float(np.mean((predictions == examples.labels[held_out])[known])) if known.any() else None,
                result.epochs[-1].ended,
            )


def fold_metrics(folds: list[Fold]) -> dict[str, float]:
    """Return the means over the folds, and the spread of the agreement."""
    agreements = [fold.agreement for fold in folds]
    return {
        "agreement_with_teacher": float(np.mean(agreements)),
        "agreement_with_teacher_std": spread(agreements),
        "accuracy": float(np.mean([fold.accuracy for fold in folds if fold.accuracy is not None])),
    }
