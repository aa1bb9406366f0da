"""Images without a label: they are prepared apart, and teach by the soft loss alone."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import model, spec
from PIL import Image
from scipy.special import log_softmax, softmax

from distillery.data.prepared import Joined, load_info, load_shown, load_split, save_prepared
from distillery.datasets.duplicates import without_duplicates
from distillery.datasets.folder_layout import list_images
from distillery.datasets.image_folder import read_folder
from distillery.distillation.distiller import Distiller
from distillery.learning.augmentation import Policy
from distillery.learning.batches import Batches
from distillery.learning.settings import Training
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import load_training_set


def write(path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)


@pytest.fixture
def folder(tmp_path):
    root, value = tmp_path / "photos", 0
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                write(root / part / name / f"{number}.png", value)
                value += 1
    for number, place in enumerate(["a.png", "b.png", "deep/er/c.png", "deep/d.png"]):
        write(root / "unlabelled" / place, 200 + number)
    write(root / "unlabelled/of_the_test.png", value - 1)
    write(root / "unlabelled/of_train.png", 0)
    return root


def test_unlabelled_images_are_a_part_beside_train_and_never_the_tests(folder, capsys):
    dataset = read_folder(str(folder), 8, 0.2)
    assert dataset.classes == ["cat", "dog"]
    assert dataset.files["unlabelled"] == [
        "unlabelled/a.png",
        "unlabelled/b.png",
        "unlabelled/of_the_test.png",
        "unlabelled/of_train.png",
        "unlabelled/deep/d.png",
        "unlabelled/deep/er/c.png",
    ]
    for duplicates in ("leave_out", "keep", "refuse"):
        kept, *_ = without_duplicates(dataset, duplicates)
        said = capsys.readouterr().out
        assert "no picture with a label occurs twice" in said
        assert "left out of unlabelled, since they are in train, validation, test, too: 2 images" in said
        assert [image[0, 0, 0] for image in kept.unlabelled_images] == [200, 201, 203, 202]
        assert len(kept.files["unlabelled"]) == 4


@pytest.mark.parametrize("duplicates", ["leave_out", "keep"])
def test_without_images_of_its_own_there_is_no_such_part(folder, tmp_path, duplicates):
    for path in (folder / "unlabelled").rglob("*.png"):
        if not path.name.startswith("of_"):
            path.unlink()
    kept, *_ = without_duplicates(read_folder(str(folder), 8, 0.2), duplicates)
    assert kept.unlabelled_images is None


def test_elsewhere_unlabelled_is_the_name_of_a_class(tmp_path):
    for name in ("cat", "unlabelled"):
        for number in range(4):
            write(tmp_path / name / f"{number}.png", number)
    classes, parts = list_images(str(tmp_path))
    assert classes == ["cat", "unlabelled"]
    assert list(parts) == ["train"]


def test_joined_images_are_those_of_the_parts():
    random = np.random.default_rng(0)
    parts = [random.integers(256, size=(count, 3, 2, 1), dtype=np.uint8) for count in (5, 1, 7)]
    joined, whole = Joined(parts), np.concatenate(parts)
    assert (len(joined), joined.shape) == (13, whole.shape)
    for chosen in (slice(None), slice(3, 9), slice(0, 1), np.array([12, 0, 5, 5]), np.array([], int)):
        np.testing.assert_array_equal(joined[chosen], whole[chosen])


@pytest.fixture
def prepared(digits, tmp_path):
    """Digits, of which 300 have labels and 500 none."""
    images, labels = digits
    splits = {"train": (images[:300], labels[:300]), "unlabelled": (images[300:800], np.full(500, -1, np.int32))}
    splits |= dict.fromkeys(("validation", "test"), (images[800:1000], labels[800:1000]))
    save_prepared(tmp_path / "prepared", "digits", [str(digit) for digit in range(10)], "", splits)
    return tmp_path / "prepared"


@pytest.mark.parametrize("policy", [Policy(1), Policy(1, mixup=0.4, cutmix=1.0)])
def test_students_with_and_without_a_teacher_see_the_same_views_of_labelled_images(prepared, policy):
    assert load_info(prepared).sizes["unlabelled"] == 500
    distilled = load_training_set(prepared, policy, 3, [], unlabelled=True)
    scratch = load_training_set(prepared, policy, 3, [])
    assert len(load_shown(prepared).labels) == len(distilled.examples.shown()) == 800
    assert len(scratch.examples.shown()) == 300
    assert distilled.digest != scratch.digest
    assert scratch.digest == load_split(prepared, "train").digest
    for number in (1, 2):
        same = [
            of.examples.views.show(of.examples.images[:300], np.arange(300), number, of.examples.images)
            for of in (distilled, scratch)
        ]
        np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("policy", [Policy(1), Policy(1, mixup=0.4)])
@pytest.mark.parametrize("method", ["kd", "dkd"])
def test_losses_are_those_of_the_formula(prepared, policy, method):
    """The hard loss counts the known parts of labels alone; without one, the teacher's class counts."""
    data = load_training_set(prepared, policy, 2, [], unlabelled=True)
    logits = np.random.default_rng(0).normal(size=(2, 800, 10)).astype(np.float32)
    data.examples.teacher["logits"] = logits
    student = model("dense_128", seed=1)
    distiller = Distiller(student, temperature=4.0, alpha=0.25, soft_loss=method)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"])
    for images, targets in Batches(data.examples, 100, seed=0, segment_bytes=10_000).segments(1):
        known = targets["labels"].sum(axis=1)
        assert 0 < (known == 0).sum() < 100
        found = distiller.evaluate(images, targets, batch_size=len(images), verbose=0, return_dict=True)
        predicted = student.predict_on_batch(images).astype(np.float64)
        hard = -np.mean((targets["labels"] * log_softmax(predicted, axis=1)).sum(axis=1))
        assert found["hard_loss"] == pytest.approx(hard, abs=1e-4)
        if method == "kd":
            teacher, own = log_softmax(targets["logits"] / 4.0, axis=1), log_softmax(predicted / 4.0, axis=1)
            soft = 16 * np.mean((np.exp(teacher) * (teacher - own)).sum(axis=1))
        else:
            soft = 16 * _decoupled(targets, predicted)
        assert found["soft_loss"] == pytest.approx(soft, abs=1e-3)
        of_teacher, of_label = targets["logits"].argmax(axis=1), targets["labels"].argmax(axis=1)
        correct = predicted.argmax(axis=1) == np.where(known > 0, of_label, of_teacher)
        assert found["accuracy"] == pytest.approx(correct.mean(), abs=1e-6)


