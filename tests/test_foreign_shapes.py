"""Foreign ONNX files of unusual shapes, or of outputs that are no plain logits: the right numbers, or one line."""

import numpy as np
import onnx
import pytest
from foreign import CLASSES, fit, info_of, pictures, probabilities, settings, write_linear
from onnx import TensorProto, helper, numpy_helper
from scipy.special import softmax

from distillery.data.errors import InputError
from distillery.teachers.classes import matched
from distillery.teachers.conventions import convention
from distillery.teachers.outputs import kind_of, logits_of
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

PARTS = {"train": pictures(seed=1), "validation": pictures(300, seed=2), "test": pictures(100, seed=3)}
INFO, TEST = info_of(PARTS), PARTS["test"].images
UNIT = convention("unit")


def taken(folder, own, **changes):
    found = take_teacher(settings(own, **changes), INFO, PARTS, folder / "teacher", "pictures")
    logits = load_teacher(folder / "teacher").outputs(TEST)["logits"]
    return found.described, softmax(logits.astype(float), axis=1)


def write(path, shape, before=(-1, 192), after=(-1, 5), planes=True, outputs=("logits",)):
    """Write the linear classifier between reshapings to `before` and `after`."""
    model = fit(PARTS["train"], UNIT)
    weights = model.coef_.reshape(-1, 8, 8, 3)
    weights = (np.moveaxis(weights, -1, 1) if planes else weights).reshape(len(weights), -1).astype(np.float32)
    numbers = {"weights": weights, "bias": model.intercept_.astype(np.float32)}
    numbers |= {"before": np.array(before), "after": np.array(after)}
    nodes = [
        helper.make_node("Reshape", ["x", "before"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["gemm"], transB=1),
        helper.make_node("Reshape", ["gemm", "after"], ["logits"]),
        helper.make_node("ReduceMean", ["gemm"], ["mean"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        (["n", 3, 8, 8], {"before": [1, 192]}),  # the exporter fixed the batch inside
        (["n", 3, 8, 8], {"after": [1, -1]}),
        ([7, 3, 8, 8], {"before": [7, 192]}),
        (["n", 3, 8, 8], {"after": [-1, 5, 1, 1]}),
        (["n", 3, 8, 8], {"after": [-1, 1, 1, 5]}),
        (["n", 3, 8, 8], {"outputs": ["mean", "logits"]}),
        (["n", 3, 8, "w"], {}),
        ([None] * 4, {}),
        ([None] * 4, {"planes": False}),
        (["n", 192], {}),
        (["n", 192], {"planes": False}),
    ],
)
def test_shapes_that_say_little(tmp_path, shape, changes):
    described, answers = taken(tmp_path, write(tmp_path / "own.onnx", shape, **changes))
    np.testing.assert_allclose(answers, probabilities(fit(PARTS["train"], UNIT), TEST, UNIT), atol=1e-5)
    assert described["multiply_adds"] == 5 * 8 * 8 * 3


@pytest.mark.parametrize(
    ("shape", "changes", "said"),
    [
        (["n", 3, 8, 8], {"outputs": ["mean"]}, r"its outputs are mean \(\); accepted: one of the shape"),
        ([3, 8, 8], {"before": [1, 192], "after": [5]}, r"its outputs are logits \(5,\); accepted: one of the shape"),
    ],
)
def test_shapes_that_are_no_classifiers(tmp_path, shape, changes, said):
    with pytest.raises(InputError, match=said):
        taken(tmp_path, write(tmp_path / "own.onnx", shape, **changes))


def test_external_weights_in_a_folder_of_their_own(tmp_path):
    (tmp_path / "own/weights").mkdir(parents=True)
    path = write(tmp_path / "own/model.onnx", ["n", 3, 8, 8])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights/all.bin", size_threshold=1000)
    described, answers = taken(tmp_path, tmp_path / "own")
    assert sorted(described["files"]) == ["model.onnx", "weights/all.bin"]
    np.testing.assert_allclose(answers, probabilities(fit(PARTS["train"], UNIT), TEST, UNIT), atol=1e-5)


def test_grey_images_for_a_colour_network_that_says_no_channels(tmp_path):
    grey = {part: pictures(len(split.labels), (8, 8, 1), number) for number, (part, split) in enumerate(PARTS.items())}
    model, info = fit(grey["train"], UNIT), info_of(grey)
    kernel = np.moveaxis(model.coef_.reshape(-1, 8, 8, 3), -1, 1).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel", "bias"], ["logits"])],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", "num_channels", "height", "width"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in (("kernel", kernel), ("bias", model.intercept_))
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "own.onnx"
    )
    take_teacher(settings(tmp_path / "own.onnx"), info, grey, tmp_path / "teacher", "pictures")
    found = load_teacher(tmp_path / "teacher").outputs(grey["test"].images)["logits"]
    expected = probabilities(model, grey["test"].images, UNIT)
    np.testing.assert_allclose(softmax(found.astype(float), axis=1), expected, atol=1e-5)


def test_files_that_are_links_as_hugging_face_keeps_them(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "own").mkdir()
    write_linear(tmp_path / "own/model.onnx", fit(PARTS["train"], UNIT), (8, 8, 3), external=True)
    for name, blob in (("model.onnx", "0a1b"), ("model.onnx.data", "2c3d")):
        (tmp_path / "own" / name).rename(tmp_path / "blobs" / blob)
        (tmp_path / "own" / name).symlink_to(tmp_path / "blobs" / blob)
    _, answers = taken(tmp_path, tmp_path / "own")
    np.testing.assert_allclose(answers, probabilities(fit(PARTS["train"], UNIT), TEST, UNIT), atol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_operators_that_onnx_runtime_merged_are_run_and_not_counted(tmp_path, named):
    path = write_linear(tmp_path / "own.onnx", fit(PARTS["train"], UNIT), (8, 8, 3))
    model = onnx.load(path)
    gemm = model.graph.node[-1]
    gemm.op_type, gemm.domain = "FusedGemm", "com.microsoft"
    gemm.attribute.append(helper.make_attribute("activation", "LeakyRelu"))
    gemm.attribute.append(helper.make_attribute("activation_alpha", 1.0))
    if named:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    described, answers = taken(tmp_path, path)
    np.testing.assert_allclose(answers, probabilities(fit(PARTS["train"], UNIT), TEST, UNIT), atol=1e-5)
    assert described["multiply_adds"] is None


def test_names_that_differ_in_case_or_signs_alone_are_told_apart():
    for names in (["a", "A"], ["C++", "C", "C#"], ["+1", "-1"]):
        assert matched(names, names[::-1]) == [[number] for number in reversed(range(len(names)))]
    assert matched(["CAT", "dog"], ["Dog", "cat"]) == [[1], [0]]
    assert matched(["CAT", "Cat"], ["cat", "dog"]) is None


def test_names_that_are_fewer_than_the_outputs(tmp_path):
    model = fit(PARTS["train"], UNIT)
    model.coef_, model.intercept_ = np.pad(model.coef_, ((1, 0), (0, 0))), np.pad(model.intercept_, (1, 0))
    path = write_linear(tmp_path / "own.onnx", model, (8, 8, 3))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    with pytest.raises(InputError, match="it gives 6 outputs, the data set has 5 classes; it comes with 5 names; "):
        taken(tmp_path, path)


def test_probabilities_that_are_rounded_are_no_sigmoids():
    random = np.random.default_rng(0)
    whole = softmax(random.normal(0, 3, (200, 10)), axis=1)
    for rounded in (whole, whole.round(1), whole.round(2), np.round(whole * 256) / 256, whole.astype(np.float16)):
        assert kind_of(rounded) == "probabilities"
        for whole_is in (100, 500):
            assert kind_of(whole_is * rounded.astype(np.float32)) == "shares"
    votes = random.multinomial(100, whole)
    assert kind_of(votes) == "shares"
    np.testing.assert_allclose(softmax(logits_of(votes, "shares"), axis=1), votes / 100, atol=1e-6)
    sigmoids = random.uniform(0, 0.2, (200, 10))
    for rounded in (sigmoids, sigmoids.round(2), np.round(sigmoids * 256) / 256):
        assert kind_of(rounded) == "one sigmoid a class"


@pytest.mark.parametrize("names", [list(range(5)), [f"label {number}" for number in range(5)]])
def test_mappings_are_read_as_skl2onnx_writes_them(tmp_path, names):
    model = fit(PARTS["train"], UNIT)
    path = write_linear(tmp_path / "own.onnx", model, (8, 8, 3), gives="probabilities")
    whole, numbers = onnx.load(path), isinstance(names[0], int)
    labels = {"classlabels_int64s" if numbers else "classlabels_strings": names}
    whole.graph.node.append(helper.make_node("ZipMap", ["p"], ["map"], domain="ai.onnx.ml", **labels))
    key = TensorProto.INT64 if numbers else TensorProto.STRING
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    whole.graph.output[0].CopyFrom(helper.make_value_info("map", helper.make_sequence_type_proto(kind)))
    whole.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    onnx.save(whole, path)
    _, answers = taken(tmp_path, path)
    np.testing.assert_allclose(answers, probabilities(model, TEST, UNIT), atol=1e-5)
