"""Unequal classes: metrics and weights that count each alike, against scikit-learn and float64 NumPy."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import model, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight

from distillery import Distiller
from distillery.data.prepared import Split
from distillery.learning.batches import Examples
from distillery.learning.losses import hard_loss
from distillery.learning.metrics import balanced_accuracy, confusion_matrix, macro_f1
from distillery.learning.settings import Training
from distillery.students.results import students_result
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import TrainingSet

RARE = 3


@pytest.fixture(scope="module")
def unequal(digits) -> TrainingSet:
    """Digits of which one class has 8 images, those of the others about 80."""
    images, labels = digits
    kept = np.ones(len(labels), bool)
    kept[np.flatnonzero((labels == RARE) & (np.arange(len(labels)) < 800))[8:]] = False
    kept[800:] = False
    examples = Examples(images, labels, indices=np.flatnonzero(kept), classes=10)
    return TrainingSet(examples, Split(images[800:], labels[800:], ""), "")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_are_those_of_scikit_learn(pairs):
    labels, predicted = np.array(pairs).T
    confusion = confusion_matrix(labels, predicted, 5)
    assert balanced_accuracy(confusion) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert macro_f1(confusion) == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_balanced_weights_are_those_of_scikit_learn_over_the_images_with_a_label(unequal):
    shown = unequal.examples.labels[unequal.examples.indices]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=shown)
    np.testing.assert_allclose(unequal.class_weights("balanced"), expected, rtol=1e-6)
    assert unequal.class_weights("balanced")[shown].mean() == pytest.approx(1, abs=1e-6)
    assert unequal.class_weights("none") is None

    half_known = np.where(np.arange(len(unequal.examples.labels)) % 2, unequal.examples.labels, -1)
    without = replace(unequal, examples=replace(unequal.examples, labels=half_known))
    known = half_known[unequal.examples.indices]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=known[known >= 0])
    np.testing.assert_allclose(without.class_weights("balanced"), expected, rtol=1e-6)

    omitted = replace(unequal.examples, indices=np.flatnonzero(unequal.examples.labels != 7))
    assert replace(unequal, examples=omitted).class_weights("balanced")[7] == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_image_counts_as_often_as_its_class_weighs(smoothing):
    """A weight of a whole number is that many copies of the image."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(20, 3)).astype(np.float32), random.integers(3, size=20)
    weights = np.array([1, 3, 2], np.float32)
    copied = np.repeat(np.arange(20), weights[labels].astype(int))
    expected = float(hard_loss(labels[copied], logits[copied], smoothing)) * len(copied) / 20
    assert float(hard_loss(labels, logits, smoothing, weights)) == pytest.approx(expected, rel=1e-5)
    of_parts = hard_loss(np.eye(3, dtype=np.float32)[labels], logits, smoothing, weights)
    assert float(of_parts) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["kd", "dist"])
def test_losses_of_a_distiller_are_those_of_the_formula(digits, method):
    """Of mixed images each part counts by its class, and what has no label counts 1; `dist` is of the whole batch."""
    random = np.random.default_rng(1)
    weights = random.uniform(0.2, 4, 10).astype(np.float32)
    parts = np.eye(10)[digits[1][:50]] * 0.7 + np.eye(10)[digits[1][50:100]] * 0.3
    parts[:10], parts[10:20] = 0, parts[10:20] / 2  # without a label, and half of it
    logits = random.normal(size=(50, 10)).astype(np.float32)
    student = model("dense_10_10", seed=2)
    found, alike = [], []
    for class_weights, losses in ((weights, found), (None, alike)):
        distiller = Distiller(student, 4.0, 0.25, soft_loss=method, class_weights=class_weights)
        distiller.compile(optimizer=keras.optimizers.SGD(0.0))
        targets = {"labels": parts.astype(np.float32), "logits": logits}
        losses.append(distiller.evaluate(digits[0][:50], targets, batch_size=50, verbose=0, return_dict=True))
    log_p = log_softmax(student.predict_on_batch(digits[0][:50]).astype(np.float64), axis=1)
    assert found[0]["hard_loss"] == pytest.approx(-np.mean((parts * weights * log_p).sum(axis=1)), rel=1e-4)
    if method == "dist":
        assert found[0]["soft_loss"] == alike[0]["soft_loss"]
        return
    teacher = log_softmax(logits.astype(np.float64) / 4, axis=1)
    own = log_softmax(student.predict_on_batch(digits[0][:50]).astype(np.float64) / 4, axis=1)
    of_images = (parts * weights).sum(axis=1) + 1 - parts.sum(axis=1)
    expected = 16 * np.mean(of_images * (np.exp(teacher) * (teacher - own)).sum(axis=1))
    assert found[0]["soft_loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("distilled", [False, True])
def test_students_learn_a_rare_class_by_them(unequal, tmp_path, distilled):
    """And they are chosen by balanced accuracy, seed and epoch."""
    data = unequal
    if distilled:  # the teacher is as blind to the rare class as plain training is
        teacher = model("dense_128", seed=5)
        teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        shown = data.examples.indices
        teacher.fit(data.examples.images[shown], data.examples.labels[shown], epochs=8, verbose=0, shuffle=False)
        logits = {"logits": teacher.predict(data.examples.images, verbose=0)[np.newaxis]}
        data = replace(data, examples=replace(data.examples, teacher=logits))
    recall, results = {}, {}
    for kind in ("none", "balanced"):
        weights = data.class_weights(kind)
        distil = (
            (lambda student, weights=weights: Distiller(student, 2.0, 0.5, class_weights=weights))
            if distilled
            else None
        )
        training = Training(epochs=4, batch_size=32, learning_rate=0.003)
        trainer = SeedTrainer(spec("dense_128"), training, 0, len(data.examples.indices), distil, class_weights=weights)
        students = train_students(trainer, [0, 1, 2], data, tmp_path / kind, lambda seed, epoch: None)
        result = students_result(students, data.validation.labels, 10, trainer.chosen_by)
        recall[kind] = result.confusion[RARE, RARE] / result.confusion[RARE].sum()
        results[kind] = result
        for student in students:
            metrics = [epoch.metrics[trainer.chosen_by] for epoch in student.result.epochs]
            assert metrics[student.result.best_epoch - 1] == max(metrics)
    assert recall["balanced"] > recall["none"] + 0.05
    assert results["balanced"].metrics["val_balanced_accuracy"] == pytest.approx(
        np.mean(list(results["balanced"].by_seed.values()))
    )
    assert results["none"].metrics["val_accuracy"] == pytest.approx(np.mean(list(results["none"].by_seed.values())))
