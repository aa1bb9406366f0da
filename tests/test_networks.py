"""The networks that phones run, and ResNet-20: sizes, pixels, batch normalisation and every exported format."""

from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, spec
from sklearn.linear_model import LogisticRegression

from distillery.data.errors import InputError
from distillery.export import litert, litert_int8, litert_model
from distillery.export.student import ExportedStudent
from distillery.learning.models import build_model
from distillery.learning.onnx_model import OnnxModel
from distillery.learning.onnx_writer import write_onnx
from distillery.learning.saving import load_model, save_model

SIDE = 32
applications = keras.applications


@cache
def freshly_built(architecture: str, channels: int, width: float = 1.0) -> keras.Model:
    """Return a network as its file describes it, which no test changes."""
    return build_model(spec(architecture, image_shape=(SIDE, SIDE, channels), width=width), seed=0)


@pytest.mark.parametrize(
    ("architecture", "width", "channels", "parameters"),
    [
        ("mobilenet_v3_small", 1.0, 3, 939_120),  # of keras.applications without the head
        ("mobilenet_v2", 1.0, 3, 2_257_984),
        ("mobilenet_v2", 0.35, 1, 410_208),
        ("efficientnet_v2_b0", 1.0, 1, 5_919_312),
        ("resnet_50", 1.0, 3, 23_587_712),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(architecture, width, channels, parameters):
    built = freshly_built(architecture, channels, width)
    head = built.get_layer("logits")
    assert built.count_params() - head.count_params() == parameters


def test_resnet_20_has_the_published_number_of_parameters():
    """He et al. 2016, table 6: 0.27 M; without parameters in the shortcuts 269,722."""
    built = build_model(spec("resnet_20", image_shape=(32, 32, 3)), seed=0)
    assert sum(int(np.prod(weight.shape)) for weight in built.trainable_weights) == 269_722
    convolutions = [layer for layer in built.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 19


@pytest.mark.parametrize(
    ("architecture", "preprocess"),
    [
        ("mobilenet_v2", applications.mobilenet_v2.preprocess_input),
        ("mobilenet_v3_small", lambda pixels: pixels / 127.5 - 1),  # built into Keras's, which is compared below
        ("resnet_50", applications.resnet50.preprocess_input),
        (
            "efficientnet_v2_b0",
            lambda pixels: (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_reach_the_network_as_keras_scales_them(architecture, preprocess, channels):
    built = freshly_built(architecture, channels)
    (scaling,) = [layer for layer in built.layers if isinstance(layer, keras.layers.Rescaling)]
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, channels)).astype(np.uint8)
    found = keras.Model(built.input, scaling.output).predict_on_batch(pixels)
    colours = np.repeat(pixels, 4 - channels, axis=3).astype(np.float32)
    np.testing.assert_allclose(found, preprocess(colours.copy()), atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "network"),
    [
        ("mobilenet_v3_small", applications.MobileNetV3Small),
        ("efficientnet_v2_b0", applications.EfficientNetV2B0),
    ],
)
def test_preprocessing_is_that_which_keras_builds_in(architecture, network):
    """The same weights in Keras's own network, with its own preprocessing, give the same features."""
    built = freshly_built(architecture, 3)
    theirs = network(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg")
    theirs.set_weights(built.get_weights()[:-2])
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)
    ours = keras.Model(built.input, built.get_layer("logits").input).predict_on_batch(pixels)
    expected = theirs.predict_on_batch(pixels.astype(np.float32))
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def two_kinds(architecture: str | Path, shape: tuple[int, int, int], width: float) -> tuple[keras.Model, np.ndarray]:
    """A model that tells two kinds of stripes, by a head fitted to its features, and the images."""
    built = build_model(spec(architecture, image_shape=shape, width=width), seed=0)
    random, labels = np.random.default_rng(0), np.arange(64) % 2
    stripes = np.indices(shape[:2])[labels] // 4 % 2
    images = (155 * stripes[..., np.newaxis] + random.integers(0, 100, (64, *shape))).astype(np.uint8)
    for _ in range(20):  # the moving statistics become the images'
        built(images, training=True)
    head = built.get_layer("logits")
    features = keras.Model(built.input, head.input).predict_on_batch(images)
    scale = features.std()
    fitted = LogisticRegression(C=0.1).fit(features / scale, labels)
    weights = np.concatenate([-fitted.coef_, fitted.coef_, np.zeros((8, features.shape[1]))]).T / scale
    head.set_weights([weights, np.concatenate([-fitted.intercept_, fitted.intercept_, np.full(8, -5.0)])])
    return built, images


@pytest.mark.parametrize(
    ("architecture", "shape", "width"),
    [
        pytest.param("mobilenet_v3_small", (32, 32, 3), 0.35, marks=pytest.mark.long),
        pytest.param("resnet_20", (8, 8, 1), 0.5, marks=pytest.mark.long),
        (None, (8, 8, 1), 1.0),
    ],
)
def test_network_answers_alike_in_every_format(architecture, shape, width, normalised, tmp_path):
    """Moving statistics that training has changed are in each; in 8 bits a class is mostly the same."""
    built, images = two_kinds(architecture or normalised, shape, width)
    path = tmp_path / "student.keras"
    moved = [weight.numpy() for weight in built.weights if weight.path.endswith("moving_mean")]
    assert moved
    assert all(np.abs(mean).max() > 0 for mean in moved)
    save_model(built, path)
    write_onnx(built, path.with_suffix(".onnx"), images)
    logits = built.predict_on_batch(images)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(load_model(path).predict_on_batch(images), logits, atol=1e-5 * scale)
    onnx = OnnxModel(path.with_suffix(".onnx"))
    assert onnx.image_shape == shape
    np.testing.assert_allclose(onnx.predict(images), logits, atol=1e-4 * scale)
    student = ExportedStudent(path, built, images)
    for writer, name, bound in ((litert, "f.tflite", 1e-4), (litert_int8, "i.tflite", 0.25)):
        writer.write(student, tmp_path / name)
        found = litert_model.load(tmp_path / name)(images)
        assert np.abs(found - logits).mean() < bound * scale, name
    assert np.mean(found.argmax(axis=1) == logits.argmax(axis=1)) > 0.8


def test_moving_statistics_follow_the_images_within_some_dozen_steps():
    """With Keras's own momentum MobileNetV3 learned digits by heart in 120 steps, and predicted one class."""
    for path in sorted(Path(ROOT / "architectures").glob("*net*.py")):
        built = freshly_built(path.stem, 1)
        normalised = [layer for layer in built.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert normalised
        assert {layer.momentum for layer in normalised} == {0.9}, path


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "mobilenet_v2", "efficientnet_v2_b0", "resnet_50"])
def test_images_too_small_for_a_network_raise_input_error(architecture):
    with pytest.raises(InputError, match=rf"{architecture}\.py does not fit images of 8 x 8 x 1: .*32") as caught:
        build_model(spec(architecture), seed=0)
    assert "\n" not in str(caught.value)
