"""Distiller, batches, models and training, on real digits."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from stages.data.prepared import Split
from stages.learning.architectures import cnn
from stages.learning.batches import Batches
from stages.learning.distiller import Distiller
from stages.learning.models import build_model, load_model, save_model, served_copy
from stages.learning.students import load_students, predict_students, save_choice, train_students
from stages.learning.training import compile_model, fit, predict_logits
from stages.learning.transfer import load_transfer, save_transfer
from stages.params import InputError, Student, TrainTeacher

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (8, 8, 1)
TRAINING = {
    "architecture": "dense_800_800",
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 0.003,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "dropout": 0.2,
    "precision": "float32",
}


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    return (bunch.images * 15).astype(np.uint8)[..., np.newaxis], bunch.target.astype(np.int32)


@pytest.fixture
def student():
    return build_model("dense_800_800", SHAPE, 10, dropout=0.0, seed=1)


def compiled(distiller: Distiller) -> Distiller:
    distiller.compile(optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"], jit_compile=False)
    return distiller


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.0), (4.0, 0.1), (20.0, 1.0)])
def test_cached_logits_and_a_live_teacher_give_the_same_losses_and_weights(digits, temperature, alpha):
    images, labels = digits[0][:64], digits[1][:64]
    teacher = build_model("cnn", SHAPE, 10, dropout=0.5, seed=5)
    teacher_logits = teacher.predict_on_batch(images)
    results = []
    for live in (True, False):
        student = build_model("dense_800_800", SHAPE, 10, dropout=0.0, seed=1)
        distiller = compiled(Distiller(student, temperature, alpha, teacher=teacher if live else None))
        targets = labels if live else {"labels": labels, "teacher_logits": teacher_logits}
        losses = distiller.train_on_batch(images, targets, return_dict=True)
        results.append((losses, student.get_weights()))
    (live_losses, live_weights), (cached_losses, cached_weights) = results
    assert set(live_losses) == {"loss", "hard_loss", "soft_loss", "accuracy"}
    for name, value in live_losses.items():
        assert float(value) == pytest.approx(float(cached_losses[name]), rel=1e-5), name
    for mine, other in zip(live_weights, cached_weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_the_logged_losses_add_up_and_are_means_over_the_images(digits, student):
    images, labels = digits[0][:100], digits[1][:100]
    logits = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    distiller = Distiller(student, 4.0, 0.3)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    targets = {"labels": labels, "teacher_logits": logits}
    history = distiller.fit(images, targets, batch_size=64, shuffle=False, verbose=0).history  # 64 and 36
    at_once = distiller.evaluate(images, targets, batch_size=100, return_dict=True, verbose=0)
    assert history["loss"][0] == pytest.approx(0.3 * history["hard_loss"][0] + 0.7 * history["soft_loss"][0], rel=1e-5)
    for name in ("hard_loss", "soft_loss"):
        assert history[name][0] == pytest.approx(at_once[name], rel=1e-4)


def test_a_live_teacher_is_neither_trained_nor_counted(digits, student):
    teacher = build_model("cnn", SHAPE, 10, dropout=0.5, seed=5)
    before = teacher.get_weights()
    distiller = compiled(Distiller(student, 4.0, 0.5, teacher=teacher))
    distiller.train_on_batch(digits[0][:32], digits[1][:32])
    assert len(distiller.trainable_variables) == len(student.trainable_variables)
    assert all(np.array_equal(mine, other) for mine, other in zip(before, teacher.get_weights(), strict=True))


def test_the_distiller_refuses_what_it_cannot_use(digits, student):
    with pytest.raises(ValueError, match="temperature must be above 0, found 0"):
        Distiller(student, 0, 0.5)
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, found 2"):
        Distiller(student, 1.0, 2)
    with pytest.raises(ValueError, match="no teacher_logits"):
        compiled(Distiller(student, 1.0, 0.5)).train_on_batch(digits[0][:8], digits[1][:8])


def test_every_epoch_has_every_image_once_with_its_own_label_and_logits(digits):
    images, labels = digits
    logits = np.arange(len(labels) * 10, dtype=np.float32).reshape(-1, 10)
    batches = Batches(images, labels, 100, seed=3, teacher_logits=logits)
    orders = []
    for _ in range(2):
        rows = [batches[number] for number in range(len(batches))]
        index = np.concatenate([targets["teacher_logits"][:, 0] for _, targets in rows]).astype(int) // 10
        np.testing.assert_array_equal(np.sort(index), np.arange(len(labels)))
        np.testing.assert_array_equal(np.concatenate([shown for shown, _ in rows]), images[index])
        np.testing.assert_array_equal(np.concatenate([targets["labels"] for _, targets in rows]), labels[index])
        orders.append(index)
        batches.on_epoch_end()
    assert not np.array_equal(*orders)


def test_jittered_batches_depend_on_seed_epoch_and_batch_alone(digits):
    def batches(seed):
        return Batches(*digits, 50, seed=seed, jitter_pixels=2)

    backwards, forwards = batches(1), batches(1)
    last_first = [backwards[number][0] for number in (3, 2, 1, 0)][::-1]
    np.testing.assert_array_equal(last_first, [forwards[number][0] for number in range(4)])
    assert not np.array_equal(batches(2)[0][0], forwards[0][0])


def fitted(digits, **changes):
    training = TrainTeacher(**(TRAINING | {"jitter": 1, "seed": 0} | changes))
    model = build_model(training.architecture, SHAPE, 10, dropout=training.dropout, seed=0)
    batches = Batches(*digits, training.batch_size, 0, jitter_pixels=training.jitter)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    seen = []
    result = fit(
        model, batches, *digits, training.epochs, on_epoch=lambda epoch, metrics, logits: seen.append((epoch, metrics))
    )
    return model, result, seen


def test_fit_keeps_the_best_epoch_and_reports_each(digits):
    # a constant rate far too high for the last epochs to be the best
    model, result, seen = fitted(digits, epochs=4, learning_rate=0.1, schedule="constant")
    accuracies = [metrics["val_accuracy"] for metrics in result.epochs]
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert result.best_epoch == int(np.argmax(accuracies)) + 1
    accuracy = np.mean(predict_logits(model, digits[0]).argmax(axis=1) == digits[1])
    assert accuracy == pytest.approx(max(accuracies))


def test_training_is_the_same_bytes_again(digits, tmp_path):
    for name in ("one", "two"):
        model, _, _ = fitted(digits)
        copy = served_copy(model, architecture="dense_800_800", image_shape=SHAPE, classes=10, dropout=0.2, seed=0)
        save_model(copy, tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_training_that_diverges_ends_in_one_line(digits, student):
    logits = np.full((len(digits[1]), 10), np.nan, np.float32)
    distiller = Distiller(student, 1.0, 0.0)
    compile_model(distiller, Student(**TRAINING, seeds=[0]), 10, label_smoothing=None)
    batches = Batches(*digits, 64, 0, teacher_logits=logits)
    with pytest.raises(InputError, match="training diverged: the loss is nan in epoch 1; lower learning_rate"):
        fit(distiller, batches, *digits, 2, on_epoch=lambda *_: None)


@pytest.mark.parametrize("distilled", [True, False])
def test_a_seeds_student_does_not_depend_on_the_other_seeds(digits, tmp_path, distilled):
    train = Split(digits[0][:1000], digits[1][:1000], "")
    validation = Split(digits[0][1000:], digits[1][1000:], "")
    logits = np.random.default_rng(0).normal(size=(1000, 10)).astype(np.float32)
    for name, seeds in (("both", [4, 9]), ("alone", [9])):
        train_students(
            tmp_path / name,
            Student(**TRAINING, seeds=seeds),
            10,
            train,
            validation,
            lambda *_: None,
            distiller=(lambda student: Distiller(student, 4.0, 0.1)) if distilled else None,
            teacher_logits=logits if distilled else None,
        )
    assert (tmp_path / "both/seed_9.keras").read_bytes() == (tmp_path / "alone/seed_9.keras").read_bytes()
    assert (tmp_path / "both/seed_9.keras").read_bytes() != (tmp_path / "both/seed_4.keras").read_bytes()

    save_choice(tmp_path / "both", {4: 0.5, 9: 0.75})
    students, chosen = load_students(tmp_path / "both")
    assert chosen == 9
    together = predict_students(students, validation.images)
    for row, student in zip(together, students.values(), strict=True):
        np.testing.assert_allclose(row, student.predict(validation.images, verbose=0), atol=1e-5)


def test_a_model_holds_its_preprocessing(digits, student):
    assert student.input.dtype == "uint8"
    assert student.output.dtype == "float32"
    dense = [layer for layer in student.layers if isinstance(layer, keras.layers.Dense)]
    x = digits[0][:50].reshape(50, -1) / 255
    for layer in dense:
        kernel, bias = layer.get_weights()
        x = x @ kernel + bias
        if layer is not dense[-1]:
            x = np.maximum(x, 0)
    np.testing.assert_allclose(student.predict_on_batch(digits[0][:50]), x, rtol=1e-3, atol=1e-4)


def test_parameter_counts():
    """The student of Hinton et al. 2015, 784-800-800-10, has 1,276,810 weights and biases."""
    assert build_model("dense_800_800", (28, 28, 1), 10, dropout=0.0, seed=0).count_params() == 1_276_810
    assert cnn.__name__ == build_model("cnn", (28, 28, 1), 10, dropout=0.0, seed=0).name


def test_a_model_file_has_the_same_bytes_in_every_process(tmp_path):
    script = (
        "import sys; from stages.learning.models import build_model, save_model\n"
        "for _ in range(int(sys.argv[2])): build_model('cnn', (8, 8, 1), 10, dropout=0.5, seed=0)\n"
        "save_model(build_model('cnn', (8, 8, 1), 10, dropout=0.5, seed=3), sys.argv[1])"
    )
    for name, built_before in (("a", "0"), ("b", "2")):
        subprocess.run([sys.executable, "-c", script, tmp_path / f"{name}.keras", built_before], cwd=ROOT, check=True)
    first, second = ((tmp_path / f"{name}.keras").read_bytes() for name in "ab")
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    plain = keras.models.load_model(tmp_path / "a.keras")  # by Keras alone
    image = np.full((1, 8, 8, 1), 7, np.uint8)
    np.testing.assert_array_equal(
        plain.predict_on_batch(image), load_model(tmp_path / "b.keras").predict_on_batch(image)
    )


def test_damaged_and_foreign_model_files_are_told_in_one_line(tmp_path, student):
    path = tmp_path / "model.keras"
    with pytest.raises(InputError, match="no such file"):
        load_model(path)
    save_model(student, path)
    whole = path.read_bytes()
    for content in (b"", b"not a model", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.keras: not a Keras model that can be read") as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


def test_code_in_a_model_file_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(InputError, match="not a Keras model that can be read"):
        load_model(tmp_path / "lambda.keras")


def test_a_failed_write_leaves_the_earlier_model(tmp_path, student, monkeypatch):
    path = tmp_path / "model.keras"
    save_model(student, path)
    before = path.read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(student, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_transfer_logits_are_those_of_these_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_transfer(4, 3, "images")
    logits = np.arange(12, dtype=np.float32).reshape(4, 3)
    save_transfer(logits, "teacher", "images")
    np.testing.assert_array_equal(load_transfer(4, 3, "images"), logits)
    with pytest.raises(InputError, match="belong to other training images"):
        load_transfer(4, 3, "others")
    with pytest.raises(InputError, match="found shape"):
        load_transfer(5, 3, "images")
    array = tmp_path / "data/transfer/logits.npy"
    array.write_bytes(array.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        load_transfer(4, 3, "images")
    shutil.rmtree(tmp_path / "data")
