"""Distiller, batches, models and training, on real digits."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_digits

from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.distillation.cross_validation import cross_validate
from distillery.distillation.distiller import Distiller, method
from distillery.distillation.soft_losses import dist_loss, dkd_loss, kd_loss
from distillery.distillation.transfer_set import HALF_PRECISION_FROM, compact, load_transfer, save_transfer
from distillery.learning.augmentation import show, stored_offsets
from distillery.learning.batches import Batches
from distillery.learning.mapped import MappedPages, mapped_bytes
from distillery.learning.models import as_teacher, build_model, load_model, save_model, served_copy
from distillery.learning.optimizer import FusedAdam
from distillery.learning.prediction import predict_logits
from distillery.learning.training import assess, compile_model, fit, train_epoch
from distillery.students.train import load_students, predict_students, save_choice, train_students
from distillery.students.training_set import TrainingSet
from pipeline.params import TRAINED, Distill, Student, TrainTeacher

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
    "compilation": "auto",
    "steps_per_execution": 64,
    "devices": 1,
}
VIEWS = {"jitter": 0, "flip": False, "views": 1, "omit_classes": []}
OWN = {"model": TRAINED, "softmax_temperature": 1.0, "max_norm": 0.0, "flip": False}


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


def epoch_of(batches: Batches, number: int):
    """The images of an epoch, in their order, their labels and the teacher's logits for them."""
    segments = list(batches.segments(number))
    images, labels, logits = (
        np.concatenate(parts)
        for parts in zip(
            *((images, targets["labels"], targets["teacher_logits"]) for images, targets in segments), strict=True
        )
    )
    return images, labels, logits


@pytest.mark.parametrize("segment_bytes", [1, 50_000, 2**28])
def test_every_epoch_has_every_image_once_with_its_own_label_and_logits(digits, segment_bytes):
    images, labels = digits
    logits = np.arange(len(labels) * 10, dtype=np.float32).reshape(-1, 10)
    batches = Batches(
        images, labels, 100, seed=3, teacher_logits=logits[np.newaxis], segment_bytes=segment_bytes, jitter=0
    )
    sizes = [len(shown) for shown, _ in batches.segments(1)]
    assert {size % 100 for size in sizes[:-1]} <= {0}
    assert max(sizes) <= max(100, segment_bytes / (64 + 40))
    orders = []
    for epoch in (1, 2):
        shown, shown_labels, shown_logits = epoch_of(batches, epoch)
        index = shown_logits[:, 0].astype(int) // 10
        np.testing.assert_array_equal(np.sort(index), np.arange(len(labels)))
        np.testing.assert_array_equal(shown, images[index])
        np.testing.assert_array_equal(shown_labels, labels[index])
        orders.append(index)
    assert not np.array_equal(*orders)


def test_jittered_batches_depend_on_seed_epoch_and_batch_alone(digits):
    def images(seed, epoch, segment_bytes=2**28):
        batches = Batches(*digits, 50, seed=seed, jitter=2, segment_bytes=segment_bytes)
        return np.concatenate([shown for shown, _ in batches.segments(epoch)])

    np.testing.assert_array_equal(images(1, 3), images(1, 3, segment_bytes=10_000))
    assert not np.array_equal(images(1, 3), images(2, 3))
    assert not np.array_equal(images(1, 3), images(1, 4))


def test_on_several_devices_only_the_rest_of_an_epoch_is_left_out(digits):
    images, labels = digits
    logits = np.arange(len(labels), dtype=np.float32).reshape(1, -1, 1)
    batches = Batches(images, labels, 64, seed=3, teacher_logits=logits, devices=8)
    left_out = []
    for epoch in (1, 2):
        shown = epoch_of(batches, epoch)[2][:, 0].astype(int)
        assert len(shown) % 8 == 0
        left_out.append(set(range(len(labels))) - set(shown.tolist()))
        assert len(left_out[-1]) == len(labels) % 8 == 5
    assert left_out[0] != left_out[1]


def test_mapped_files_stay_within_their_budget_in_memory(tmp_path):
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (64, 2**20))[:] = 1
    order = np.random.default_rng(0).permutation(64)
    for budget, low, high in ((2**30, 60 * 2**20, 2**30), (8 * 2**20, 0, 16 * 2**20)):
        big = np.load(tmp_path / "big.npy", mmap_mode="r")
        pages = MappedPages([big], budget)
        before, most = mapped_bytes(), 0
        for start in range(0, 2**20, 2**12):
            for row in order:
                assert big[row, start] == 1
                pages.keep_to_budget()
                most = max(most, mapped_bytes() - before)
        assert low <= most <= high
        del big, pages


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


