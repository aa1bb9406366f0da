"""What students start from: a file of weights, Keras's own of ImageNet, or a whole Keras model."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT, SHAPE, environment, spec

from distillery.data.errors import InputError
from distillery.data.files import file_digest
from distillery.data.prepared import DatasetInfo, Split
from distillery.learning.batches import Examples
from distillery.learning.models import build_model, student_spec
from distillery.learning.saving import load_model, save_model
from distillery.learning.settings import Training
from distillery.students.choice import load_students, save_choice
from distillery.students.train import SeedTrainer, starting_point

layers = keras.layers
SMALL = {"image_shape": (32, 32, 3), "width": 0.35}


def weights(model: keras.Model) -> list[np.ndarray]:
    """Return the weights of all layers but the last."""
    return model.get_weights()[:-2]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """MobileNetV3 as keras.applications publishes it, with weights that no seed draws, in each kind of file."""
    folder = tmp_path_factory.mktemp("published")
    keras.utils.set_random_seed(7)
    network = keras.applications.MobileNetV3Small(include_top=False, weights=None, alpha=0.35, input_shape=(64, 64, 3))
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.5, 1, weight.shape).astype(np.float32) for weight in network.get_weights()])
    network.save_weights(folder / "net.weights.h5")
    network.save(folder / "net_no_top.h5")
    network.save(folder / "net.keras")
    return folder, network.get_weights()


@pytest.mark.parametrize("name", ["net.weights.h5", "net_no_top.h5", "net.keras"])
def test_weights_of_a_file_land_in_the_network_and_the_seed_draws_the_head(published, name):
    folder, expected = published
    built = [build_model(spec("mobilenet_v3_small", weights=str(folder / name), **SMALL), seed) for seed in (0, 1)]
    for model in built:
        assert_equal(weights(model), expected)
    heads = [model.get_layer("logits").kernel.numpy() for model in built]
    drawn = build_model(spec("mobilenet_v3_small", **SMALL), 0).get_layer("logits").kernel.numpy()
    assert not np.array_equal(*heads)
    np.testing.assert_array_equal(heads[0], drawn)


def test_a_student_starts_from_another_student_whatever_its_head(tmp_path):
    former = build_model(replace(spec("resnet_20", width=0.5), classes=3), seed=5)
    save_model(former, tmp_path / "former.keras")
    built = build_model(spec("resnet_20", width=0.5, weights=str(tmp_path / "former.keras")), seed=0)
    assert_equal(weights(built), weights(former))
    assert built.output_shape == (None, 10)


@pytest.mark.parametrize(
    ("architecture", "width", "file"),
    [
        ("mobilenet_v3_small", 0.5, "net.keras"),
        ("mobilenet_v3_small", 0.5, "net_no_top.h5"),
        ("mobilenet_v2", 0.35, "net.weights.h5"),
        ("dense_128", 1.0, "net.weights.h5"),
        ("mobilenet_v3_small", 0.35, "damaged.keras"),
        ("mobilenet_v3_small", 0.35, "damaged.weights.h5"),
    ],
)
def test_weights_of_another_network_raise_input_error(published, tmp_path, architecture, width, file):
    folder, _ = published
    if file.startswith("damaged"):
        folder = tmp_path
        (folder / file).write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"student\.weights: .* does not fit .*; accepted: weights of") as caught:
        build_model(spec(architecture, (32, 32, 3), width=width, weights=str(folder / file)), 0)
    assert "\n" not in str(caught.value)


def first_weights(trainer: SeedTrainer, seed: int, examples: Examples) -> list[np.ndarray]:
    """A student's weights before its first step, which a learning rate of almost nothing does not change."""
    validation = Split(examples.images, examples.labels, "")
    return trainer.train(seed, examples, validation, lambda _: None, None)[0].get_weights()


