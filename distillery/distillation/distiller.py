"""The distiller: a student that learns from labels and from a teacher's outputs."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from distillery.distillation.methods import IMAGE, LOGITS, Method, load_method
from distillery.distillation.stored_logits import MEMBER_TOP_CLASSES, TOP_CLASSES
from distillery.learning.inner_outputs import with_inner_outputs
from distillery.learning.losses import hard_loss, image_weights
from distillery.teachers.outputs import MEMBER_LOGITS


class Distiller(keras.Model):
    """Trains `student` on alpha · hard loss + (1 − alpha) · soft loss; the two stand apart in the logs.

    The targets are labels alone, `fit(images, labels)`, when a live `teacher` is given: it then runs on every batch.
    Without a live teacher they are named, `fit(images, {"labels": …, "logits": …})`, with outputs of the teacher that
    were computed once. Both give the same losses on the same batch. Of images that are mixed the labels are the parts
    of each class, (batch, classes), and none of an image without a label; the soft loss is given the class with the
    largest part. With `top_classes` among the targets, the logits are those that `largest_logits` gives, and a method
    gets one of every class. With `member_logits` among the targets, (batch, members, classes), the soft loss is the
    mean of the losses to each member of an ensemble.

    Args:
        student: model from images to logits, (batch, classes).
        temperature: T > 0 of the soft loss.
        alpha: weight of the hard loss, 0 to 1.
        teacher: model from the same images to logits, or to a dictionary of named outputs; it is not trained. Leave it
            out where its outputs are among the targets.
        soft_loss: called with the labels, the teacher's and the student's outputs, both by name, and T: the loss of a
            file in `methods/`, of which this is also the name; `kd` is Hinton's. It gives a scalar, or one value an
            image, (batch,). A `Method` also says which outputs it reads, also of their inside:
            `with_inner_outputs`.
        t_squared: multiply the soft loss by T², which keeps the size of its gradients when T changes, so that alpha
            means the same at every temperature (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2). For `dist`,
            whose gradients do not shrink with T², it is a weight and no more. Methods that read no logits go without.
        class_weights: float32, (classes,): how much an image of each class counts, in the hard loss and in a soft loss
            of one value an image; those without a label count 1. None where all count alike.

    Raises:
        ValueError: when temperature or alpha are out of their range, or a method with weights does not know the shapes.
        InputError: when there is no method of this name, or the student has no inner outputs for it.

    Example:
        >>> distiller = Distiller(student, temperature=4.0, alpha=0.1)
        >>> distiller.compile(optimizer="adam", metrics=["accuracy"])
        >>> distiller.fit(images, {"labels": labels, "logits": teacher_logits}, epochs=10)
        >>> student.predict(images)
    """

    def __init__(
        self,
        student: keras.Model,
        temperature: float,
        alpha: float,
        teacher: keras.Model | None = None,
        *,
        soft_loss: Callable | str = "kd",
        t_squared: bool = True,
        class_weights: np.ndarray | None = None,
    ):
        super().__init__(name="distiller")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, found {temperature}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, found {alpha}")
        self.student = student
        self.temperature = temperature
        self.alpha = alpha
        method = load_method(soft_loss) if isinstance(soft_loss, str) else soft_loss
        if not isinstance(method, Method):
            method = Method("soft_loss", method)
        self._soft_scale = temperature**2 if t_squared and LOGITS in method.outputs else 1.0
        self._class_weights = class_weights
        inner = method.inner
        if inner and isinstance(teacher, keras.Model) and not isinstance(teacher.output, dict):
            teacher = with_inner_outputs(teacher, inner, "the teacher")
        of_student = with_inner_outputs(student, inner, student.name) if inner else student
        # Closures, because Keras would count the weights of a model that is an attribute, and train the teacher's.
        self._teach = None if teacher is None else lambda images: teacher(images, training=False)
        self._learn = lambda images, training: of_student(images, training=training)
        if method.has_weights:
            own = {name: tuple(output.shape[1:]) for name, output in _named(of_student.output).items()}
            layer = self.loss_layer = method.with_weights(own)
            # Keras takes what is no tensor by its name alone.
            method = replace(method, loss=lambda *outputs: layer(*outputs[:3], temperature=outputs[3]))
        self._soft_loss = mean_over_members(method) if LOGITS in method.outputs else method
        self.hard_loss_tracker = keras.metrics.Mean(name="hard_loss")
        self.soft_loss_tracker = keras.metrics.Mean(name="soft_loss")

    def call(self, images, training=False):
        return self._learn(images, training)

    def predict_on_batch(self, x):
        """Return the student's logits, float32, (batch, classes)."""
        return self.student.predict_on_batch(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        student = _named(y_pred)
        labels, teacher = self._targets(x, y, student[LOGITS].shape[-1])
        hard = hard_loss(labels, student[LOGITS], class_weights=self._class_weights)
        main = main_labels(labels, teacher) if len(labels.shape) > 1 else labels
        soft = self._soft_loss(main, teacher, student, self.temperature)
        if len(soft.shape) and self._class_weights is not None:
            soft = image_weights(labels, self._class_weights) * soft
        soft = self._soft_scale * ops.mean(soft)
        batch = ops.shape(labels)[0]
        self.hard_loss_tracker.update_state(hard, sample_weight=batch)
        self.soft_loss_tracker.update_state(soft, sample_weight=batch)
        return self.alpha * hard + (1 - self.alpha) * soft

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logits = _named(y_pred)[LOGITS]
        labels = _one_axis(y["labels"] if isinstance(y, dict) else y, logits.shape[-1])
        if isinstance(y, dict) and len(labels.shape) > 1:
            labels = main_labels(*self._targets(x, y, logits.shape[-1]))
        return super().compute_metrics(x, labels, logits, sample_weight)

    def _targets(self, images, y, classes: int):
        """Return the labels, and the teacher's outputs by name, the logits of all classes among them."""
        if isinstance(y, dict):
            teacher = {name: y[name] for name in y if name != "labels"}
            teacher |= {name: ops.cast(teacher[name], "float32") for name in teacher if name != IMAGE}
            if TOP_CLASSES in teacher:
                teacher["logits"] = every_logit(teacher.pop(TOP_CLASSES), teacher["logits"], classes)
            return _one_axis(y["labels"], classes), teacher
        if self._teach is None:
            raise ValueError("the targets hold no teacher outputs, and the distiller has no live teacher")
        outputs = _named(self._teach(images))
        return _one_axis(y, classes), {name: ops.stop_gradient(output) for name, output in outputs.items()}


def _named(outputs) -> Mapping:
    return outputs if isinstance(outputs, dict) else {LOGITS: outputs}


def _one_axis(labels, classes: int):
    """Return labels of shape (batch, 1), as Keras's data sets have them, as (batch,); others as they are."""
    return ops.squeeze(labels, -1) if len(labels.shape) == 2 and labels.shape[-1] == 1 != classes else labels


def main_labels(labels, teacher):
    """Return one class of each image, int, (batch,): that of the largest part or, without a label, the teacher's.

    Args:
        labels: float, (batch, classes), each class's part.
        teacher: its outputs by name; `logits`: float, (batch, classes).
    """
    known = ops.sum(labels, axis=-1) > 0
    return ops.where(known, ops.argmax(labels, axis=-1), ops.argmax(teacher["logits"], axis=-1))


def every_logit(top_classes, logits, classes: int):
    """Return the logit of every class, float, (batch, classes), where the largest alone are stored.

    Args:
        top_classes: float or int, (batch, kept), the classes that are kept, of each image different ones.
        logits: float, (batch, kept + 1), theirs, and last that of each other class, as `largest_logits` gives them.
        classes: how many there are.
    """
    kept = ops.cast(top_classes, "int32")
    images = ops.broadcast_to(ops.expand_dims(ops.arange(ops.shape(kept)[0]), -1), ops.shape(kept))
    places = ops.reshape(ops.stack([images, kept], axis=-1), (-1, 2))
    others = ops.repeat(logits[:, -1:], classes, axis=1)
    return ops.scatter_update(others, places, ops.reshape(logits[:, :-1], (-1,)))


def mean_over_members(soft_loss: Callable) -> Callable:
    """Return a soft loss that is the mean of the losses to each member of an ensemble, where there are members.

    Args:
        soft_loss: a method's, (labels, teacher, student, temperature) → a scalar, or one value an image.
    """

    def loss(labels, teacher, student, temperature):
        if MEMBER_LOGITS not in teacher:
            return soft_loss(labels, teacher, student, temperature)
        shared = {name: output for name, output in teacher.items() if name not in (MEMBER_LOGITS, MEMBER_TOP_CLASSES)}
        losses = []
        for number in range(teacher[MEMBER_LOGITS].shape[1]):
            logits = teacher[MEMBER_LOGITS][:, number]
            if MEMBER_TOP_CLASSES in teacher:
                logits = every_logit(teacher[MEMBER_TOP_CLASSES][:, number], logits, student["logits"].shape[-1])
            losses.append(soft_loss(labels, shared | {"logits": logits}, student, temperature))
        return ops.mean(ops.stack(losses), axis=0)

    return loss