def _decoupled(targets: dict, predicted: np.ndarray) -> float:
    """Zhao et al. 2022, equation 7, with alpha 1 and beta 8, image by image."""
    of_images = []
    for parts, teacher, student in zip(targets["labels"], targets["logits"], predicted, strict=True):
        label = int(parts.argmax()) if parts.sum() > 0 else int(teacher.argmax())
        p, q = softmax(teacher.astype(np.float64) / 4), softmax(student / 4)
        pair_p, pair_q = np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]])
        rest_p, rest_q = np.delete(p, label) / pair_p[1], np.delete(q, label) / pair_q[1]
        of_images.append((pair_p * np.log(pair_p / pair_q)).sum() + 8 * (rest_p * np.log(rest_p / rest_q)).sum())
    return float(np.mean(of_images))


def test_a_student_learns_from_them(prepared, digits, tmp_path):
    """With a teacher that is always correct, 500 more images help a student that has 300."""
    data = load_training_set(prepared, Policy(1), 2, [], unlabelled=True)
    sure = 8 * np.eye(10, dtype=np.float32)[digits[1][:800]]
    data.examples.teacher["logits"] = np.stack([sure, sure])
    training = Training(epochs=6, batch_size=32, learning_rate=0.003)
    accuracies = {}
    for name, indices in (("with", np.arange(800)), ("without", np.arange(300))):
        shown = replace(data, examples=replace(data.examples, indices=indices))
        trainer = SeedTrainer(spec("dense_128"), training, 0, len(indices), lambda model: Distiller(model, 2.0, 0.1))
        (student,) = train_students(trainer, [0], shown, tmp_path / name, lambda seed, epoch: None)
        accuracies[name] = student.result.epochs[-1].metrics["val_accuracy"]
        assert 0 < student.training_accuracy <= 1
    assert accuracies["with"] > accuracies["without"] + 0.02
