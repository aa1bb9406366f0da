"""Training: compile, fit, validate after every epoch, keep the best, go on where it was stopped."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.learning.batches import Batches
from distillery.learning.checkpoint import Epoch, ResumePoint, State
from distillery.learning.losses import hard_loss
from distillery.learning.models import on_several_cpus, xla
from distillery.learning.optimizer import FusedAdam
from distillery.learning.prediction import predict_logits
from pipeline.params import Training

WARM_UP = 0.1  # part of the steps in which the cosine schedule rises

OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Fitted:
    """What training gave.

    Attributes:
        epochs: all of them, in order.
        best_epoch: the number of the one whose weights the model has now.
    """

    epochs: list[Epoch]
    best_epoch: int


def compile_model(model: keras.Model, training: Training, steps_per_epoch: int, label_smoothing: float | None) -> None:
    """Adam with decoupled weight decay (AdamW), on the schedule that `training` names.

    Args:
        model: a classifier, or a `Distiller`, which brings its own loss.
        training: learning rate, schedule, weight decay, epochs, and how to compile.
        steps_per_epoch: batches an epoch.
        label_smoothing: of the hard loss; None for a `Distiller`.
    """
    model.compile(
        # With a weight decay, Adam is AdamW; AdamW with a weight decay of 0 still walks over all weights.
        optimizer=FusedAdam(
            _learning_rate(training, steps_per_epoch * training.epochs), weight_decay=training.weight_decay or None
        ),
        loss=None if label_smoothing is None else partial(hard_loss, label_smoothing=label_smoothing),
        metrics=["accuracy"],
        jit_compile=xla() if training.compilation == "auto" else training.compilation == "xla",
        steps_per_execution=min(training.steps_per_execution, steps_per_epoch),
    )


def _learning_rate(training: Training, steps: int):
    if training.schedule == "constant":
        return training.learning_rate
    warm_up = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warm_up),
        warmup_target=training.learning_rate,
        warmup_steps=warm_up,
    )


def fit(
    model: keras.Model,
    batches: Batches,
    validation_images: np.ndarray,
    validation_labels: np.ndarray,
    epochs: int,
    on_epoch: OnEpoch,
    resume_point: ResumePoint | None = None,
) -> Fitted:
    """Train a compiled model; it ends with the weights of the epoch that was most accurate on validation.

    Args:
        model: compiled, from images to logits.
        batches: the training images.
        validation_images: uint8, (n, height, width, channels).
        validation_labels: int, (n,).
        epochs: passes over the training images.
        on_epoch: called after each epoch, and again with those that an earlier process finished.
        resume_point: what is written after each epoch; where it holds epochs already, training goes on after them.

    Raises:
        InputError: when the loss is no longer finite.
    """
    model.optimizer.build(model.trainable_variables)
    progress = _Progress(model, validation_images, validation_labels, on_epoch, resume_point)
    for number in range(progress.resume() + 1, epochs + 1):
        print(f"Epoch {number}/{epochs}", flush=True)
        progress.ended(number, train_epoch(model, batches, number))
    model.set_weights(progress.best)
    return Fitted(progress.epochs, progress.best_epoch)


def train_epoch(model: keras.Model, batches: Batches, number: int) -> dict[str, float]:
    """The epoch of this number, from 1: the means of what the model logs over the images."""
    callbacks = []
    if sys.stdout.isatty():
        callbacks.append(_Bar(len(batches)))
    if on_several_cpus():
        callbacks.append(_OneStepAtATime())
    sums: dict[str, float] = defaultdict(float)
    seen = 0
    for images, targets in batches.segments(number):
        fed = _fed(images, targets, batches.batch_size)
        history = model.fit(**fed, shuffle=False, verbose=0, callbacks=callbacks).history
        for name, (value,) in history.items():
            sums[name] += len(images) * value
        seen += len(images)
    return {name: value / seen for name, value in sums.items()}


def _fed(images: np.ndarray, targets, batch_size: int) -> dict:
    """Arguments of `fit` that make it cut batches, in order, from arrays.

    Under TensorFlow, Keras would let tf.data tune itself, and the end of an epoch then waits for that to stop, up to a
    second; so it is given the same pipeline without.
    """
    if keras.backend.backend() != "tensorflow":
        return {"x": images, "y": targets, "batch_size": batch_size}
    from tensorflow import data, nest

    options = data.Options()
    options.autotune.enabled = False
    starts = data.Dataset.range(0, len(images), batch_size)
    arrays = data.Dataset.from_tensors((images, targets)).repeat()

    def cut(start, whole):
        return nest.map_structure(lambda array: array[start : start + batch_size], whole)

    return {"x": data.Dataset.zip((starts, arrays)).map(cut).prefetch(2).with_options(options)}


class _OneStepAtATime(keras.callbacks.Callback):
    """Has Keras wait for each step: with several under way, XLA's sums over the devices of a CPU wait forever.

    Without a callback for batches, Keras reads their metrics in another thread and goes on with the next step.
    """

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        pass


class _Bar(keras.callbacks.Callback):
    """A bar on the terminal that goes on over an epoch's segments."""

    def __init__(self, steps: int):
        super().__init__()
        self._bar, self._before, self._last = keras.utils.Progbar(steps), 0, 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._last = batch + 1
        self._bar.stateful_metrics = set(logs)  # they are means already
        self._bar.update(self._before + self._last, logs.items())

    def on_train_end(self, logs: dict | None = None) -> None:
        self._before += self._last


