"""Keras teachers from elsewhere: `.keras` and `.h5`, whatever scaling they hold; no code of theirs is run."""

import keras
import numpy as np
import pytest
from foreign import CLASSES, fit, info_of, pictures, probabilities, settings
from scipy.special import softmax

from distillery.data.errors import InputError
from distillery.teachers.conventions import convention
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

PARTS = {"train": pictures(seed=1), "validation": pictures(300, seed=2), "test": pictures(100, seed=3)}
INFO, TEST = info_of(PARTS), PARTS["test"].images
layers = keras.layers


def dense(pixels, **arguments) -> layers.Dense:
    """A layer with the weights that scikit-learn found."""
    model = fit(PARTS["train"], pixels)
    layer = layers.Dense(len(CLASSES), **arguments)
    layer.build((None, model.coef_.shape[1]))
    layer.set_weights([model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)])
    return layer


def taken(folder, file, **changes):
    found = take_teacher(settings(file, **changes), INFO, PARTS, folder / "teacher", "pictures")
    teacher = load_teacher(folder / "teacher")
    return found, teacher, softmax(teacher.outputs(TEST)["logits"].astype(float), axis=1)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("scaling", ["unit", "symmetric", "inside"])
@pytest.mark.parametrize("last", ["logits", "softmax", "nested"])
def test_files_scalings_and_outputs(tmp_path, suffix, scaling, last):
    pixels = convention("unit" if scaling == "inside" else scaling)
    inside = [layers.Rescaling(1 / 255)] if scaling == "inside" else []
    activation = None if last == "logits" else "softmax"
    own = keras.Sequential([keras.Input((8, 8, 3)), *inside, layers.Flatten(), dense(pixels, activation=activation)])
    if last == "nested":
        own = keras.Sequential([keras.Input((8, 8, 3)), own])
    own.save(tmp_path / f"own.{suffix}")
    found, teacher, answers = taken(tmp_path, tmp_path / f"own.{suffix}")
    assert found.comparison.alike[0] == ("raw" if scaling == "inside" else scaling)
    np.testing.assert_allclose(answers, probabilities(fit(PARTS["train"], pixels), TEST, pixels), atol=1e-5)
    assert teacher.runtime == "ONNX Runtime"
    assert teacher.parameters == own.count_params()
    assert teacher.bytes == (tmp_path / f"own.{suffix}").stat().st_size
    assert teacher.multiply_adds == 8 * 8 * 3 * len(CLASSES)


def test_half_precision_sums_to_one_closely_enough(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    own = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), dense(convention("unit"), activation="softmax")])
    keras.config.set_dtype_policy("float32")
    own.save(tmp_path / "own.keras")
    found, _, answers = taken(tmp_path, tmp_path / "own.keras", preprocessing="unit")
    assert found.described["outputs_are"] == "probabilities"
    model = fit(PARTS["train"], convention("unit"))
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=0.03)


def test_free_sizes_fixed_batches_and_several_outputs(tmp_path):
    pixels = convention("unit")
    model = fit(PARTS["train"], pixels)
    head = layers.Dense(len(CLASSES), name="logits")
    images = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(images)
    keras.Model(images, {"pooled": pooled, "classes": head(pooled)}).save(tmp_path / "free.keras")
    own = keras.models.load_model(tmp_path / "free.keras")
    weights = model.coef_.reshape(len(CLASSES), -1, 3).sum(axis=1).T
    own.get_layer("logits").set_weights([weights.astype(np.float32), model.intercept_.astype(np.float32)])
    own.save(tmp_path / "free.keras")
    for size in ("auto", 16):
        found, _, answers = taken(tmp_path, tmp_path / "free.keras", input_size=size)
        assert found.described["pixels"]["size"] == (None if size == "auto" else [16, 16])
        np.testing.assert_allclose(answers, probabilities(model, TEST, pixels), atol=1e-5 if size == "auto" else 0.05)
    fixed = keras.Input(batch_shape=(4, 8, 8, 3))
    keras.Model(fixed, dense(pixels)(layers.Flatten()(fixed))).save(tmp_path / "fixed.keras")
    _, _, answers = taken(tmp_path, tmp_path / "fixed.keras")
    np.testing.assert_allclose(answers, probabilities(model, TEST, pixels), atol=1e-5)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, suffix):
    ran, name = tmp_path / "ran", str(tmp_path / "ran")
    own = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Lambda(lambda x: (open(name, "w").close(), x)[1]), layers.Flatten()]
    )
    own.add(layers.Dense(len(CLASSES)))
    own.save(tmp_path / f"own.{suffix}")
    ran.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"own\.\w+: .*Lambda layer, which is code; accepted: Keras's own layers"):
        taken(tmp_path, tmp_path / f"own.{suffix}")
    assert not ran.exists()


def test_other_keras_files_are_refused_in_one_line(tmp_path):
    @keras.saving.register_keras_serializable(package="own")
    class Odd(layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((8, 8, 3)), Odd(), layers.Flatten(), layers.Dense(5)]).save(tmp_path / "odd.keras")
    keras.saving.get_custom_objects().clear()
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    keras.Model([one, two], layers.Dense(5)(layers.Flatten()(one + two))).save(tmp_path / "two.keras")
    (tmp_path / "none.h5").write_bytes(b"no model")
    keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()]).save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "two.keras").read_bytes()[:2000])
    for name, said in (
        (
            "odd.keras",
            "it has Odd, which is not Keras's own; accepted: .* write it as ONNX: model.export",
        ),
        ("cut.keras", r"cut.keras: .*no ZIP archive, perhaps cut short"),
        ("w.weights.h5", "it holds weights and no network; accepted: what `model.save` writes"),
        ("two.keras", "two.keras: it has 2 inputs; accepted: one, the images"),
        ("none.h5", "none.h5: not a Keras model that can be read"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            taken(tmp_path, tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("file", "kind"), [("saved_model.pb", "saved-model"), ("model.tflite", "tflite")])
def test_files_of_tensorflow_are_refused_with_the_command_that_converts_them(tmp_path, file, kind):
    (tmp_path / file).touch()
    own = tmp_path if kind == "saved-model" else tmp_path / file
    with pytest.raises(InputError, match=rf"python -m tf2onnx\.convert --{kind} {own} --output teacher\.onnx; then"):
        taken(tmp_path, own)
