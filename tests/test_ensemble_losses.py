"""Distilling an ensemble by the mean of the losses to its members, against the losses computed apart in float64."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import model
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import entropy, pearsonr

from distillery import Distiller, load_method
from distillery.distillation.distiller import mean_over_members
from distillery.distillation.stored_logits import compact
from distillery.distillation.transfer_set import save_transfer_set, view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.teachers.ensemble import Ensemble, mean_logits

IMAGES, MEMBERS, DIGITS, TEMPERATURE = 24, 3, 10, 4.0
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(DIGITS, size=IMAGES).astype(np.int32)
MEMBER_LOGITS = (3 * RANDOM.normal(size=(IMAGES, MEMBERS, DIGITS))).astype(np.float32)


def kd(labels: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    return entropy(p, q, axis=1).mean()


def dkd(labels: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    losses = []
    for label, mine, other in zip(labels, p, q, strict=True):
        pair = entropy([mine[label], 1 - mine[label]], [other[label], 1 - other[label]])
        losses.append(pair + 8 * entropy(np.delete(mine, label), np.delete(other, label)))  # SciPy makes the sums 1
    return np.mean(losses)


def dist(labels: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    rows = [1 - pearsonr(mine, other).statistic for mine, other in zip(p, q, strict=True)]
    columns = [1 - pearsonr(mine, other).statistic for mine, other in zip(p.T, q.T, strict=True)]
    return np.mean(rows) + np.mean(columns)


def apart(method, logits: np.ndarray, student: np.ndarray) -> float:
    """Return the mean of a method's losses to each member, (n, members, classes), in float64."""
    q = softmax(student.astype(np.float64) / TEMPERATURE, axis=1)
    each = softmax(logits.astype(np.float64) / TEMPERATURE, axis=2)
    return np.mean([method(LABELS, each[:, number], q) for number in range(logits.shape[1])])


@pytest.mark.parametrize("method", [kd, dkd, dist])
@pytest.mark.parametrize("top_classes", [None, 4])
def test_the_soft_loss_is_the_mean_over_the_members(digits, method, top_classes):
    images = digits[0][:IMAGES]
    teacher = SimpleNamespace(
        outputs=lambda shown: {"logits": mean_logits(MEMBER_LOGITS), "member_logits": MEMBER_LOGITS}, digest="0" * 64
    )
    stored = view_outputs(teacher, images, Views(Policy(), IMAGES, 1), 0, top_classes=top_classes)
    logits = MEMBER_LOGITS
    if top_classes:
        logits = np.empty((IMAGES, MEMBERS, DIGITS))
        logits[:] = stored["member_logits"][..., -1:]
        np.put_along_axis(logits, stored["member_top_classes"].astype(int), stored["member_logits"][..., :-1], axis=2)
    student = model("dense_10_10")
    distiller = Distiller(student, TEMPERATURE, 0.0, soft_loss=method.__name__, t_squared=False)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    targets = {"labels": LABELS} | stored
    found = distiller.fit(images, targets, batch_size=IMAGES, verbose=0).history["soft_loss"][0]
    assert found == pytest.approx(apart(method, logits, student.predict_on_batch(images)), rel=1e-4)


def test_weights_of_classes_count_image_by_image(digits):
    images, weights = digits[0][:IMAGES], np.linspace(0.5, 1.5, DIGITS).astype(np.float32)
    student = model("dense_10_10")
    distiller = Distiller(student, 1.0, 0.0, t_squared=False, class_weights=weights)
    distiller.compile(optimizer="sgd", jit_compile=False)
    targets = {"labels": LABELS, "logits": mean_logits(MEMBER_LOGITS), "member_logits": MEMBER_LOGITS}
    found = distiller.evaluate(images, targets, batch_size=IMAGES, return_dict=True, verbose=0)["soft_loss"]
    q = softmax(student.predict_on_batch(images).astype(np.float64), axis=1)
    divergences = entropy(softmax(MEMBER_LOGITS.astype(np.float64), axis=2), q[:, np.newaxis], axis=2).mean(axis=1)
    assert found == pytest.approx(np.mean(weights[LABELS] * divergences), rel=1e-4)


@bounded(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.5, 20))
def test_of_kd_the_gradient_is_that_to_the_mean_of_the_softened_probabilities(seed, temperature):
    random = np.random.default_rng(seed)
    members = (4 * random.normal(size=(6, MEMBERS, 5))).astype(np.float32)
    student = tf.Variable((3 * random.normal(size=(6, 5))).astype(np.float32))
    with tf.GradientTape() as tape:
        teacher = {"logits": members[:, 0], "member_logits": tf.constant(members)}
        loss = mean_over_members(load_method("kd"))(None, teacher, {"logits": student}, temperature)
    target = softmax(members.astype(np.float64) / temperature, axis=2).mean(axis=1)
    expected = (softmax(student.numpy().astype(np.float64) / temperature, axis=1) - target) / temperature
    np.testing.assert_allclose(tape.gradient(loss, student), expected, atol=1e-5)


def test_the_mean_of_probabilities_holds_far_apart_and_in_any_batch():
    logits = np.stack([np.array([[0, -800, 3e4], [5, 5, 5]]), np.array([[0, 700, -3e4], [0, 1, 2]])], axis=1)
    logits = logits.astype(np.float32)
    expected = np.log(softmax(logits.astype(np.float64), axis=2).mean(axis=1)[:, :3])
    found = mean_logits(logits)
    assert np.isfinite(found).all()
    far = np.isfinite(expected)
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-6)
    many = np.random.default_rng(1).normal(size=(2, 2500, 4)).astype(np.float32)
    images = np.arange(2500)[:, np.newaxis]
    ensemble = Ensemble([lambda shown: many[0][shown[:, 0]], lambda shown: many[1][shown[:, 0]]])
    np.testing.assert_array_equal(ensemble.predict(images), mean_logits(many.swapaxes(0, 1)))


def test_of_many_classes_the_members_too_are_stored_in_half_precision(tmp_path):
    members = np.random.default_rng(2).normal(size=(7, 2, 120)).astype(np.float32)
    outputs = {"logits": mean_logits(members), "member_logits": members}
    save_transfer_set(tmp_path, [outputs], "teacher", "images", Views(Policy(), 7, 1))
    stored = np.load(tmp_path / "member_logits.npy")
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored[0, :, 1], compact(members[:, 1]))
    np.testing.assert_allclose(
        log_softmax(stored[0].astype(np.float64), axis=2), log_softmax(members.astype(np.float64), axis=2), atol=0.01
    )
