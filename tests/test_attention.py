"""The attention of feature maps, of teacher and student, against float64 NumPy and the maps themselves."""

import keras
import numpy as np
import onnx
import pytest
from conftest import model, spec
from onnx import helper, numpy_helper

from distillery import Distiller, build_model, load_method
from distillery.data.errors import InputError
from distillery.learning.inner_outputs import with_inner_outputs
from distillery.teachers.inner_tensors import feature_maps
from distillery.teachers.teacher import load_teacher, save_teacher


def normed(squares):
    return squares / np.linalg.norm(squares.reshape(len(squares), -1), axis=1)[:, np.newaxis, np.newaxis]


def value(teacher, student, weight=1.0):
    return np.asarray(load_method("at", weight=weight)(None, teacher, student, 1.0))


def test_is_the_mean_squared_difference_of_maps_of_one_size():
    random = np.random.default_rng(0)
    teacher, student = (normed(random.random((5, 4, 4)) ** 2) for _ in range(2))
    found = value({"attention_1": teacher.astype(np.float32)}, {"attention_1": student.astype(np.float32)}, 1000.0)
    np.testing.assert_allclose(found, 1000 * ((teacher - student) ** 2).mean(axis=(1, 2)), rtol=1e-4)


def test_the_larger_map_is_averaged_down():
    """Whole numbers of places by their means; and 3 to 2 by the areas that are shared."""
    random = np.random.default_rng(1)
    large, small = normed(random.random((5, 8, 8))), normed(random.random((5, 4, 4)))
    means = normed(large.reshape(5, 4, 2, 4, 2).mean(axis=(2, 4)))
    expected = ((means - small) ** 2).mean(axis=(1, 2))
    for teacher, student in ((large, small), (small, large)):
        found = value({"attention_1": teacher.astype(np.float32)}, {"attention_1": student.astype(np.float32)})
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    odd, two = normed(random.random((5, 3, 3))), normed(random.random((5, 2, 2)))
    areas = np.array([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    expected = ((normed(np.einsum("ai,bj,nij->nab", areas, areas, odd)) - two) ** 2).mean(axis=(1, 2))
    found = value({"attention_1": odd.astype(np.float32)}, {"attention_1": two.astype(np.float32)})
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_as_many_resolutions_as_both_have_are_added():
    random = np.random.default_rng(2)
    maps = [normed(random.random((5, 4, 4))).astype(np.float32) for _ in range(3)]
    one = value({"attention_1": maps[0]}, {"attention_1": maps[1]})
    both = value({"attention_1": maps[0], "attention_2": maps[1]}, {"attention_1": maps[1], "attention_2": maps[2]})
    beyond = value({"attention_1": maps[0], "attention_2": maps[2]}, {"attention_1": maps[1]})
    np.testing.assert_allclose(both, one + value({"attention_1": maps[1]}, {"attention_1": maps[2]}), rtol=1e-5)
    np.testing.assert_array_equal(beyond, one)


def networks():
    """ResNet-20 has three resolutions, MobileNetV3 more and squeeze-and-excitation, MobileNetV2 padding of its own."""
    return {
        "resnet_20": ((16, 16, 3), [(4, 4), (8, 8), (16, 16)]),
        "mobilenet_v2": ((32, 32, 3), [(2, 2), (4, 4), (8, 8), (16, 16)]),
        "mobilenet_v3_small": ((32, 32, 3), [(2, 2), (4, 4), (8, 8), (16, 16)]),
    }


@pytest.mark.parametrize("name", networks())
def test_keras_and_its_onnx_file_have_the_same_maps(tmp_path, name):
    shape, sizes = networks()[name]
    own = build_model(spec(name, shape, width=0.25), 3)
    images = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    found = with_inner_outputs(own, ["attention"], name).predict_on_batch(images)
    maps = {key: values for key, values in found.items() if key != "logits"}
    assert [maps[f"attention_{number}"].shape[1:] for number in range(1, len(maps) + 1)] == sizes
    save_teacher(own, tmp_path, images, "float32")
    by_onnx = load_teacher(tmp_path).outputs(images, ("attention", "embedding"))
    for key, values in maps.items():
        np.testing.assert_allclose(by_onnx[key], values, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(values.reshape(6, -1), axis=1), 1, rtol=5e-3)
    assert by_onnx["embedding"].shape == (6, own.layers[-1].input.shape[1])


def test_attention_is_of_the_last_maps_of_a_resolution():
    """After the activation, of the second of two convolutions."""
    pixels = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(pixels))
    last = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    own = keras.Model(pixels, keras.layers.Dense(3)(keras.layers.Flatten()(last)))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    squares = (keras.Model(pixels, last).predict_on_batch(images).astype(np.float64) ** 2).sum(axis=-1)
    found = with_inner_outputs(own, ["attention"], "mine").predict_on_batch(images)
    assert set(found) == {"logits", "attention_1"}
    np.testing.assert_allclose(found["attention_1"], normed(squares), atol=1e-5)


@pytest.mark.parametrize("opset", [11, 17])
def test_an_onnx_file_of_any_operator_set(tmp_path, opset):
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ],
        "small",
        [info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [info("logits", onnx.TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    assert feature_maps(path, (1, 3, 6, 6)) == {"r": 1}


def test_a_network_without_convolutions_is_refused(tmp_path):
    dense = model("dense_10_10")
    with pytest.raises(InputError, match=r"mine: it has no convolution, and so no feature maps"):
        with_inner_outputs(dense, ["attention"], "mine")
    save_teacher(dense, tmp_path, np.zeros((2, 8, 8, 1), np.uint8), "float32")
    with pytest.raises(InputError, match=r"teacher.onnx: no feature maps were found in it"):
        load_teacher(tmp_path).outputs(np.zeros((2, 8, 8, 1), np.uint8), ("attention",))


def test_distiller_learns_attention(digits):
    images, labels = digits[0][:64], digits[1][:64]
    student, teacher = model("cnn_16_32", seed=1), with_inner_outputs(model("cnn", seed=5), ["attention"], "cnn")
    distiller = Distiller(student, 4.0, 0.5, soft_loss="at")
    distiller.compile(optimizer=keras.optimizers.Adam(0.003), metrics=["accuracy"], jit_compile=False)
    targets = {"labels": labels, **teacher.predict_on_batch(images)}
    first, *_, last = (distiller.train_on_batch(images, targets, return_dict=True) for _ in range(40))
    assert last["soft_loss"] < 0.9 * first["soft_loss"]
