"""The largest logits alone, with the mass of the rest: what is stored, what it means, and that losses use just that."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import change_params, run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from distillery import Distiller, load_method
from distillery.data.errors import InputError
from distillery.data.prepared import DatasetInfo
from distillery.distillation import transfer_set
from distillery.distillation.distiller import every_logit
from distillery.distillation.stored_logits import (
    TOP_CLASSES,
    compact,
    kept_probability,
    largest_logits,
    predicted_classes,
)
from distillery.distillation.transfer_set import load_transfer_set, save_transfer_set, view_outputs
from distillery.learning.augmentation import Policy, Views

METHODS = ("kd", "dkd", "dist")


def random_logits(seed: int, images: int, classes: int, scale: float = 3.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(images, classes))).astype(np.float32)


def spread_out(stored: dict[str, np.ndarray], classes: int) -> np.ndarray:
    """Return a logit of every class in float64, number by number."""
    every = np.empty((len(stored["logits"]), classes))
    for row, (kept, logits) in enumerate(zip(stored[TOP_CLASSES], stored["logits"], strict=True)):
        for number in range(classes):
            (place,) = np.nonzero(kept == number) if number in kept else ([-1],)
            every[row, number] = logits[place[0]]
    return every


def divergence(log_p: np.ndarray, log_q: np.ndarray) -> float:
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def correlation_lost(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return 1 − Pearson's correlation of each row."""
    p, q = (values - values.mean(axis=1, keepdims=True) for values in (p, q))
    return 1 - (p * q).sum(axis=1) / np.sqrt((p * p).sum(axis=1) * (q * q).sum(axis=1) + 1e-16)


def in_float64(method: str, labels, teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    """Return the loss of a method, by its formula, of logits of every class."""
    teacher, student = teacher / temperature, student.astype(np.float64) / temperature
    if method == "dist":
        p, q = softmax(teacher, axis=1), softmax(student, axis=1)
        return float(correlation_lost(p, q).mean() + correlation_lost(p.T, q.T).mean())
    losses = []
    for label, mine, other in zip(labels, teacher, student, strict=True):
        log_p, log_q = log_softmax(mine), log_softmax(other)
        if method == "kd":
            losses.append(divergence(log_p, log_q))
            continue
        pairs = [np.array([one[label], np.logaddexp.reduce(np.delete(one, label))]) for one in (log_p, log_q)]
        rests = [log_softmax(np.delete(one, label)) for one in (mine, other)]
        losses.append(divergence(*pairs) + 8.0 * divergence(*rests))
    return float(np.mean(losses))


def soft_loss(method: str, labels, stored, student: np.ndarray, temperature: float) -> float:
    """Return the loss as the distiller computes it."""
    teacher = every_logit(stored[TOP_CLASSES], stored["logits"].astype(np.float32), student.shape[1])
    return float(np.mean(load_method(method)(labels, {"logits": teacher}, {"logits": student}, temperature)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), method=st.sampled_from(METHODS), seed=st.integers(0, 10_000), temperature=st.floats(0.5, 30))
def test_loss_is_that_of_the_stored_numbers(data, method, seed, temperature):
    classes = data.draw(st.integers(2, 12))
    count = data.draw(st.integers(1, classes - 1))
    student, labels = random_logits(seed + 1, 6, classes), np.random.default_rng(seed).integers(classes, size=6)
    stored = largest_logits(random_logits(seed, 6, classes), count)
    expected = in_float64(method, labels, spread_out(stored, classes), student, temperature)
    assert soft_loss(method, labels, stored, student, temperature) == pytest.approx(expected, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_all_classes_but_one_give_the_loss_of_all_logits(method, temperature):
    """A rest of one class has its own logit: what is left is the rounding to half precision."""
    logits, student = random_logits(0, 64, 20), random_logits(1, 64, 20)
    labels = np.random.default_rng(0).integers(20, size=64)
    expected = in_float64(method, labels, logits.astype(np.float64), student, temperature)
    found = soft_loss(method, labels, largest_logits(logits, 19), student, temperature)
    assert found == pytest.approx(expected, rel=2e-3)
    np.testing.assert_array_equal(spread_out(largest_logits(logits, 19), 20), compact(logits))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), temperature=st.floats(1, 30))