def fitted(digits, **changes):
    training = TrainTeacher(**(TRAINING | OWN | {"jitter": 1, "seed": 0} | changes))
    model = build_model(training.architecture, SHAPE, 10, dropout=training.dropout, seed=0)
    batches = Batches(*digits, training.batch_size, 0, jitter=training.jitter)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    seen = []
    result = fit(model, batches, *digits, training.epochs, on_epoch=seen.append)
    return model, result, seen


def test_fit_keeps_the_best_epoch_and_reports_each(digits):
    # a constant rate far too high for the last epochs to be the best
    model, result, seen = fitted(digits, epochs=4, learning_rate=0.1, schedule="constant")
    accuracies = [epoch.metrics["val_accuracy"] for epoch in result.epochs]
    assert seen == result.epochs
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4]
    assert [np.mean(epoch.predictions == digits[1]) for epoch in seen] == accuracies
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
    compile_model(distiller, Student(**TRAINING, **VIEWS, seeds=[0]), 10, label_smoothing=None)
    batches = Batches(*digits, 64, 0, teacher_logits=logits[np.newaxis])
    with pytest.raises(InputError, match="training diverged: the loss is nan in epoch 1; lower learning_rate"):
        fit(distiller, batches, *digits, 2, on_epoch=lambda *_: None)


@pytest.mark.parametrize("distilled", [True, False])
def test_a_seeds_student_does_not_depend_on_the_other_seeds(digits, tmp_path, distilled):
    data = training_set(digits)
    logits = np.random.default_rng(0).normal(size=(1, 1000, 10)).astype(np.float32)
    for name, seeds in (("both", [4, 9]), ("alone", [9])):
        train_students(
            tmp_path / name,
            Student(**TRAINING, **VIEWS, seeds=seeds),
            10,
            data,
            lambda *_: None,
            distiller=(lambda student: Distiller(student, 4.0, 0.1)) if distilled else None,
            teacher_logits=logits if distilled else None,
        )
    assert (tmp_path / "both/seed_9.keras").read_bytes() == (tmp_path / "alone/seed_9.keras").read_bytes()
    assert (tmp_path / "both/seed_9.keras").read_bytes() != (tmp_path / "both/seed_4.keras").read_bytes()

    save_choice(tmp_path / "both", {4: 0.5, 9: 0.75}, ["3"], "digest")
    students = load_students(tmp_path / "both")
    assert (students.chosen_seed, students.omitted_classes, students.teacher_digest) == (9, ["3"], "digest")
    together = predict_students(students.models, data.validation.images)
    for row, student in zip(together, students.models.values(), strict=True):
        np.testing.assert_allclose(row, student.predict(data.validation.images, verbose=0), atol=1e-5)


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


@pytest.mark.parametrize(
    ("architecture", "shape", "trainable"),
    [
        ("dense_800_800", (28, 28, 1), 1_276_810),  # Hinton et al. 2015: 784-800-800-10
        ("dense_1200_1200", (28, 28, 1), 2_395_210),  # its teacher: 784-1200-1200-10
        ("cnn_256_512", (28, 28, 1), 1_433_610),  # the Keras code example
        ("cnn_16_32", (28, 28, 1), 20_490),
        ("cnn_pool5_dense_128", (28, 28, 1), 67_786),  # the MNIST showcase
        ("dense_128", (28, 28, 1), 101_770),
        ("cnn_dense_1200_1200", (28, 28, 1), 27_413_130),  # the soft-label notebook
        ("dense_10_10", (28, 28, 1), 8_070),
        ("vgg_64_128_256", (32, 32, 3), 3_249_098),  # the CIFAR-10 notebook
        ("cnn_32_64_dense_128", (32, 32, 3), 545_098),
    ],
)
def test_the_architectures_have_the_published_numbers_of_parameters(architecture, shape, trainable):
    model = build_model(architecture, shape, 10, dropout=0.5, seed=0)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable


def test_several_devices_are_refused_where_keras_trains_on_one(digits):
    with pytest.raises(
        InputError, match=r"student\.devices: found 2; accepted: 1 under tensorflow, .*KERAS_BACKEND=jax"
    ):
        train_students(
            Path("nowhere"),
            Student(**(TRAINING | {"devices": 2}), **VIEWS, seeds=[0]),
            10,
            training_set(digits),
            on_epoch=lambda *_: None,
        )


