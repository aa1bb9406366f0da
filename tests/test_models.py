"""Models: architectures and files."""

import hashlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from conftest import ROOT, SHAPE, model, spec

from distillery import build_model, load_model, save_model
from distillery.data.errors import InputError
from distillery.learning.onnx_model import OnnxModel
from distillery.learning.onnx_writer import write_onnx
from distillery.teachers.teacher import load_teacher, save_teacher


@pytest.fixture
def student():
    return model("dense_800_800", seed=1)


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
    built = build_model(spec(architecture, image_shape=shape, dropout=0.5), seed=0)
    assert sum(int(np.prod(weight.shape)) for weight in built.trainable_weights) == trainable


def test_images_too_small_for_an_architecture_raise_input_error():
    with pytest.raises(
        InputError, match=r"architectures/cnn_pool5_dense_128\.py does not fit images of 8 x 8 x 1: "
    ) as caught:
        model("cnn_pool5_dense_128")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def features(pixels, dropout):\n    return pixels", "gave shape .*, expected \\(batch, units\\)"),
        ("def features(pixels, dropout):\n    return 1 / 0", "division by zero"),
        ("import nowhere_to_be_found", "cannot be run .*nowhere_to_be_found"),
        ("x = 1", "does not define a function `features`"),
        (
            "from keras import layers\ndef features(pixels, dropout):\n"
            "    return layers.Lambda(lambda x: x)(layers.Flatten()(pixels))",
            "found the layer Lambda; accepted: Keras's own layers",
        ),
        (
            "from keras import layers\nclass Mine(layers.Flatten):\n    pass\n"
            "def features(pixels, dropout):\n    return Mine()(pixels)",
            "found the layer Mine; accepted: Keras's own layers",
        ),
    ],
)
def test_own_architecture_that_is_invalid_raises_input_error(tmp_path, text, error):
    path = tmp_path / "own net.py"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"own net\.py.*{error}") as caught:
        build_model(spec(path), seed=0)
    assert "\n" not in str(caught.value)


def test_own_architecture_may_lie_anywhere(tmp_path):
    path = tmp_path / "mein Netz №1.py"
    path.write_text((ROOT / "architectures/dense_10_10.py").read_text())
    mine, theirs = build_model(spec(path), seed=0), model("dense_10_10")
    assert mine.name == "mein_Netz__1"
    for one, other in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    save_model(mine, tmp_path / "own.keras")
    assert load_model(tmp_path / "own.keras").count_params() == theirs.count_params()


def test_the_keras_guides_networks_have_its_layers():
    guide = model("cnn_256_512", image_shape=(28, 28, 1))
    layers = {type(layer): layer for layer in guide.layers}
    convolutions = [layer for layer in guide.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(layer.filters, layer.kernel_size, layer.strides, layer.padding) for layer in convolutions] == [
        (256, (3, 3), (2, 2), "same"),
        (512, (3, 3), (2, 2), "same"),
    ]
    assert layers[keras.layers.LeakyReLU].negative_slope == pytest.approx(0.2)
    pooling = layers[keras.layers.MaxPooling2D]
    assert (pooling.pool_size, pooling.strides, pooling.padding) == ((2, 2), (1, 1), "same")


def test_the_softmax_temperature_is_in_the_model(digits):
    plain, tempered = (
        model("dense_10_10", softmax_temperature=temperature).predict_on_batch(digits[0][:20])
        for temperature in (1.0, 3.5)
    )
    np.testing.assert_allclose(tempered, plain / 3.5, rtol=1e-5)


def test_teacher_gives_named_outputs_and_its_costs(digits, tmp_path, student):
    images = digits[0][:1500]  # more than a batch
    save_teacher(student, tmp_path, images[:20], "float32")
    content = (tmp_path / "teacher.keras").read_bytes()
    for runtime in ("ONNX Runtime", "Keras"):
        teacher = load_teacher(tmp_path)
        np.testing.assert_allclose(teacher.outputs(images)["logits"], student.predict(images, verbose=0), atol=1e-4)
        assert teacher.parameters == student.count_params()
        assert (teacher.bytes, teacher.digest) == (len(content), hashlib.sha256(content).hexdigest())
        assert teacher.runtime == runtime
        (tmp_path / "teacher.onnx").unlink(missing_ok=True)


