"""The models that are compared, by role.

The teacher; the distilled students; the students trained from scratch, with a recipe of their own; and those that
learned from the labels with the recipe of the distilled ones, a control: they are counted, and no figure shows them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

ROLES = ("teacher", "distilled", "scratch")  # in figures and tables
GAINS = {"gain": "scratch", "gain_over_same_recipe": "same_recipe"}  # of distilled over whom


@dataclass(frozen=True)
class RoleOutputs:
    """What the models of one role give on the test images, and what they cost.

    Attributes:
        logits: float, (models, n, classes): one student per seed; the teacher is one model.
        chosen: position of the model that was chosen on validation images.
        parameters: of one model.
        bytes: size of the chosen model's file.
        multiply_adds: of one image. What is not known of a teacher is None: of a model that ONNX does not have the
            multiply-adds, of a table of outputs all three.
        curves: columns with one value per epoch, means over the models; of the control none.
    """

    logits: np.ndarray
    chosen: int
    parameters: int | None
    bytes: int | None
    multiply_adds: int | None
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes, int, (models, n)."""
        return self.logits.argmax(axis=2)

    @property
    def chosen_logits(self) -> np.ndarray:
        """The logits of the chosen model, (n, classes)."""
        return self.logits[self.chosen]