class _Progress:
    """After each epoch: validates, keeps the best weights, writes the resume point, tells `on_epoch`, in this order.

    One forward pass over the validation images gives loss, accuracy and predictions.
    """

    def __init__(
        self,
        model: keras.Model,
        images: np.ndarray,
        labels: np.ndarray,
        on_epoch: OnEpoch,
        resume_point: ResumePoint | None,
    ):
        self._fitted, self._images, self._labels = model, images, labels
        self._on_epoch, self._resume_point = on_epoch, resume_point
        self._began = time.monotonic()
        self.epochs: list[Epoch] = []
        self.best: list[np.ndarray] = []

    @property
    def best_epoch(self) -> int:
        """The first of those with the highest accuracy."""
        return max(self.epochs, key=lambda epoch: epoch.metrics["val_accuracy"]).number

    def resume(self) -> int:
        """Take over what the resume point holds: the number of epochs that are done."""
        state = self._resume_point.load() if self._resume_point else None
        if state is None:
            return 0
        assign(self._fitted.variables, state.variables)
        assign(self._fitted.optimizer.variables, state.optimizer)
        self.epochs, self.best = state.epochs, state.best
        print(f"going on after epoch {len(state.epochs)}, where this training was stopped", flush=True)
        for epoch in state.epochs:
            self._on_epoch(epoch)
        return len(state.epochs)

    def ended(self, number: int, metrics: dict[str, float]) -> None:
        """An epoch ended with these means over the training images."""
        if not math.isfinite(metrics["loss"]):
            raise InputError(
                f"training diverged: the loss is {metrics['loss']} in epoch {number}; "
                "lower learning_rate, or train with precision: float32"
            )
        logits = predict_logits(self._fitted, self._images)
        predictions = _classes(logits)
        metrics |= {
            "val_loss": float(hard_loss(self._labels, logits)),
            "val_accuracy": float(np.mean(predictions == self._labels)),
        }
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        print(f"{time.monotonic() - self._began:.1f} s: {shown}", flush=True)
        epoch = Epoch(number, metrics, predictions, _now())
        self.epochs.append(epoch)
        if self.best_epoch == number:
            self.best = self._fitted.get_weights()
        if self._resume_point:
            self._resume_point.save(
                State(self.epochs, values(self._fitted.variables), values(self._fitted.optimizer.variables), self.best)
            )
        self._on_epoch(epoch)
        self._began = time.monotonic()


def values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """The values of variables, copied."""
    return [variable.numpy() for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Give variables the values that `values` took from them, or from others like them."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def assess(model: keras.Model, train: Split, validation: Split) -> tuple[Fitted, np.ndarray]:
    """What `fit` would say of a model that comes trained: one epoch; and its logits (n, classes) on validation."""
    metrics, logits = {}, np.empty(0)
    for prefix, split in (("", train), ("val_", validation)):
        logits, labels = predict_logits(model, split.images), np.asarray(split.labels)
        metrics[f"{prefix}accuracy"] = float(np.mean(logits.argmax(axis=1) == labels))
        metrics[f"{prefix}loss"] = float(hard_loss(labels, logits))
    return Fitted([Epoch(1, metrics, _classes(logits), _now())], best_epoch=1), logits


def _classes(logits: np.ndarray) -> np.ndarray:
    return logits.argmax(axis=1).astype(np.uint16)


def _now() -> int:
    return time.time_ns() // 1_000_000
