"""Training: compile, fit, validate after every epoch, keep the best."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from stages.data.prepared import Split
from stages.learning.batches import Batches
from stages.learning.losses import hard_loss
from stages.learning.models import xla
from stages.learning.prediction import predict_logits
from stages.params import InputError, Training

STEPS_PER_EXECUTION = 64  # steps that TensorFlow runs before it returns to Python
WARM_UP = 0.1  # part of the steps in which the cosine schedule rises

OnEpoch = Callable[[int, dict[str, float], np.ndarray], None]


@dataclass(frozen=True)
class Fitted:
    """What training gave.

    Attributes:
        epochs: one dictionary an epoch: loss, accuracy, val_loss, val_accuracy and what the model logs besides.
        best_epoch: the epoch, from 1, whose weights the model has now.
    """

    epochs: list[dict[str, float]]
    best_epoch: int


def compile_model(model: keras.Model, training: Training, steps_per_epoch: int, label_smoothing: float | None) -> None:
    """Adam with decoupled weight decay (AdamW), on the schedule that `training` names.

    Args:
        model: a classifier, or a `Distiller`, which brings its own loss.
        training: learning rate, schedule, weight decay and epochs.
        steps_per_epoch: batches an epoch.
        label_smoothing: of the hard loss; None for a `Distiller`.
    """
    model.compile(
        # With a weight decay, Adam is AdamW; AdamW with a weight decay of 0 still walks over all weights.
        optimizer=keras.optimizers.Adam(
            _learning_rate(training, steps_per_epoch * training.epochs), weight_decay=training.weight_decay or None
        ),
        loss=None if label_smoothing is None else partial(hard_loss, label_smoothing=label_smoothing),
        metrics=["accuracy"],
        jit_compile=xla(),
        steps_per_execution=min(STEPS_PER_EXECUTION, steps_per_epoch),
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
) -> Fitted:
    """Train a compiled model; it ends with the weights of the epoch that was most accurate on validation.

    Args:
        model: compiled, from images to logits.
        batches: the training images.
        validation_images: uint8, (n, height, width, channels).
        validation_labels: int, (n,).
        epochs: passes over the training images.
        on_epoch: called after each epoch with its number from 1, its metrics, and the validation logits (n, classes).

    Raises:
        InputError: when the loss is no longer finite.
    """
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=epochs, restore_best_weights=True)
    history = model.fit(
        batches,
        epochs=epochs,
        shuffle=False,  # `batches` shuffles by itself
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[_Validation(validation_images, validation_labels, on_epoch), best],
    )
    epoch_metrics = [
        dict(zip(history.history, values, strict=True)) for values in zip(*history.history.values(), strict=True)
    ]
    return Fitted(epoch_metrics, best.best_epoch + 1)


class _Validation(keras.callbacks.Callback):
    """One forward pass over the validation images gives loss, accuracy and the logits that `on_epoch` gets."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, on_epoch: OnEpoch):
        super().__init__()
        self._images, self._labels, self._on_epoch = images, labels, on_epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"training diverged: the loss is {logs['loss']} in epoch {epoch + 1}; "
                "lower learning_rate, or train with precision: float32"
            )
        logits = predict_logits(self.model, self._images)
        logs["val_loss"] = float(hard_loss(self._labels, logits))
        logs["val_accuracy"] = float(np.mean(np.argmax(logits, axis=-1) == self._labels))
        self._on_epoch(epoch + 1, {name: float(value) for name, value in logs.items()}, logits)


def assess(model: keras.Model, train: Split, validation: Split) -> Fitted:
    """What `fit` would say of a model that comes trained: one row of metrics."""
    metrics = {}
    for prefix, split in (("", train), ("val_", validation)):
        logits, labels = predict_logits(model, split.images), np.asarray(split.labels)
        metrics[f"{prefix}accuracy"] = float(np.mean(logits.argmax(axis=1) == labels))
        metrics[f"{prefix}loss"] = float(hard_loss(labels, logits))
    return Fitted([metrics], best_epoch=1)