def test_distilled_and_scratch_start_from_the_same_weights(digits, normalised, tmp_path):
    former = build_model(spec(normalised), seed=5)
    former.save_weights(tmp_path / "former.weights.h5")
    training = Training(epochs=1, batch_size=50, learning_rate=1e-12)
    examples = Examples(digits[0][:50], digits[1][:50])
    found = []
    for dropout, smoothing in ((0.0, 0.0), (0.5, 0.1)):
        own = spec(normalised, dropout=dropout, weights=str(tmp_path / "former.weights.h5"))
        trainer = SeedTrainer(own, training, 3, 50, label_smoothing=smoothing)
        found.append([first_weights(trainer, seed, examples) for seed in (3, 4)])
    for first, second in zip(*found, strict=True):
        for one, other in zip(first, second, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    kernels = [weight for weight in former.get_weights() if weight.ndim == 4]
    for of_seed in found[0]:
        for one, other in zip((weight for weight in of_seed if weight.ndim == 4), kernels, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert not np.allclose(found[0][0][-2], found[0][1][-2], atol=1e-3)  # the heads


IMAGENET = """
from conftest import spec
from distillery.data.errors import InputError
from distillery.learning.models import build_model
try:
    build_model(spec("mobilenet_v3_small", (32, 32, 3), weights="imagenet"), 0)
except InputError as error:
    print(error)
"""


def test_imagenet_without_a_network_raises_one_line_that_names_the_file(offline):
    """Keras reads its cache's place when it is imported, and takes no file whose digest is another."""
    name, models = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5", offline / "keras/models"
    models.mkdir(parents=True)
    (models / name).write_bytes(b"half of it")
    answer = subprocess.run(
        [sys.executable, "-c", IMAGENET],
        env=environment(KERAS_HOME=str(offline / "keras"), PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        capture_output=True,
        text=True,
        check=True,
    )
    said = answer.stdout.strip().splitlines()[-1]
    assert said.startswith(f"student.weights: imagenet: {models / name} is not there whole, and cannot be fetched (")
    assert said.endswith(f"/{name} there, or name it as student.weights")


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("mobilenet_v3_small", {"width": 0.5, "weights": "imagenet"}, r"student\.width 0\.5: .*`0\.75`, `1\.0`"),
        ("mobilenet_v2", {"width": 0.6, "weights": "imagenet"}, r"student\.width 0\.6: .*`0\.35`, `0\.50`, `0\.75`"),
        ("resnet_50", {"width": 0.5}, r"student\.width: found 0\.5; accepted: 1\.0: .* takes no width"),
        ("dense_128", {"weights": "imagenet"}, r"student\.weights: found imagenet; accepted: none, or a file"),
    ],
)
def test_what_an_architecture_does_not_have_raises_input_error(architecture, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(spec(architecture, (32, 32, 3), **changes), 0)
    assert "\n" not in str(caught.value)


def own_model(units: int = 10, activation: str | None = None, dtype: str = "uint8", channels: int = 1) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(11)
    pixels = keras.Input((8, 8, channels), dtype=dtype)
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(pixels))
    x = layers.Flatten()(layers.BatchNormalization(momentum=0.999)(x))
    return keras.Model(pixels, layers.Dense(units, activation=activation)(layers.Dropout(0.2)(x)))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("float32", 1), ("float32", 3)])
def test_keras_file_to_start_from_keeps_its_answers(digits, tmp_path, precision, dtype, channels):
    own, path = own_model(10, "softmax", dtype, channels), tmp_path / "own.keras"
    own.save(path)
    built = build_model(spec(path), 0, precision)
    probabilities = own.predict_on_batch(np.repeat(digits[0][:50], channels, axis=3).astype(dtype))
    found = np.exp(built.predict_on_batch(digits[0][:50]))
    tolerance = 1e-5 if precision == "float32" else 0.02
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), probabilities, atol=tolerance)
    assert (built.input.dtype, built.output.dtype, built.name) == ("uint8", "float32", "own")
    inner = built.get_layer("features")
    assert {layer.compute_dtype for layer in inner.layers if layer.weights} == {precision.removeprefix("mixed_")}
    assert {layer.momentum for layer in inner.layers if isinstance(layer, layers.BatchNormalization)} == {0.9}
    save_model(built, tmp_path / "again.keras")
    answers = load_model(tmp_path / "again.keras").predict_on_batch(digits[0][:50])
    np.testing.assert_allclose(answers, built.predict_on_batch(digits[0][:50]), atol=1e-5)


