"""Students: their training set, seeds, choice and cross-validation, on real digits."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import ROOT, spec, store, tracked
from scipy.special import log_softmax

from distillery import Distiller
from distillery.data.errors import InputError
from distillery.data.prepared import Split, save_prepared
from distillery.distillation.cross_validation import CrossValidation, Fold, fold_metrics
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Examples
from distillery.learning.checkpoint import Epoch
from distillery.learning.models import build_model
from distillery.learning.prediction import images_at_once, predict_in_batches
from distillery.learning.settings import Training
from distillery.learning.training import compile_model, training_accuracy
from distillery.students.choice import load_students, onnx_models, predict_students, save_choice
from distillery.students.plain_recipe import plain_recipe, shared_recipe
from distillery.students.results import EpochMeans, students_result
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import TrainingSet, load_training_set
from pipeline.params import TrainScratch, load_params
from stages.train_scratch import doubt

TRAINING = {"epochs": 2, "batch_size": 64, "learning_rate": 0.003}


def training_set(digits, **teacher) -> TrainingSet:
    images, labels = digits
    views = Views(Policy(max_shift=1), 1000, 1)
    examples = Examples(images[:1000], labels[:1000], np.arange(1000), views, teacher)
    return TrainingSet(examples, Split(images[1000:], labels[1000:], ""), "")


def ignore(*_) -> None:
    """Take an epoch and do nothing."""


@pytest.mark.parametrize("distilled", [True, False])
def test_student_of_a_seed_does_not_depend_on_other_seeds(digits, tmp_path, distilled):
    logits = np.random.default_rng(0).normal(size=(1, 1000, 10)).astype(np.float32)
    data = training_set(digits, **({"logits": logits} if distilled else {}))
    distil = (lambda student: Distiller(student, 4.0, 0.1)) if distilled else None
    for name, seeds in (("both", [4, 9]), ("alone", [9])):
        trainer = SeedTrainer(spec("dense_800_800", dropout=0.2), Training(**TRAINING), seeds[0], 1000, distil)
        students = train_students(trainer, seeds, data, tmp_path / name, ignore)
    assert (tmp_path / "both/seed_9.keras").read_bytes() == (tmp_path / "alone/seed_9.keras").read_bytes()
    assert (tmp_path / "both/seed_9.keras").read_bytes() != (tmp_path / "both/seed_4.keras").read_bytes()

    labels = data.validation.labels
    result = students_result(students, labels, 10, "val_accuracy")
    correct = students[0].validation_logits.argmax(axis=1) == labels
    assert result.metrics["val_accuracy"] == result.by_seed[9] == pytest.approx(correct.mean())
    assert result.metrics["val_accuracy_std"] == 0

    save_choice(tmp_path / "both", {4: 0.5, 9: 0.75}, "val_accuracy", ["3"], "digest", "float32", {})
    loaded = load_students(tmp_path / "both")
    assert (loaded.chosen_seed, loaded.omitted_classes, loaded.teacher_digest) == (9, ["3"], "digest")
    assert loaded.paths == {seed: tmp_path / f"both/seed_{seed}.keras" for seed in (4, 9)}
    together = predict_students(onnx_models(loaded), data.validation.images)
    for row, path in zip(together, loaded.paths.values(), strict=True):
        expected = keras.models.load_model(path).predict(data.validation.images, verbose=0)
        np.testing.assert_allclose(row, expected, atol=1e-4)


def first_weights(trainer: SeedTrainer, seed: int, digits) -> list[np.ndarray]:
    """A student's weights before its first step, which a learning rate of almost nothing does not change."""
    data = training_set(digits)
    return trainer.train(seed, data.examples, data.validation, ignore, None)[0].get_weights()


def test_students_of_a_seed_start_alike_whatever_their_recipe(digits):
    """Dropout draws random numbers, too; labels and teacher do not matter. Other seeds start elsewhere."""
    training = Training(epochs=1, batch_size=1000, learning_rate=1e-12)
    weights = {}
    for name, dropout, smoothing in (("distilled", 0.0, 0.0), ("plain", 0.5, 0.1), ("strong", 0.2, 0.3)):
        trainer = SeedTrainer(spec("dense_800_800", dropout=dropout), training, 3, 1000, label_smoothing=smoothing)
        weights[name] = {seed: first_weights(trainer, seed, digits) for seed in (3, 4)}
    for name in ("plain", "strong"):
        for seed in (3, 4):
            for one, other in zip(weights["distilled"][seed], weights[name][seed], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-10)
    assert not np.allclose(weights["plain"][3][0], weights["plain"][4][0], atol=1e-3)


