"""The embeddings of teachers: what the last dense layer sees, whatever runs them, stored beside the logits."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from conftest import change_params, model, run, stages_run
from foreign import fit, info_of, pictures, settings, write_linear
from onnx import helper, numpy_helper

from distillery.data.errors import InputError
from distillery.distillation.transfer_set import half_precision
from distillery.teachers.conventions import convention
from distillery.teachers.inner_tensors import embedding_tensor
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher, save_teacher

PARTS = {"train": pictures(seed=1), "validation": pictures(300, seed=2), "test": pictures(1100, seed=3)}
INFO, TEST = info_of(PARTS), PARTS["test"].images
WITHOUT = ("Exp", "Relu", "GlobalAveragePool")  # operators between dense layer and output that give it a new meaning


def linear(folder, **arguments):
    return write_linear(folder / "own.onnx", fit(PARTS["train"], convention("unit")), INFO.image_shape, **arguments)


def taken(folder, path, **changes):
    take_teacher(settings(path, preprocessing="unit", **changes), INFO, PARTS, folder / "teacher", "pictures")
    return load_teacher(folder / "teacher")


def pixels_in(layout: str) -> np.ndarray:
    """What a classifier of flat pixels multiplies by its weights."""
    x = TEST / np.float32(255)
    return (x.transpose(0, 3, 1, 2) if layout == "nchw" else x).reshape(len(TEST), -1)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("gives", ["logits", "probabilities", "one sigmoid a class"])
@pytest.mark.parametrize(("batch", "external"), [(None, False), (None, True), (3, False)])
def test_onnx_gives_the_input_of_its_last_gemm(tmp_path, layout, gives, batch, external):
    teacher = taken(tmp_path, linear(tmp_path, layout=layout, gives=gives, batch=batch, external=external))
    outputs = teacher.outputs(TEST, ("embedding",))
    np.testing.assert_allclose(outputs["embedding"], pixels_in(layout), atol=1e-6)
    np.testing.assert_allclose(outputs["logits"], teacher.outputs(TEST)["logits"], atol=1e-4)


def test_onnx_gives_the_tensor_that_is_named(tmp_path):
    teacher = taken(tmp_path, linear(tmp_path), embedding="logits")
    outputs = teacher.outputs(TEST, ("embedding",))
    np.testing.assert_allclose(outputs["embedding"], outputs["logits"], atol=1e-5)
    other = taken(tmp_path / "other", linear(tmp_path))
    assert other.digest != teacher.digest


def test_an_unknown_tensor_is_refused_before_any_work(tmp_path):
    with pytest.raises(
        InputError, match=r"train_teacher.embedding: found 'pooled'; accepted: a tensor of .*\(logits\)"
    ):
        taken(tmp_path, linear(tmp_path), embedding="pooled")


def test_keras_and_its_onnx_file_give_the_same(tmp_path):
    """Both ways of a Keras file from elsewhere, and of a teacher that was trained here."""
    own = model("cnn_16_32", seed=3)
    images = np.random.default_rng(0).integers(0, 256, (1100, 8, 8, 1), dtype=np.uint8)
    last = [layer for layer in own.layers if isinstance(layer, keras.layers.Dense)][-1]
    expected = keras.Model(own.input, last.input).predict(images, verbose=0)
    save_teacher(own, tmp_path, images[:8], "float32")
    by_onnx = load_teacher(tmp_path).outputs(images, ("embedding",))
    (tmp_path / "teacher.onnx").unlink()
    by_keras = load_teacher(tmp_path).outputs(images, ("embedding",))
    for outputs in (by_onnx, by_keras):
        np.testing.assert_allclose(outputs["embedding"], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(outputs["logits"], own.predict(images, verbose=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_keras_from_elsewhere(tmp_path, activation):
    linear_model = fit(PARTS["train"], convention("unit"))
    layer = keras.layers.Dense(5, activation=activation)
    own = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), layer])
    layer.set_weights([linear_model.coef_.T.astype(np.float32), linear_model.intercept_.astype(np.float32)])
    own.save(tmp_path / "own.keras")
    teacher = taken(tmp_path, tmp_path / "own.keras")
    np.testing.assert_allclose(teacher.outputs(TEST, ("embedding",))["embedding"], pixels_in("nhwc"), atol=1e-6)
    with pytest.raises(InputError, match=r"train_teacher.embedding: found 'flat'; .*own.keras is no ONNX file"):
        taken(tmp_path / "other", tmp_path / "own.keras", embedding="flat")


@pytest.mark.parametrize("operator", WITHOUT)
def test_no_dense_layer_is_said_in_one_line(tmp_path, operator):
    path = linear(tmp_path)
    own = onnx.load(path)
    own.graph.node[-1].output[0] = "before"
    own.graph.node.append(helper.make_node(operator, ["before"], ["logits"]))
    onnx.save(own, path)
    with pytest.raises(InputError, match=r"own.onnx: no dense layer was found before its output 'logits'") as caught:
        embedding_tensor(path, "logits")
    assert "\n" not in str(caught.value)


def test_a_bias_and_a_temperature_after_the_last_matmul_do_not_matter(tmp_path):
    """As tf2onnx and PyTorch's dynamo write a dense layer; weights that are transposed in the graph, too."""
    weights = np.ones((5, 4), np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["features"]),
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["features", "wt"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["sum"]),
        helper.make_node("Div", ["sum", "t"], ["divided"]),
        helper.make_node("Softmax", ["divided"], ["p"]),
    ]
    info = helper.make_tensor_value_info
    constants = {"w": weights, "bias": np.zeros(5, np.float32), "t": np.float32([2])}
    graph = helper.make_graph(
        nodes,
        "dense",
        [info("x", onnx.TensorProto.FLOAT, [None, 4])],
        [info("p", onnx.TensorProto.FLOAT, [None, 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph), tmp_path / "dense.onnx")
    assert embedding_tensor(tmp_path / "dense.onnx", "p") == "features"


def test_half_precision_that_does_not_reach_is_said():
    outputs = {"logits": np.zeros((2, 3)), "embedding": np.float32([[1, 2], [3, 1e5]])}
    with pytest.raises(InputError, match=r"the teacher's embedding reaches 1e.05; accepted: up to 65504"):
        half_precision(outputs)


@pytest.mark.long
def test_a_method_on_embeddings_in_the_real_pipeline(pipeline, tmp_path):
    """The transfer set gains them, and no method reads them unasked."""
    folder = shutil.copytree(pipeline, tmp_path / "clone", symlinks=True)
    refused = run(folder, "dvc", "exp", "run", "-S", "distill.method=sp", "distill", check=False)
    said = refused.stdout + refused.stderr
    assert "sp learns from the teacher's embedding, which is stored with transfer.embedding=true" in said
    assert "Traceback" not in said
    run(folder, "git", "checkout", "params.yaml")
    change_params(folder, {"transfer": {"embedding": True}, "distill": {"method": "sp", "alpha": 0.5}})
    assert stages_run(run(folder, "dvc", "repro", "distill")) == ["transfer", "distill"]
    described = json.loads((folder / "data/transfer/transfer.json").read_text())["outputs"]
    images = np.load(folder / "data/prepared/train_images.npy")
    expected = load_teacher(folder / "models/teacher").outputs(images, ("embedding",))["embedding"]
    stored = np.load(folder / "data/transfer/embedding.npy")
    assert described["embedding"]["dtype"] == "float16"
    np.testing.assert_allclose(stored[0], expected, rtol=2e-3, atol=1e-3)