def test_images_too_small_for_an_architecture_are_told_in_one_line():
    with pytest.raises(
        InputError, match="architecture cnn_pool5_dense_128 does not fit images of 8 x 8 x 1: "
    ) as caught:
        build_model("cnn_pool5_dense_128", SHAPE, 10, dropout=0.0, seed=0)
    assert "\n" not in str(caught.value)


def test_the_keras_guides_networks_have_its_layers():
    model = build_model("cnn_256_512", (28, 28, 1), 10, dropout=0.0, seed=0)
    layers = {type(layer): layer for layer in model.layers}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(layer.filters, layer.kernel_size, layer.strides, layer.padding) for layer in convolutions] == [
        (256, (3, 3), (2, 2), "same"),
        (512, (3, 3), (2, 2), "same"),
    ]
    assert layers[keras.layers.LeakyReLU].negative_slope == pytest.approx(0.2)
    pooling = layers[keras.layers.MaxPooling2D]
    assert (pooling.pool_size, pooling.strides, pooling.padding) == ((2, 2), (1, 1), "same")


def test_the_softmax_temperature_is_in_the_model(digits):
    build = {"architecture": "dense_10_10", "image_shape": SHAPE, "classes": 10, "dropout": 0.0, "seed": 0}
    plain, tempered = (
        build_model(**build, softmax_temperature=temperature).predict_on_batch(digits[0][:20])
        for temperature in (1.0, 3.5)
    )
    np.testing.assert_allclose(tempered, plain / 3.5, rtol=1e-5)


def test_max_norm_bounds_the_incoming_weights_of_hidden_units(digits):
    training = TrainTeacher(**(TRAINING | OWN | {"jitter": 0, "seed": 0, "max_norm": 0.5, "learning_rate": 0.05}))
    model = build_model(training.architecture, SHAPE, 10, dropout=0.0, seed=0, max_norm=0.5)
    batches = Batches(*digits, training.batch_size, 0)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    fit(model, batches, *digits, 1, on_epoch=lambda *_: None)
    *hidden, logits = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for layer in hidden:
        norms = np.linalg.norm(layer.get_weights()[0], axis=0)
        assert norms.max() == pytest.approx(0.5, abs=1e-4)
    assert np.linalg.norm(logits.get_weights()[0], axis=0).min() > 0.5


def own_model(*layers) -> keras.Model:
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Rescaling(1 / 255), *layers])


