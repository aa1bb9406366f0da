"""Training: the optimizer, the best epoch, the same bytes again, on real digits."""

import keras
import numpy as np
import pytest
from conftest import model, spec

from distillery import Distiller, save_model
from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.learning.augmentation import Policy
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import float32_copy
from distillery.learning.optimizer import FusedAdam
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training
from distillery.learning.training import compile_model, fit

TRAINING = {"epochs": 2, "batch_size": 64, "learning_rate": 0.003}


@pytest.mark.parametrize("weight_decay", [None, 0.01])
def test_adam_follows_its_formula(weight_decay):
    """Recomputed in float64; and as Keras's own, to rounding."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(7, 5))
    variables = [keras.Variable(weights.astype(np.float32)) for _ in range(2)]
    optimizers = [kind(0.01, weight_decay=weight_decay) for kind in (FusedAdam, keras.optimizers.Adam)]
    first, second = np.zeros((2, 7, 5))
    for step in range(1, 21):
        gradient = random.normal(size=(7, 5)) * 10.0 ** random.integers(-6, 3)
        weights = weights - (weight_decay or 0) * 0.01 * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = weights - rate * first / (np.sqrt(second) + 1e-7)
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [variable])
    np.testing.assert_allclose(variables[0].numpy(), weights, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(variables[0].numpy(), variables[1].numpy(), rtol=1e-5, atol=1e-6)


def trained(digits, **changes):
    training = Training(**TRAINING | changes)
    built = model("dense_800_800", dropout=0.2)
    batches = Batches(Examples(*digits, augmentation=Policy(max_shift=1)), training.batch_size, 0)
    compile_model(built, training, len(batches), label_smoothing=0.0)
    seen = []
    result = fit(built, batches, Split(*digits, ""), training.epochs, seen.append)
    return built, result, seen


def test_fit_keeps_the_best_epoch_and_reports_each(digits):
    # a constant rate far too high for the last epochs to be the best
    built, result, seen = trained(digits, epochs=4, learning_rate=0.1, schedule="constant")
    accuracies = [epoch.metrics["val_accuracy"] for epoch in result.epochs]
    assert seen == result.epochs
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4]
    assert [np.mean(epoch.predictions == digits[1]) for epoch in seen] == accuracies
    assert result.best_epoch == int(np.argmax(accuracies)) + 1
    accuracy = np.mean(predict_logits(built, digits[0]).argmax(axis=1) == digits[1])
    assert accuracy == pytest.approx(max(accuracies))


def test_curves_have_a_row_per_epoch(digits):
    _, result, _ = trained(digits)
    curves = result.curves
    assert list(curves.columns) == ["epoch", *result.epochs[0].metrics]
    assert curves["epoch"].tolist() == [1, 2]
    assert curves["val_loss"].tolist() == [epoch.metrics["val_loss"] for epoch in result.epochs]


def test_training_is_the_same_bytes_again(digits, tmp_path):
    for name in ("one", "two"):
        built, _, _ = trained(digits)
        save_model(float32_copy(built, spec("dense_800_800", dropout=0.2), seed=0), tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_training_that_diverges_raises_input_error(digits):
    logits = np.full((1, len(digits[1]), 10), np.nan, np.float32)
    distiller = Distiller(model("dense_800_800", seed=1), 1.0, 0.0)
    compile_model(distiller, Training(**TRAINING), 10, label_smoothing=None)
    batches = Batches(Examples(*digits, teacher={"logits": logits}), 64, 0)
    with pytest.raises(InputError, match="training diverged: the loss is nan in epoch 1; lower learning_rate"):
        fit(distiller, batches, Split(*digits, ""), 2, lambda _: None)


def test_max_norm_bounds_the_incoming_weights_of_hidden_units(digits):
    built = model("dense_800_800", max_norm=0.5)
    batches = Batches(Examples(*digits), 64, 0)
    compile_model(built, Training(**TRAINING | {"learning_rate": 0.05}), len(batches), label_smoothing=0.0)
    fit(built, batches, Split(*digits, ""), 1, lambda _: None)
    *hidden, logits = [layer for layer in built.layers if isinstance(layer, keras.layers.Dense)]
    for layer in hidden:
        norms = np.linalg.norm(layer.get_weights()[0], axis=0)
        assert norms.max() == pytest.approx(0.5, abs=1e-4)
    assert np.linalg.norm(logits.get_weights()[0], axis=0).min() > 0.5