def test_plain_recipe_is_the_students_but_for_what_it_sets_itself():
    params = load_params(ROOT / "presets/mnist.yaml")
    student = params.student.model_copy(update={"max_shift": 2, "views": 5, "dropout": 0.3, "learning_rate": 0.01})
    nothing = TrainScratch(label_smoothing=0.0)
    assert plain_recipe(student, nothing) == shared_recipe(student)
    own = TrainScratch(label_smoothing=0.1, learning_rate=0.002, weight_decay=0.05, dropout=0.0, max_shift=0)
    recipe = plain_recipe(student, own)
    assert (recipe.training.learning_rate, recipe.training.weight_decay) == (0.002, 0.05)
    assert (recipe.training.epochs, recipe.training.batch_size) == (student.epochs, student.batch_size)
    assert (recipe.dropout, recipe.label_smoothing, recipe.augmentation) == (0.0, 0.1, Policy(0, False))


def test_plain_recipe_that_is_clearly_worse_is_told():
    same = {"val_accuracy": 0.98, "val_accuracy_std": 0.004}
    for accuracy, told in ((0.99, False), (0.976, False), (0.95, True)):
        words = doubt({"val_accuracy": accuracy, "val_accuracy_std": 0.004}, same, 6000)
        assert bool(words) == told
    one_seed = [{"val_accuracy": count / 6000, "val_accuracy_std": 0.0} for count in (5925, 5926)]
    assert doubt(*one_seed, 6000) == ""
    assert "95.00 % accurate with its own recipe, section train_scratch, and 98.00 %" in words


def test_accuracy_on_training_images_is_that_of_the_kept_weights(digits):
    images, labels = digits
    examples = Examples(images, labels, np.arange(200), augmentation=Policy(max_shift=2))
    built = build_model(spec("dense_800_800", dropout=0.5), 0)
    built.compile()
    expected = np.mean(built.predict(images[:200], verbose=0).argmax(axis=1) == labels[:200])
    assert training_accuracy(built, examples, 1000) == pytest.approx(expected)
    assert training_accuracy(built, examples, 50) == training_accuracy(built, examples, 50)


@pytest.mark.parametrize("weighed", [True, False])
def test_loss_without_smoothing_is_logged_beside_the_one_that_is_learned(digits, weighed):
    images, labels = digits[0][:300], digits[1][:300]
    own = build_model(spec("dense_128"), seed=0)
    weights = np.linspace(0.5, 1.5, 10, dtype=np.float32) if weighed else None
    compile_model(own, Training(epochs=1, batch_size=128, learning_rate=1e-9), 3, 0.2, weights)
    logged = own.fit(images, labels, batch_size=128, shuffle=False, verbose=0).history
    logits = own.predict(images, verbose=0).astype(np.float64)
    losses = -log_softmax(logits, axis=1)
    plain, even = losses[np.arange(300), labels], losses.mean(axis=1)
    of_image = weights[labels] if weighed else np.ones(300)
    assert logged["hard_loss"] == [pytest.approx(plain.mean(), rel=1e-4)]
    assert logged["loss"] == [pytest.approx((of_image * (0.8 * plain + 0.2 * even)).mean(), rel=1e-4)]


def test_epoch_means_are_over_all_seeds():
    labels = np.array([0, 1, 1])
    means = EpochMeans(labels, 2, seeds=2)
    first = Epoch(1, {"loss": 1.0, "val_accuracy": 1.0}, np.array([0, 1, 1]), 10)
    second = Epoch(1, {"loss": 3.0, "val_accuracy": 2 / 3}, np.array([0, 1, 0]), 20)
    assert means.add(first) is None
    mean = means.add(second)
    assert (mean.number, mean.ended, mean.metrics["loss"]) == (1, 20, 2.0)
    np.testing.assert_array_equal(mean.confusion, [[2, 0], [1, 3]])
    assert means.curves.to_dict("list") == {"epoch": [1], "loss": [2.0], "val_accuracy": [pytest.approx(5 / 6)]}


