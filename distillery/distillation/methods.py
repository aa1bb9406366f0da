"""Methods of distillation: the soft loss in a file of the catalogue `methods/`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from keras import ops

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError
from distillery.distillation.stored_logits import MEMBER_TOP_CLASSES, TOP_CLASSES
from distillery.learning.prediction import inner_kind
from distillery.teachers.outputs import MEMBER_LOGITS

CATALOGUE = Path(__file__).resolve().parents[2] / "methods"
LOGITS, IMAGE = "logits", "image"
NOT_GIVEN = (TOP_CLASSES, MEMBER_LOGITS, MEMBER_TOP_CLASSES)  # the distiller makes logits of them
SMALL = 1e-14  # beside a variance; its square root beside a deviation

Shapes = Mapping[str, tuple[int, ...]]  # of one image's outputs, by name


@dataclass(frozen=True)
class Method:
    """A soft loss, and what it is computed from.

    Attributes:
        name: of its file.
        loss: (labels, teacher, student, temperature) → a scalar, or one value an image; or a class of such losses that
            have weights of their own, a `keras.layers.Layer`.
        outputs: names of the outputs of teacher and student that it reads.
        standardize: whether logits are shifted and scaled before, the teacher's and the student's alike, as
            `standardized` does.
        shapes: of the teacher's outputs of one image, by name, and
        images: number of training images, where both are known.
    """

    name: str
    loss: Callable
    outputs: tuple[str, ...] = (LOGITS,)
    standardize: bool = False
    shapes: Shapes | None = None
    images: int | None = None

    def __call__(self, labels, teacher, student, temperature):
        """Return the loss."""
        if self.standardize:
            teacher, student = ({**outputs, LOGITS: standardized(outputs[LOGITS])} for outputs in (teacher, student))
        return self.loss(labels, teacher, student, temperature)

    def read(self, stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the stored outputs, but those of the inside that it does not read, and the images' own numbers.

        Args:
            stored: by name, each (views, n, ...).

        Raises:
            InputError: when one is not stored.
        """
        found = {output: values for output, values in stored.items() if inner_kind(output) in (None, *self.outputs)}
        if IMAGE in self.outputs:
            found[IMAGE] = np.broadcast_to(np.arange(stored[LOGITS].shape[1], dtype=np.int32), stored[LOGITS].shape[:2])
        there = {*found, *map(inner_kind, found)}
        if missing := [output for output in self.outputs if output not in there]:
            raise InputError(
                f"distill.method: {self.name} reads {missing[0]!r}; data/transfer holds {', '.join(stored)} alone"
            )
        return found

    def over(self, stored: Mapping[str, np.ndarray]) -> Method:
        """Return the same method, which knows the shapes of the teacher's outputs.

        Args:
            stored: what `read` gives.
        """
        shapes = {name: output.shape[2:] for name, output in stored.items()}
        return replace(self, shapes=shapes, images=stored[LOGITS].shape[1])

    @property
    def inner(self) -> list[str]:
        """Those of the outputs that teacher and student give of their inside."""
        return [output for output in self.outputs if inner_kind(output)]

    @property
    def has_weights(self) -> bool:
        """Whether it learns something itself."""
        return inspect.isclass(self.loss.func if isinstance(self.loss, partial) else self.loss)

    def with_weights(self, student: Shapes) -> Callable:
        """Return the loss with fresh weights, a `keras.layers.Layer`. It is told what it will be given.

        Args:
            student: the shapes of its outputs; its logits are of as many classes as the teacher's.

        Raises:
            ValueError: when the shapes of the teacher's are not known.
        """
        if self.shapes is None or self.images is None:
            raise ValueError(f"{self.name} has weights of its own: see `Method.over`")
        teacher = {name: shape for name, shape in self.shapes.items() if name not in NOT_GIVEN}
        if LOGITS in teacher:
            teacher[LOGITS] = student[LOGITS]
        return self.loss(teacher, student, self.images)


def load_method(name: str, **parameters: float) -> Method:
    """Return a method.

    Args:
        name: of a file in `methods/`, without its ending.
        parameters: the method's own; its defaults for those that are left out.

    Raises:
        InputError: when there is no such file, or it defines neither `loss` nor `Loss`.
    """
    module = load_module(CATALOGUE / f"{name}.py", "loss", "Loss")
    loss = getattr(module, "loss", None) or module.Loss
    loss = partial(loss, **parameters) if parameters else loss
    return Method(name, loss, tuple(getattr(module, "OUTPUTS", (LOGITS,))))


def standardized(logits):
    """Return logits of mean 0 and deviation 1, image by image: z = (x − mean) / deviation.

    Logit standardisation, Sun et al. 2024 (arXiv 2403.01427): the student learns the relations of the teacher's logits
    and not their size. The authors' code divides by the deviation of a sample, which is larger by √(classes /
    (classes − 1)), as a temperature would be. A row of equal logits becomes zeros.

    Args:
        logits: float, (batch, classes).
    """
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + SMALL)