def test_an_own_teacher_gives_logits_whatever_it_gives_itself(digits, tmp_path):
    images = digits[0][:50]
    dense = keras.layers.Dense(10)
    plain = own_model(dense)
    expected = plain.predict_on_batch(images)
    for name, model in {
        "logits": plain,
        "probabilities": own_model(dense, keras.layers.Softmax()),
        "nested": keras.Sequential([keras.Input(SHAPE), own_model(dense, keras.layers.Activation("softmax"))]),
    }.items():
        model.save(tmp_path / f"{name}.keras")
        teacher = as_teacher(load_model(tmp_path / f"{name}.keras"), images, 10, "own.keras")
        save_model(teacher, tmp_path / "teacher.keras")
        found = load_model(tmp_path / "teacher.keras").predict_on_batch(images)
        np.testing.assert_allclose(keras.ops.softmax(found), keras.ops.softmax(expected), atol=1e-5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    rough = own_model(keras.layers.Dense(10), keras.layers.Softmax())
    keras.config.set_dtype_policy("float32")
    rough.set_weights(plain.get_weights())
    found = predict_logits(as_teacher(rough, images, 10, "own.keras"), images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(keras.ops.softmax(found), keras.ops.softmax(expected), atol=0.02)
    fitted, logits = assess(teacher, Split(*digits, ""), Split(*digits, ""))
    metrics, right = fitted.epochs[0].metrics, teacher.predict(digits[0], verbose=0).argmax(1) == digits[1]
    assert metrics["accuracy"] == metrics["val_accuracy"] == np.mean(right)
    np.testing.assert_array_equal(logits.argmax(axis=1) == digits[1], right)


def test_an_own_teacher_that_does_not_fit_is_told_in_one_line(digits):
    dense = keras.layers.Dense(10)
    model = own_model(dense)
    for images, classes, told in (
        (np.zeros((2, 28, 28, 1), np.uint8), 10, r"own\.keras: it takes images of shape \(8, 8, 1\), .* \(28, 28, 1\)"),
        (digits[0][:2], 7, r"own\.keras: it gives outputs of shape \(10,\), the data set has 7 classes"),
    ):
        with pytest.raises(InputError, match=told):
            as_teacher(model, images, classes, "own.keras")
    two = keras.Model(model.inputs, [model.outputs[0], model.outputs[0] * 2])
    with pytest.raises(InputError, match=r"own\.keras: it has 1 inputs, 2 outputs"):
        as_teacher(two, digits[0][:2], 10, "own.keras")


def test_a_model_file_has_the_same_bytes_in_every_process(tmp_path):
    script = (
        "import sys; from distillery.learning.models import build_model, save_model\n"
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


def test_transfer_logits_are_those_of_these_views_of_these_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offsets = stored_offsets(4, 2, 1, True)
    with pytest.raises(InputError, match="no such file; run `dvc repro transfer`"):
        load_transfer(3, "images", offsets)
    logits = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    save_transfer(logits, 3, "teacher", "images", offsets)
    found, teacher_digest = load_transfer(3, "images", offsets)
    np.testing.assert_array_equal(found, logits)
    assert teacher_digest == "teacher"
    with pytest.raises(InputError, match="belong to other training images"):
        load_transfer(3, "others", offsets)
    for other in (stored_offsets(4, 3, 1, True), stored_offsets(4, 2, 2, True), stored_offsets(4, 2, 1, False)):
        with pytest.raises(InputError, match=r"belong to other views than student\.views"):
            load_transfer(3, "images", other)
    with pytest.raises(InputError, match="found shape"):
        load_transfer(5, "images", offsets)
    array = tmp_path / "data/transfer/logits.npy"
    array.write_bytes(array.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        load_transfer(3, "images", offsets)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_half_precision_changes_no_prediction_and_hardly_a_probability(temperature):
    logits = np.random.default_rng(0).normal(scale=6, size=(2000, 1000)).astype(np.float32) + 50
    kept = compact(logits)
    assert kept.dtype == np.float16
    np.testing.assert_array_equal(kept.argmax(axis=1), logits.argmax(axis=1))
    exact, found = (softmax(values.astype(np.float64) / temperature, axis=1) for values in (logits, kept))
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=1e-9)
    assert np.abs(found - exact).sum(axis=1).max() < 2e-3
    far = compact(np.array([[0, 1e6, -1e30]], np.float32))
    np.testing.assert_array_equal(softmax(far.astype(np.float64), axis=1), [[0, 1, 0]])


def test_logits_of_many_classes_are_kept_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offsets = stored_offsets(50, 2, 1, False)
    for classes, dtype in ((HALF_PRECISION_FROM - 1, np.float32), (HALF_PRECISION_FROM, np.float16)):
        logits = np.random.default_rng(0).normal(size=(2, 50, classes)).astype(np.float32)
        save_transfer(iter(logits), classes, "teacher", "images", offsets)
        found, _ = load_transfer(classes, "images", offsets)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.argmax(axis=2), logits.argmax(axis=2))


def training_set(digits, views: int = 1, omitted: int | None = None) -> TrainingSet:
    images, labels = digits
    return TrainingSet(
        Split(images[:1000], labels[:1000], ""),
        np.flatnonzero(labels[:1000] != omitted),
        stored_offsets(1000, views, 1, False),
        Split(images[1000:], labels[1000:], ""),
    )


def test_each_view_is_shown_with_its_own_logits(digits):
    """Every epoch has each image that is not left out once; over as many epochs as there are views, each view once."""
    data = training_set(digits, views=3, omitted=7)
    logits = np.arange(3 * 1000, dtype=np.float32).reshape(3, 1000, 1)
    batches = Batches(
        data.train.images, data.train.labels, 64, 5, among=data.among, offsets=data.offsets, teacher_logits=logits
    )
    seen = []
    for epoch in (1, 2, 3):
        images, labels, own_logits = epoch_of(batches, epoch)
        views, rows = np.divmod(own_logits[:, 0].astype(int), 1000)
        np.testing.assert_array_equal(images, show(data.train.images[rows], data.offsets[views, rows]))
        np.testing.assert_array_equal(labels, data.train.labels[rows])
        seen += list(zip(views.tolist(), rows.tolist(), strict=True))
        assert len(seen) % len(data.among) == 0
    assert sorted(seen) == [(view, row) for view in range(3) for row in data.among]


def test_fit_shows_the_next_view_every_epoch(digits):
    """Through Keras itself, which cuts the batches."""
    data = training_set(digits, views=2)
    logits = np.repeat(np.arange(2, dtype=np.float32), 1000).reshape(2, 1000, 1)
    batches = Batches(data.train.images, data.train.labels, 64, 5, offsets=data.offsets, teacher_logits=logits)
    seen = []

    class Watcher(keras.Model):
        def train_step(self, data):
            images, targets = data
            seen.append((images.numpy(), targets["teacher_logits"].numpy()[:, 0]))
            return {"loss": 0.0}

    model = Watcher()
    model.compile(run_eagerly=True, jit_compile=False)
    for epoch in (1, 2, 3, 4):
        train_epoch(model, batches, epoch)
    views = np.concatenate([view for _, view in seen]).reshape(4, 1000)
    assert (views.mean(axis=1) == 0.5).all()
    shown = np.concatenate([images for images, _ in seen]).reshape(4, 1000, -1)
    for epoch in range(4):
        unshifted = {image.tobytes() for image in shown[epoch][views[epoch] == 0]}
        assert unshifted == {image.tobytes() for image in data.train.images[(epoch + 1) % 2 :: 2]}


def test_views_logits_agree_with_a_live_teacher_on_the_views(digits):
    data = training_set(digits, views=3)
    teacher = build_model("cnn", SHAPE, 10, dropout=0.5, seed=5)
    logits = np.stack([predict_logits(teacher, data.train.images, offsets) for offsets in data.offsets])
    batches = Batches(data.train.images, data.train.labels, 100, 5, offsets=data.offsets, teacher_logits=logits)
    images, _, own_logits = epoch_of(batches, 3)
    np.testing.assert_allclose(own_logits, predict_logits(teacher, images), atol=1e-5)


def test_cross_validation_scores_a_fresh_student_on_what_it_did_not_see(digits):
    """Labels drawn at random can be learned by heart, not imitated on images that were left out."""
    data = training_set(digits)
    student = Student(**(TRAINING | {"epochs": 8, "dropout": 0.0}), **VIEWS, seeds=[0])
    random = np.random.default_rng(0)
    drawn = 10 * np.eye(10, dtype=np.float32)[random.integers(10, size=1000)]
    for teacher_logits, low, high in ((10 * np.eye(10, dtype=np.float32)[data.train.labels], 0.85, 1), (drawn, 0, 0.2)):
        folds = list(
            cross_validate(3, student, 10, data, teacher_logits[np.newaxis], lambda model: Distiller(model, 1.0, 0.0))
        )
        assert len(folds) == 3
        assert low <= np.mean([agreement for _, agreement, _ in folds]) <= high


@pytest.mark.parametrize("name", ["kd", "dkd", "dist"])
def test_a_method_is_its_published_loss_with_its_weights(name):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 12, 5)).astype(np.float32)
    labels = random.integers(5, size=12)
    settings = Distill(
        method=name,
        temperature=3.0,
        t_squared=True,
        alpha=0.1,
        dkd_alpha=2.0,
        dkd_beta=3.0,
        dist_beta=4.0,
        dist_gamma=5.0,
        folds=0,
    )
    expected = {
        "kd": lambda: kd_loss(teacher, student, 3.0),
        "dkd": lambda: dkd_loss(labels, teacher, student, 3.0, 2.0, 3.0),
        "dist": lambda: dist_loss(teacher, student, 3.0, 4.0, 5.0),
    }[name]()
    assert float(method(settings)(labels, teacher, student, 3.0)) == pytest.approx(float(expected))


def test_without_t_squared_the_soft_loss_is_the_plain_divergence(digits, student):
    """The TensorFlow 2 example's loss: 0.5 · soft + 0.5 · hard."""
    images, labels = digits[0][:64], digits[1][:64]
    logits = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    own = student.predict_on_batch(images)
    plain = compiled(Distiller(student, 3.0, 0.5, t_squared=False))
    losses = plain.evaluate(images, {"labels": labels, "teacher_logits": logits}, return_dict=True, verbose=0)
    assert losses["soft_loss"] == pytest.approx(float(kd_loss(logits, own, 3.0)), rel=1e-4)
    assert losses["loss"] == pytest.approx(0.5 * losses["soft_loss"] + 0.5 * losses["hard_loss"], rel=1e-5)