def test_teacher_that_onnx_does_not_have_is_run_by_keras(digits, tmp_path, capsys):
    pixels = keras.Input(SHAPE, dtype="uint8")
    spectrum = keras.ops.fft2(
        (keras.ops.cast(pixels[..., 0], "float32"), keras.ops.zeros_like(pixels[..., 0], "float32"))
    )
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(spectrum[0]))
    teacher = keras.Model(pixels, logits)
    save_teacher(teacher, tmp_path, digits[0][:20], None)
    assert "cannot be written as ONNX" in capsys.readouterr().out
    loaded = load_teacher(tmp_path)
    np.testing.assert_allclose(
        loaded.outputs(digits[0][:20])["logits"], teacher.predict(digits[0][:20], verbose=0), rtol=1e-4
    )
    assert (loaded.runtime, loaded.multiply_adds) == ("Keras", None)


def test_multiply_adds_are_those_of_the_layers(digits, tmp_path):
    """By hand: a valid 3 x 3 convolution of 8 x 8 pixels gives 6 x 6 values a filter."""
    layers = keras.layers
    own = keras.Sequential([keras.Input(SHAPE, dtype="uint8"), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)])
    for layer in (layers.BatchNormalization(), layers.DepthwiseConv2D(3), layers.Flatten(), layers.Dense(7)):
        own.add(layer)
    own.add(layers.Dense(10))
    write_onnx(own, tmp_path / "own.onnx", digits[0][:20])
    found = OnnxModel(tmp_path / "own.onnx")
    assert found.multiply_adds == 6 * 6 * 4 * 9 + 4 * 4 * 4 * 9 + 4 * 4 * 4 * 7 + 7 * 10
    assert found.parameters == own.count_params()


def test_model_file_has_the_same_bytes_in_every_process(tmp_path):
    script = (
        "import sys; from distillery import ModelSpec, build_model, save_model\n"
        "spec = ModelSpec('architectures/cnn.py', (8, 8, 1), 10, dropout=0.5)\n"
        "save_model(build_model(spec, seed=3), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.keras"], cwd=ROOT, check=True)
    same = spec("cnn", dropout=0.5)
    for seed in (0, 0, 3):
        save_model(build_model(same, seed), tmp_path / "b.keras")
    first, second = ((tmp_path / f"{name}.keras").read_bytes() for name in "ab")
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    plain = keras.models.load_model(tmp_path / "a.keras")  # by Keras alone
    image = np.full((1, 8, 8, 1), 7, np.uint8)
    np.testing.assert_array_equal(
        plain.predict_on_batch(image), load_model(tmp_path / "b.keras").predict_on_batch(image)
    )


def test_damaged_and_foreign_model_files_raise_input_error(tmp_path, student):
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


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_code_in_a_model_file_is_not_run(tmp_path):
    lambda_model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    lambda_model.save(tmp_path / "lambda.keras")
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "lambda.keras")
    assert str(caught.value) == (
        f"{tmp_path}/lambda.keras: not a Keras model that can be read (it has a Lambda layer, which is code; accepted:"
        " Keras's own layers, since no code of a file is run; where its code is at hand, write it as ONNX:"
        " model.export('model.onnx', format='onnx'))"
    )
    keras.Sequential([keras.Input((2,)), Doubled()]).save(tmp_path / "own_layer.keras")
    with pytest.raises(InputError, match=r"can be read \(it has Doubled, which is not Keras's own; accepted: "):
        load_model(tmp_path / "own_layer.keras")


def test_a_failed_write_leaves_the_earlier_model(tmp_path, student, monkeypatch):
    path = tmp_path / "model.keras"
    save_model(student, path)
    before = path.read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(student, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