def test_several_devices_raise_input_error_where_keras_trains_on_one():
    with pytest.raises(
        InputError, match=r"student\.devices: found 2; accepted: 1 under tensorflow, .*KERAS_BACKEND=jax"
    ):
        SeedTrainer(spec("dense_128"), Training(**TRAINING, devices=2), 0, 1000)


def test_cross_validation_scores_fresh_students_on_held_out_images(digits):
    """Labels drawn at random can be learned by heart, not imitated on images that were held out."""
    training = Training(**TRAINING | {"epochs": 8})
    random = np.random.default_rng(0)
    drawn = 10 * np.eye(10, dtype=np.float32)[random.integers(10, size=1000)]
    data = training_set(digits)
    validation = CrossValidation(3, 0, spec("dense_800_800"), training, lambda model: Distiller(model, 1.0, 0.0))
    true = 10 * np.eye(10, dtype=np.float32)[data.examples.labels]
    for logits, low, high in ((true, 0.85, 1), (drawn, 0, 0.2)):
        with_logits = replace(data, examples=replace(data.examples, teacher={"logits": logits[np.newaxis]}))
        folds = list(validation.scores(with_logits))
        assert len(folds) == 3
        metrics = fold_metrics(folds)
        assert low <= metrics["agreement_with_teacher"] <= high
        assert metrics["accuracy"] == pytest.approx(np.mean([fold.accuracy for fold in folds]))


@pytest.fixture
def three_classes(tmp_path):
    labels = np.tile(np.arange(3, dtype=np.int32), 8)
    images = np.arange(24, dtype=np.uint8).reshape(24, 1, 1, 1)
    splits = dict.fromkeys(("train", "validation", "test"), (images, labels))
    save_prepared(tmp_path, "tiny", ["cat", "3", "犬"], "nowhere", splits)
    return tmp_path, labels


def test_a_fold_without_labels_counts_for_the_agreement_alone():
    metrics = fold_metrics([Fold(0.9, None, 1), Fold(0.7, 0.6, 2)])
    assert (metrics["agreement_with_teacher"], metrics["accuracy"]) == (pytest.approx(0.8), 0.6)


@pytest.mark.parametrize(
    ("shape", "count"), [((28, 28, 1), 1000), ((74, 74, 3), 1000), ((224, 224, 3), 111), ((4096, 4096, 3), 1)]
)
def test_few_photographs_are_predicted_at_once(shape, count):
    assert images_at_once(shape) == count


def test_images_are_predicted_in_the_order_asked_for(digits):
    images, wanted = digits[0], np.random.default_rng(0).permutation(1797)[:1500]
    found = predict_in_batches(lambda batch: batch.reshape(len(batch), -1).astype(np.float32), images, wanted)
    np.testing.assert_array_equal(found, images[wanted].reshape(1500, -1))


def test_omitted_classes_are_neither_learned_nor_used_for_the_choice(three_classes):
    folder, labels = three_classes
    data = load_training_set(folder, Policy(), 1, ["3"])
    np.testing.assert_array_equal(data.examples.indices, np.flatnonzero(labels != 1))
    assert set(data.validation.labels) == {0, 2}
    np.testing.assert_array_equal(data.validation.images[:, 0, 0, 0], data.examples.indices)
    assert len(data.examples.labels) == 24  # indices stay those of the teacher's logits
    whole = load_training_set(folder, Policy(max_shift=1), 3, [])
    assert (len(whole.examples.indices), len(whole.validation.labels), whole.examples.views.count) == (24, 24, 3)


def test_unknown_or_too_many_omitted_classes_raise_input_error(three_classes):
    folder, _ = three_classes
    with pytest.raises(InputError, match=r"student\.omit_classes: found 'dog'; accepted: names .*, cat, 3, 犬"):
        load_training_set(folder, Policy(), 1, ["dog"])
    with pytest.raises(InputError, match=r"student\.omit_classes: leaves 1 classes; accepted: 2 left"):
        load_training_set(folder, Policy(), 1, ["cat", "3"])


def test_students_with_the_same_recipe_are_recorded_beside_the_others(pipeline):
    metrics = json.loads((pipeline / "metrics/train_scratch.json").read_text())
    assert set(metrics["same_recipe"]) == set(metrics) - {"same_recipe"}
    run_id = tracked(pipeline, "workspace")["train_scratch"].info.run_id
    history = store(pipeline).get_metric_history(run_id, "same_recipe.val_accuracy")
    assert [point.step for point in history] == [1, 2, 3]