def test_kept_classes_have_their_probabilities_and_the_rest_its_mass(data, seed, temperature):
    """At temperature 1 exactly, up to half precision; above, the rest has the teacher's mass or more."""
    classes = data.draw(st.integers(2, 40))
    count = data.draw(st.integers(1, classes - 1))
    logits = random_logits(seed, 5, classes).astype(np.float64)
    stored = largest_logits(logits, count)
    kept = stored[TOP_CLASSES].astype(int)
    np.testing.assert_array_equal(kept, np.argsort(-logits, axis=1)[:, :count])
    teacher, meant = softmax(logits, axis=1), softmax(spread_out(stored, classes), axis=1)
    of_kept = np.take_along_axis(teacher, kept, axis=1)
    np.testing.assert_allclose(np.take_along_axis(meant, kept, axis=1), of_kept, rtol=0.02)
    assert kept_probability(stored, classes) == pytest.approx(of_kept.sum(axis=1).mean(), rel=0.01)
    warm, meant = (softmax(values / temperature, axis=1) for values in (logits, spread_out(stored, classes)))
    rest, meant_rest = (1 - np.take_along_axis(values, kept, axis=1).sum(axis=1) for values in (warm, meant))
    assert (meant_rest >= rest - 0.01).all()


def test_first_of_equal_classes_is_the_prediction():
    logits = np.array([[0, 2, 2, 1, 2], [1, 1, 1, 1, 1]], np.float32)
    stored = largest_logits(logits, 4)
    assert stored[TOP_CLASSES].tolist()[0] == [1, 2, 4, 3]
    assert stored["logits"].tolist() == [[0, 0, 0, -1, -2], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(predicted_classes(stored)[:1], logits.argmax(axis=1)[:1])
    np.testing.assert_array_equal(predicted_classes({"logits": logits}), [1, 0])


def test_impossible_classes_stay_finite():
    stored = largest_logits(np.array([[0, -np.inf, -1e30, 1]], np.float32), 2)
    np.testing.assert_array_equal(spread_out(stored, 4), [[-1, -65504, -65504, 0]])


def test_every_class_of_65536_has_a_number():
    logits = np.zeros((2, 65_536), np.float32)
    logits[0, 65_535], logits[1, 32_768] = 30, 30
    stored = largest_logits(logits, 1)
    assert stored[TOP_CLASSES].tolist() == [[65_535], [32_768]]
    with pytest.raises(ValueError, match="found 1 of 65537"):
        largest_logits(np.zeros((1, 65_537), np.float32), 1)
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"found {count} of 4"):
            largest_logits(np.zeros((1, 4), np.float32), count)


def test_ten_of_a_thousand_classes_take_at_most_50_bytes_a_view(tmp_path):
    views = Views(Policy(1), 200, 3)
    teacher = SimpleNamespace(outputs=lambda images: {"logits": random_logits(0, len(images), 1000)}, digest="0" * 64)
    images = np.zeros((200, 8, 8, 1), np.uint8)
    of_views = (view_outputs(teacher, images, views, number, top_classes=10) for number in range(3))
    save_transfer_set(tmp_path, of_views, "teacher", "images", views)
    stored = json.loads((tmp_path / "transfer.json").read_text())
    assert {name: (one["shape"], one["dtype"]) for name, one in stored["outputs"].items()} == {
        "top_classes": ([3, 200, 10], "uint16"),
        "logits": ([3, 200, 11], "float16"),
    }
    outputs, _ = load_transfer_set(tmp_path, "images", views)
    assert sum(array.nbytes for array in outputs.values()) / (3 * 200) == 42
    np.testing.assert_array_equal(outputs["logits"][2], largest_logits(random_logits(0, 200, 1000), 10)["logits"])


