"""Metrics and statistics against scikit-learn, SciPy and plain loops."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax
from sklearn import metrics

from distillery import figures
from distillery.data.errors import InputError
from distillery.data.tables import read_columns, write_records
from distillery.evaluation.comparison import accuracy_gain, accuracy_interval
from distillery.evaluation.headline import omitted_metrics, quality_metrics
from distillery.evaluation.instructive import instructive_order
from distillery.evaluation.unseen import unseen_bias, with_bias
from distillery.learning.metrics import (
    agreement,
    confusion_matrix,
    expected_calibration_error,
    named,
    negative_log_likelihood,
    per_class_accuracy,
    spread,
)
from distillery.timing import measure_alternating, median_and_spread


def sample(seed: int, images: int = 200, classes: int = 6):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=images)
    return labels, (3 * random.normal(size=(images, classes)) + 2 * np.eye(classes)[labels]).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_classification_metrics_are_scikit_learns(seed):
    labels, logits = sample(seed)
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, 6)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predicted, labels=range(6)))
    recall = metrics.recall_score(labels, predicted, average=None, labels=range(6), zero_division=np.nan)
    np.testing.assert_allclose(per_class_accuracy(confusion), recall)
    expected = metrics.log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=range(6))
    assert negative_log_likelihood(labels, logits) == pytest.approx(expected)
    assert agreement(logits, logits) == 1
    assert agreement(logits, -logits) == np.mean(predicted == logits.argmin(axis=1))


def test_a_class_without_images_has_no_accuracy():
    accuracy = per_class_accuracy(np.array([[3, 1], [0, 0]]))
    assert np.isnan(accuracy[1])
    assert named(accuracy, ["a", "b"]) == {"a": 0.75}
    (axis,) = figures.per_class_accuracy({"teacher": accuracy.tolist()}, ["a", "b"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(2, 20))
def test_calibration_error_bin_by_bin(seed, bins):
    labels, logits = sample(seed)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    expected = 0.0
    for number in range(bins):
        inside = [row for row in range(len(labels)) if number / bins < probabilities[row].max() <= (number + 1) / bins]
        if inside:
            accuracy = np.mean([probabilities[row].argmax() == labels[row] for row in inside])
            confidence = np.mean([probabilities[row].max() for row in inside])
            expected += len(inside) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(labels, logits, bins) == pytest.approx(expected)


def test_a_calibrated_classifier_has_a_small_calibration_error():
    random = np.random.default_rng(0)
    logits = random.normal(size=(50_000, 3))
    labels = (random.random((50_000, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)  # drawn as it says
    assert expected_calibration_error(labels, logits, 15) < 0.01
    assert expected_calibration_error(labels, 5 * logits, 15) > 0.2


@settings(max_examples=40, deadline=None)
@given(wins=st.integers(0, 40), losses=st.integers(0, 40))
def test_with_one_seed_p_is_mcnemars_exact(wins, losses):
    first = np.array([[True] * (wins + 50) + [False] * losses])
    second = np.array([[False] * wins + [True] * (50 + losses)])
    gain = accuracy_gain(first, second, 200, 0)
    n = wins + losses
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    assert gain.mcnemar_p == pytest.approx(min(1.0, 2 * tail) if wins != losses else 1.0)
    assert (gain.wins, gain.losses) == (wins, losses)
    assert gain.points == pytest.approx(100 * (wins - losses) / (n + 50))


def test_the_interval_is_that_of_drawing_images_and_seeds():
    random = np.random.default_rng(0)
    images, seeds = 300, 3
    first, second = random.random((seeds, images)) < 0.9, random.random((seeds, images)) < 0.85
    gain = accuracy_gain(first, second, 20_000, 1)
    difference = first.astype(float) - second.astype(float)
    drawn = [
        difference[random.integers(seeds, size=seeds)][:, random.integers(images, size=images)].mean()
        for _ in range(20_000)
    ]
    low, high = 100 * np.percentile(drawn, [2.5, 97.5])
    assert gain.ci_low == pytest.approx(low, abs=0.12)
    assert gain.ci_high == pytest.approx(high, abs=0.12)
    assert gain == accuracy_gain(first, second, 20_000, 1)


def test_the_interval_covers_the_true_gain():
    """19 of 20 intervals hold the true gain; with 300 trials anything from 92 to 98 % is what chance gives."""
    random = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        first, second = random.random((1, 400)) < 0.93, random.random((1, 400)) < 0.88
        gain = accuracy_gain(first, second, 500, trial)
        covered += gain.ci_low <= 5 <= gain.ci_high
    assert 0.90 <= covered / 300 <= 0.985


def test_equal_classifiers_gain_nothing():
    right = np.random.default_rng(0).random((3, 100)) < 0.9
    gain = accuracy_gain(right, right, 100, 0)
    assert (gain.points, gain.ci_low, gain.ci_high, gain.mcnemar_p) == (0, 0, 0, 1)


def test_spread_is_the_sample_standard_deviation():
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert spread([3.0]) == 0


def test_the_instructive_images_come_first():
    labels = np.array([0, 0, 0, 0, 0])
    right, wrong, other = [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.0, 0.7]
    teacher = np.array([right, right, wrong, wrong, wrong])
    student = np.array([right, wrong, right, other, wrong])
    # teacher right and student wrong; disagreements, the least sure of the label first; both wrong; both right
    assert instructive_order(labels, teacher, student).tolist() == [1, 3, 2, 4, 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), unseen=st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_no_other_bias_makes_more_images_right(seed, unseen):
    labels, logits = sample(seed, images=25, classes=4)
    logits = logits.round()  # ties: images that change sides at the same bias
    is_unseen = np.isin(np.arange(4), list(unseen))
    distances = np.unique(logits[:, ~is_unseen].max(axis=1) - logits[:, is_unseen].max(axis=1))
    between = [distances[0] - 1, *((distances[1:] + distances[:-1]) / 2), distances[-1] + 1]
    if not np.isin(labels, list(unseen)).any():
        assert unseen_bias(labels, logits, list(unseen)) == 0
        return

    def right(bias: float) -> int:
        return int((with_bias(logits, list(unseen), bias).argmax(axis=1) == labels).sum())

    found = right(unseen_bias(labels, logits, list(unseen)))
    assert found == max(right(bias) for bias in between)


def test_the_bias_of_a_class_that_was_never_seen():
    """All classes known alike but for a handicap on two of them, 5 on validation and 8 on the test set: the bias gives
    back the one that it saw.
    """
    random = np.random.default_rng(0)
    labels = random.integers(5, size=4000)
    fair = random.normal(size=(4000, 5)) + 6 * np.eye(5)[labels]
    logits = fair - 5 * np.isin(np.arange(5), [1, 4])
    bias = unseen_bias(labels, logits, [1, 4])
    assert bias == pytest.approx(5, abs=0.5)
    validation = logits[np.newaxis]
    test_labels, unseen = labels[::-1], np.isin(labels[::-1], [1, 4])
    logits = fair[::-1] - 8 * np.isin(np.arange(5), [1, 4])
    metrics = omitted_metrics([1, 4], test_labels, {"distilled": logits[np.newaxis]}, labels, {"distilled": validation})
    assert metrics["distilled"]["accuracy"] == pytest.approx(
        np.mean(logits[unseen].argmax(axis=1) == test_labels[unseen])
    )
    corrected = logits + bias * np.isin(np.arange(5), [1, 4])
    assert metrics["distilled"]["errors_in_all_corrected"] == (corrected.argmax(axis=1) != test_labels).sum()
    assert metrics["distilled"]["bias"] == bias


def test_models_that_say_one_class_of_every_image_are_counted():
    labels = np.arange(30) % 3
    good = 5 * np.eye(3)[labels]
    always = np.tile([0.0, 0.0, 1.0], (30, 1))
    logits = {
        "teacher": good[np.newaxis],
        "distilled": np.stack([good, always, always]),
        "scratch": np.stack([good] * 3),
    }
    curves = {kind: {"accuracy": [0.9], "val_accuracy": [0.8]} for kind in logits}
    right = {kind: models.argmax(axis=2) == labels for kind, models in logits.items()}
    gain = accuracy_gain(right["distilled"], right["scratch"], 100, 0)
    quality = quality_metrics(labels, logits, gain, 5, curves)
    counts = {kind: quality[kind]["models_of_one_class"] for kind in logits}
    assert counts == {"teacher": 0, "distilled": 2, "scratch": 0}
    assert quality["teacher"]["overfitting_points"] == pytest.approx(10)
    assert quality["distilled"]["agreement_with_teacher"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_tables_are_read_back(tmp_path):
    records = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-17}]
    write_records(tmp_path / "table.csv", records)
    assert read_columns(tmp_path / "table.csv") == {"epoch": [1, 2], "loss": [0.1 + 0.2, 1e-17]}
    for content in ("", "epoch,loss\n1\n", "epoch,loss\n1,many\n"):
        (tmp_path / "bad.csv").write_text(content)
        with pytest.raises(InputError, match=r"bad\.csv: cannot be read"):
            read_columns(tmp_path / "bad.csv")


def test_timing_alternates_and_leaves_the_warm_up_out():
    calls = []
    seconds = measure_alternating({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert "".join(calls[-8:]) == "abababab"
    assert {name: values.shape for name, values in seconds.items()} == {"a": (4,), "b": (4,)}
    assert median_and_spread(np.arange(101.0)) == {"median": 50, "quartile_low": 25, "quartile_high": 75}


def curves(epochs: int) -> dict:
    rising = np.linspace(0.5, 0.9, epochs)
    return {"accuracy": rising, "val_accuracy": rising - 0.05, "loss": 1 - rising, "val_loss": 1.1 - rising}


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_figures_are_drawn_without_warnings_and_are_the_same_bytes_again(tmp_path, classes, recwarn):
    names = [f"Größe №{number}" for number in range(classes)]
    random = np.random.default_rng(0)
    confusion = random.multinomial(100, np.full(classes, 1 / classes), size=classes)
    accuracy = {model: random.random(classes).tolist() for model in figures.COLOURS}
    images = random.integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    probabilities = {model: random.dirichlet(np.ones(classes), 5) for model in ("teacher", "distilled")}
    numbers = {"teacher": 0.99, "distilled": 0.98, "scratch": 0.97}

    def draw():
        yield "curves", figures.training_curves({model: curves(3) for model in figures.COLOURS})
        yield "one epoch", figures.training_curves({"teacher": curves(1)})
        yield "confusion", figures.confusion_matrix(confusion, names, "title")
        yield "confusions", figures.confusion_matrices(dict.fromkeys(figures.COLOURS, confusion), names)
        yield "per class", figures.per_class_accuracy(accuracy, names)
        yield "gain", figures.per_class_gain(np.linspace(-1, 2, classes), names)
        yield "comparison", figures.comparison(numbers, {"scratch": 0.01}, numbers, numbers, numbers)
        yield (
            "omitted",
            figures.omitted_classes(
                {kind: {"accuracy": 0.1, "accuracy_corrected": 0.9} for kind in ("distilled", "scratch")}, names[1:]
            ),
        )
        yield "sheet", figures.sheet(images, [0, 1, 0, 1, 0], probabilities, names)
        yield "samples", figures.sample_sheet(images, [0, 1, 0, 1, 0], names, "title")
        yield "balance", figures.class_balance({"train": [5] * classes, "test": [2] * classes}, names)

    for name, figure in draw():
        figures.save_figure(figure, tmp_path / f"{name}.png")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, figure in draw():
        figures.save_figure(figure, tmp_path / f"{name}.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert len(first) == 11
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert max(picture.size) < 5000
            assert len(picture.convert("L").getcolors(256)) > 10
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(("right", "images"), [(9929, 10000), (347, 360), (5, 5), (0, 9)])
def test_the_interval_is_wilsons(right, images):
    z, p = 1.959963984540054, right / images
    middle = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert accuracy_interval(right, images) == pytest.approx((middle - half, middle + half))