def test_head_of_another_width_is_drawn_anew(tmp_path):
    own, path = own_model(3), tmp_path / "own.keras"
    own.save(path)
    built = [build_model(spec(path), seed) for seed in (0, 1)]
    for model in built:
        assert_equal(weights(model), own.get_weights()[:-2])
    assert not np.array_equal(built[0].get_layer("logits").kernel, built[1].get_layer("logits").kernel)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.Sequential([keras.Input(SHAPE), layers.Flatten()]), "its last layer is a Flatten; accepted"),
        (lambda: own_model(10, "sigmoid"), "its last layer is a Dense; accepted: a Dense layer of logits or of prob"),
        (lambda: keras.Sequential([keras.Input((64,)), layers.Dense(10)]), "accepted: a model with one input, "),
        (lambda: own_model(channels=3, dtype="uint8"), None),
        (
            lambda: keras.Sequential([keras.Input((9, 9, 1)), layers.Flatten(), layers.Dense(10)]),
            "does not fit images of 8 x 8 x 1",
        ),
        (
            lambda: keras.Sequential([keras.Input((8,)), layers.Lambda(lambda x: x), layers.Dense(10)]),
            "it has a Lambda layer, which is code",
        ),
    ],
)
def test_keras_file_that_is_no_classifier_of_images_raises_input_error(tmp_path, make, message):
    path = tmp_path / "own.keras"
    make().save(path)
    if message is None:  # grey images go into three equal channels
        assert build_model(spec(path), 0).input_shape == (None, 8, 8, 1)
        return
    with pytest.raises(InputError, match=message) as caught:
        build_model(spec(path), 0)
    assert "\n" not in str(caught.value)


INFO = DatasetInfo("digits", [str(digit) for digit in range(10)], (28, 28, 1), {}, {}, "", {})


def test_student_takes_images_of_its_size(tmp_path):
    section = SimpleNamespace(
        model="architectures/resnet_20.py", input_size="auto", dropout=0.1, width=0.5, weights="none"
    )
    found = student_spec(section, INFO)
    assert (found.image_shape, found.classes, found.dropout, found.width) == ((28, 28, 1), 10, 0.1, 0.5)
    assert starting_point(found, INFO) == {}
    section.input_size = 40
    found = student_spec(section, INFO, dropout=0.0)
    assert (found.image_shape, found.dropout, starting_point(found, INFO)) == (
        (40, 40, 1),
        0.0,
        {"prepared_size": [28, 28]},
    )
    own_model().save(tmp_path / "own.keras")
    section.model, section.input_size = str(tmp_path / "own.keras"), "auto"
    assert student_spec(section, INFO).image_shape == (8, 8, 1)


def test_students_whose_weights_file_has_changed_are_refused(tmp_path):
    path = tmp_path / "own.keras"
    path.write_bytes(b"weights")
    start = starting_point(spec("resnet_20", (28, 28, 1), weights=str(path)), INFO)
    assert start == {"weights_sha256": {str(path): file_digest(path)}}
    save_choice(tmp_path, {0: 0.5}, "val_accuracy", [], None, "float32", start)
    assert load_students(tmp_path).start == start
    path.write_bytes(b"others")
    with pytest.raises(InputError, match=r"own\.keras: changed since the students in .*--force --single-item"):
        load_students(tmp_path)
    path.unlink()
    assert load_students(tmp_path).start == start