def test_resumed_transfer_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer_set, "SHARD_SECONDS", -1.0)  # each batch is kept at once
    monkeypatch.setattr(transfer_set, "PREDICT_BATCH", 30)
    images = np.random.default_rng(0).integers(256, size=(100, 8, 8, 1), dtype=np.uint8)
    weights, views, answered = random_logits(0, 64, 120, 0.01), Views(Policy(2), 100, 2), []

    def outputs(shown: np.ndarray) -> dict[str, np.ndarray]:
        answered.append(len(shown))
        if len(answered) == 7:
            raise KeyboardInterrupt
        return {"logits": shown.reshape(len(shown), -1).astype(np.float32) @ weights}

    def transfer(folder: Path, resume_folder: Path | None) -> dict[str, bytes]:
        teacher = SimpleNamespace(outputs=outputs, digest="0" * 64)
        of_views = (view_outputs(teacher, images, views, number, resume_folder, 4) for number in range(2))
        save_transfer_set(folder, of_views, "teacher", "images", views)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyboardInterrupt):
        transfer(tmp_path / "stopped", tmp_path / "kept")
    assert sorted(np.load(next((tmp_path / "kept").glob("*.npz"))).files) == ["0.logits", "0.top_classes"]
    again = transfer(tmp_path / "again", tmp_path / "kept")
    assert answered == [30, 30, 30, 10, 30, 30, 30, 30, 10]
    assert again == transfer(tmp_path / "whole", None)


def test_distiller_learns_from_what_is_stored(digits):
    """The same losses as with a logit of every class; of an odd last batch, too."""
    images, labels = digits[0][:100], digits[1][:100]
    stored = largest_logits(random_logits(0, 100, 10), 3)
    losses = []
    for outputs in (stored, {"logits": spread_out(stored, 10).astype(np.float32)}):
        student = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
        student.set_weights([random_logits(1, 64, 10, 0.01), np.zeros(10)])
        distiller = Distiller(student, 4.0, 0.1)
        distiller.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=len(outputs) == 2)
        losses.append(distiller.fit(images, {"labels": labels, **outputs}, 64, shuffle=False, verbose=0).history)
    assert losses[0]["soft_loss"] == pytest.approx(losses[1]["soft_loss"], rel=1e-4)
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("count", "classes", "told"),
    [
        (10, 10, "found 10, for 10 classes; accepted: 1 to 9, or null for all"),
        (2000, 1000, "found 2,000, for 1,000 classes; accepted: 1 to 999, or null for all"),
        (10, 65_537, "found 10, for 65,537 classes; accepted: null, of more than 65,536 classes"),
    ],
)
def test_count_that_leaves_no_class_raises_input_error(count, classes, told):
    info = DatasetInfo("many", [str(number) for number in range(classes)], (8, 8, 1), {}, {}, "", {})
    info.check_top_classes(None)
    with pytest.raises(InputError, match=f"^params.yaml: transfer.top_classes: {told}$"):
        info.check_top_classes(count)


def test_digits_are_distilled_from_three_of_ten_classes(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "clone", symlinks=True))
    too_many = "10, for 10 classes; accepted: 1 to 9, or null for all"
    told = {"prepare": too_many, "train_teacher": too_many, "transfer": too_many, "distill": "0; input should be great"}
    for stage, found in told.items():
        change_params(folder, {"transfer": {"top_classes": int(found.partition(",")[0].partition(";")[0])}})
        refused = run(folder, "python", "-m", "pipeline", stage, check=False, DVC_ROOT=str(folder))
        assert refused.returncode == 1
        assert f"{stage}: params.yaml: transfer.top_classes: found {found}" in refused.stderr
        assert "Traceback" not in refused.stderr
    change_params(folder, {"transfer": {"top_classes": 3}, "distill": {"folds": 2}, "student": {"seeds": [0]}})
    said = run(folder, "python", "-m", "pipeline", "transfer", DVC_ROOT=str(folder)).stdout
    assert "% of its probability in the classes that are kept" in said
    full = np.load(pipeline / "data/transfer/logits.npy")
    kept = np.load(folder / "data/transfer/top_classes.npy")
    np.testing.assert_array_equal(kept, np.argsort(-full, axis=2)[..., :3])
    run(folder, "python", "-m", "pipeline", "distill", DVC_ROOT=str(folder))
    metrics = json.loads((folder / "metrics/distill.json").read_text())
    assert metrics["val_accuracy"] > 0.85
    assert metrics["cross_validation"]["agreement_with_teacher"] > 0.8
