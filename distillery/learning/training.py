"""Training: compile, fit, validate after every epoch, keep the best, go on where it was stopped."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import pandas as pd
from keras import ops

from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.data.progress import Progress
from distillery.data.random_streams import Purpose, generator
from distillery.learning.batches import Batches, Examples
from distillery.learning.checkpoint import Checkpoint, Epoch, State
from distillery.learning.devices import callbacks_for_devices, xla_is_faster
from distillery.learning.losses import hard_loss
from distillery.learning.metrics import balanced_accuracy, confusion_matrix, negative_log_likelihood
from distillery.learning.optimizer import adam
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training

WARM_UP = 0.1  # part of the steps in which the cosine schedule rises

OnEpochEnd = Callable[[Epoch], None]


@dataclass(frozen=True)
class TrainingResult:
    """What training gave.

    Attributes:
        epochs: all of them, in order.
        best_epoch: the number of the one whose weights the model has now.
    """

    epochs: list[Epoch]
    best_epoch: int

    @property
    def curves(self) -> pd.DataFrame:
        """A row per epoch: its number and its metrics."""
        return curves([epoch.metrics for epoch in self.epochs])


def curves(metrics: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Return a row per epoch: its number, from 1, and its metrics."""
    return pd.DataFrame([{"epoch": number, **epoch} for number, epoch in enumerate(metrics, start=1)])


def compile_model(
    model: keras.Model,
    training: Training,
    steps_per_epoch: int,
    label_smoothing: float | None,
    class_weights: np.ndarray | None = None,
) -> None:
    """Compile a model with AdamW on the schedule that `training` names.

    Args:
        model: a classifier, or a `Distiller`, which brings its own loss.
        training: learning rate, schedule, weight decay, epochs, and how to compile.
        steps_per_epoch: batches per epoch.
        label_smoothing, class_weights: of the hard loss; a `Distiller` has None of the first. Where they change it, the
            loss without them is a metric, too, `hard_loss`: it is what validation images are measured by.
    """
    changed = label_smoothing is not None and (label_smoothing > 0 or class_weights is not None)
    model.compile(
        optimizer=adam(_learning_rate(training, steps_per_epoch * training.epochs), training.weight_decay),
        loss=None
        if label_smoothing is None
        else partial(hard_loss, label_smoothing=label_smoothing, class_weights=class_weights),
        metrics=["accuracy", *([keras.metrics.MeanMetricWrapper(_hard_losses, "hard_loss")] if changed else [])],
        jit_compile=xla_is_faster() if training.compilation == "auto" else training.compilation == "xla",
        steps_per_execution=min(training.steps_per_execution, steps_per_epoch),
    )


def _hard_losses(labels, logits):
    """Return the hard loss for each image of a batch, so that a metric counts images and not batches."""
    return ops.broadcast_to(hard_loss(labels, logits), ops.shape(logits)[:1])


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
    validation: Split,
    epochs: int,
    on_epoch_end: OnEpochEnd,
    checkpoint: Checkpoint | None = None,
    chosen_by: str = "val_accuracy",
) -> TrainingResult:
    """Train a compiled model; it ends with the weights of the epoch that was best on validation.

    Args:
        model: compiled, from images to logits.
        batches: the training images.
        validation: the images on which the best epoch is chosen.
        epochs: passes over the training images.
        on_epoch_end: called after each epoch, and again with those that an earlier process finished.
        checkpoint: what is written after each epoch; where it holds epochs already, training goes on after them.
        chosen_by: the metric of the best epoch: `val_accuracy` or `val_balanced_accuracy`.

    Raises:
        InputError: when the loss is no longer finite.
    """
    model.optimizer.build(model.trainable_variables)
    progress = _Progress(model, validation, on_epoch_end, checkpoint, chosen_by)
    for number in range(progress.resume() + 1, epochs + 1):
        print(f"Epoch {number}/{epochs}", flush=True)
        progress.end_epoch(number, train_epoch(model, batches, number, epochs))
    model.set_weights(progress.best)
    return TrainingResult(progress.epochs, progress.best_epoch)


def train_epoch(model: keras.Model, batches: Batches, number: int, epochs: int | None = None) -> dict[str, float]:
    """Train for the epoch of this number, from 1, and return the means over the images of what the model logs.

    Args:
        model: compiled.
        batches: the training images.
        number: of the epoch.
        epochs: of the whole training, for the time left; None where this is the last.
    """
    epochs = epochs or number
    steps = _Steps(Progress(f"epoch {number}/{epochs}", len(batches), later=len(batches) * (epochs - number)))
    callbacks = [*callbacks_for_devices(), steps]
    sums: dict[str, float] = defaultdict(float)
    seen = 0
    for images, targets in _read_ahead(batches.segments(number)):
        arguments = _fit_arguments(images, targets, batches.batch_size)
        history = model.fit(**arguments, shuffle=False, verbose=0, callbacks=callbacks).history
        for name, (value,) in history.items():
            sums[name] += len(images) * value
        seen += len(images)
    steps.progress.close()
    return {name: value / seen for name, value in sums.items()}


def _read_ahead(segments: Iterator) -> Iterator:
    """Yield segments; a thread reads the next one meanwhile, for which NumPy needs no lock of Python's."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(next, segments, None)
        while (segment := coming.result()) is not None:
            coming = reader.submit(next, segments, None)
            yield segment


def _fit_arguments(images: np.ndarray, targets, batch_size: int) -> dict:
    """Return arguments of `fit` that make it cut batches, in order, from arrays.

    Under TensorFlow, Keras would let tf.data tune itself, and the end of an epoch then waits for that to stop, up to a
    second; so it is given the same pipeline without.
    """
    if keras.backend.backend() != "tensorflow":
        return {"x": images, "y": targets, "batch_size": batch_size}
    from tensorflow import data, nest  # under JAX there may be no TensorFlow

    options = data.Options()
    options.autotune.enabled = False
    starts = data.Dataset.range(0, len(images), batch_size)
    arrays = data.Dataset.from_tensors((images, targets)).repeat()

    def cut(start, whole):
        return nest.map_structure(lambda array: array[start : start + batch_size], whole)

    return {"x": data.Dataset.zip((starts, arrays)).map(cut).prefetch(2).with_options(options)}


class _Steps(keras.callbacks.Callback):
    """Says how far an epoch is, over its segments.

    Note: a callback for batches that is not `async_safe` would have Keras wait for each step.
    """

    async_safe = True

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress, self._before, self._last = progress, 0, 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # In threads of Keras's, which may overtake each other; of several steps at once, Keras counts those that the
        # last of them had no batch for.
        self._last = max(self._last, min(batch + 1, self.params["steps"]))
        self.progress.update(self._before + self._last, logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._before, self._last = self._before + self.params["steps"], 0


class _Progress:
    """After each epoch: validates, keeps the best weights, writes the checkpoint, calls `on_epoch_end`, in this order.

    One forward pass over the validation images gives loss, accuracy and predictions.
    """

    def __init__(
        self,
        model: keras.Model,
        validation: Split,
        on_epoch_end: OnEpochEnd,
        checkpoint: Checkpoint | None,
        chosen_by: str,
    ):
        self._model, self._validation, self._chosen_by = model, validation, chosen_by
        self._on_epoch_end, self._checkpoint = on_epoch_end, checkpoint
        self._began = time.monotonic()
        self.epochs: list[Epoch] = []
        self.best: list[np.ndarray] = []

    @property
    def best_epoch(self) -> int:
        """The first of those that are best."""
        return max(self.epochs, key=lambda epoch: epoch.metrics[self._chosen_by]).number

    def resume(self) -> int:
        """Take over what the checkpoint holds, and return the number of epochs that are done."""
        state = self._checkpoint.load() if self._checkpoint else None
        if state is None:
            return 0
        assign(self._model.variables, state.variables)
        assign(self._model.optimizer.variables, state.optimizer)
        self.epochs, self.best = state.epochs, state.best
        print(f"going on after epoch {len(state.epochs)}, where this training was stopped", flush=True)
        for epoch in state.epochs:
            self._on_epoch_end(epoch)
        return len(state.epochs)

    def end_epoch(self, number: int, metrics: dict[str, float]) -> None:
        """End an epoch with these means over the training images."""
        if not math.isfinite(metrics["loss"]):
            raise InputError(
                f"training diverged: the loss is {metrics['loss']} in epoch {number}; "
                "lower learning_rate, or train with precision: float32"
            )
        logits = predict_logits(self._model, self._validation.images)
        predictions = _predictions(logits)
        confusion = confusion_matrix(self._validation.labels, predictions, logits.shape[1])
        metrics |= {
            "val_loss": float(hard_loss(self._validation.labels, logits)),
            "val_accuracy": float(np.mean(predictions == self._validation.labels)),
            "val_balanced_accuracy": balanced_accuracy(confusion),
        }
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        print(f"{time.monotonic() - self._began:.1f} s: {shown}", flush=True)
        epoch = Epoch(number, metrics, predictions, _now())
        self.epochs.append(epoch)
        if self.best_epoch == number:
            self.best = self._model.get_weights()
        if self._checkpoint:
            self._checkpoint.save(
                State(self.epochs, values(self._model.variables), values(self._model.optimizer.variables), self.best)
            )
        self._on_epoch_end(epoch)
        self._began = time.monotonic()


def training_accuracy(model: keras.Model, examples: Examples, images: int) -> float:
    """Return a trained model's accuracy, 0 to 1, on images that it learned from, as they are and without dropout.

    Less the accuracy on validation images it is the model's overfitting. The accuracy that training itself logs is a
    mean over the steps of an epoch, with augmentation and dropout, and mostly lower.

    Args:
        model: trained, with the weights that were kept.
        examples: what it learned from.
        images: how many are drawn of them; as many as there are validation images make both equally sure.
    """
    drawn = training_sample(examples, images)
    predicted = predict_logits(model, examples.as_they_are, drawn).argmax(axis=1)
    return float(np.mean(predicted == examples.labels[drawn]))


def training_sample(examples: Examples, images: int) -> np.ndarray:
    """Return the numbers of some images that a model learned from, int, in order, always the same.

    Args:
        examples: what it learned from.
        images: how many, at most.
    """
    shown = examples.shown()
    shown = shown[examples.labels[shown] >= 0]
    return np.sort(generator(Purpose.TRAINING_SAMPLE).choice(shown, min(images, len(shown)), replace=False))


def values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Return the values of variables, copied."""
    return [variable.numpy() for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Give variables the values that `values` took from them, or from others like them."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def taken_result(
    learned: np.ndarray, learned_labels: np.ndarray, logits: np.ndarray, labels: np.ndarray
) -> TrainingResult:
    """Return what `fit` would give for a model that comes trained: one epoch.

    Args:
        learned: its logits on some training images, (n, classes), and
        learned_labels: their labels, int, (n,).
        logits, labels: the same of the validation images.
    """
    metrics = {}
    for prefix, of, truth in (("", learned, learned_labels), ("val_", logits, labels)):
        metrics[f"{prefix}accuracy"] = float(np.mean(of.argmax(axis=1) == truth))
        metrics[f"{prefix}loss"] = negative_log_likelihood(truth, of)
    return TrainingResult([Epoch(1, metrics, _predictions(logits), _now())], best_epoch=1)


def _predictions(logits: np.ndarray) -> np.ndarray:
    return logits.argmax(axis=1).astype(np.uint16)


def _now() -> int:
    return time.time_ns() // 1_000_000
