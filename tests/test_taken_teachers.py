"""Teachers from elsewhere: what is taken gives what the model's own runtime, or scikit-learn, gives."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import yaml
from foreign import CLASSES, fit, info_of, pictures, probabilities, settings, write_linear
from onnx import TensorProto, helper
from scipy.special import softmax

from distillery.data.errors import InputError
from distillery.teachers.conventions import convention, conventions
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

PARTS = {"train": pictures(seed=1), "validation": pictures(400, seed=2), "test": pictures(100, seed=3)}
INFO, TEST = info_of(PARTS), PARTS["test"].images


def taken(folder, own, info=INFO, parts=PARTS, **changes):
    """Take a teacher, and return what was found out and its answers on test images, as probabilities."""
    found = take_teacher(settings(own, **changes), info, parts, folder / "teacher", "pictures")
    return found, softmax(
        load_teacher(folder / "teacher").outputs(parts["test"].images)["logits"].astype(float), axis=1
    )


@pytest.mark.parametrize("name", [name for name in conventions() if not name.endswith("crop")])
def test_the_convention_that_it_was_trained_with_is_found(tmp_path, name):
    model = fit(PARTS["train"], convention(name))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    found, answers = taken(tmp_path, path)
    assert name in found.comparison.alike
    meant = convention(found.comparison.alike[0])
    np.testing.assert_allclose(answers, probabilities(model, TEST, meant), atol=1e-5)
    assert (answers.argmax(axis=1) == PARTS["test"].labels).mean() > 0.85


@pytest.mark.parametrize("gives", ["logits", "probabilities", "log-probabilities"])
def test_logits_come_of_whatever_it_gives(tmp_path, gives):
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, gives=gives)
    found, answers = taken(tmp_path, path)
    assert found.described["outputs_are"] == gives
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-5)


def test_sigmoids_become_logits(tmp_path):
    model = fit(PARTS["train"], convention("unit"), strength=10)  # beyond 16 float32 holds no difference to 1
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, gives="one sigmoid a class")
    found, answers = taken(tmp_path, path, preprocessing="unit")
    assert found.described["outputs_are"] == "one sigmoid a class"
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-4)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "flat"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch", [None, 1, 16])
def test_layouts_types_and_batches(tmp_path, layout, dtype, batch):
    model = fit(PARTS["train"], convention("symmetric"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, layout, dtype=dtype, batch=batch)
    _, answers = taken(tmp_path, path, preprocessing="symmetric")
    atol = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("symmetric")), atol=atol)


def test_a_model_that_takes_bytes_gets_them(tmp_path):
    model = fit(PARTS["train"], convention("raw"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, "nhwc", dtype="uint8")
    found, answers = taken(tmp_path, path)
    assert {name.split("_")[0] for name in found.comparison.table()} == {"raw"}
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("raw")), atol=1e-5)
    with pytest.raises(InputError, match="it takes uint8, its configuration says 0…1"):
        taken(tmp_path, path, preprocessing="unit")


def test_external_weights_are_taken_with_it(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, external=True)
    found, answers = taken(tmp_path, path)
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-5)
    assert sorted(found.described["files"]) == ["own.onnx", "own.onnx.data"]
    assert list(found.described["beside"]) == [str(tmp_path / "own.onnx.data")]
    assert found.described["parameters"] == 5 * 8 * 8 * 3 + 5
    assert found.described["multiply_adds"] == 5 * 8 * 8 * 3
    (tmp_path / "own.onnx.data").unlink()
    with pytest.raises(InputError, match=r"own.onnx.data: no such file; copy it beside the model"):
        taken(tmp_path, path)


def test_another_size_sees_the_image_scaled(tmp_path):
    pixels = replace(convention("unit"), size=(12, 12), interpolation="bicubic")
    model = fit(PARTS["train"], pixels)
    write_linear(tmp_path / "model.onnx", model, (12, 12, 3))
    (tmp_path / "preprocessing.yaml").write_text(yaml.safe_dump(pixels.tree()))
    _, answers = taken(tmp_path, tmp_path)
    np.testing.assert_allclose(answers, probabilities(model, TEST, pixels), atol=1e-5)
    with pytest.raises(InputError, match=r"train_teacher.input_size: found 10, .*model.onnx takes 12 × 12"):
        taken(tmp_path, tmp_path, input_size=10)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_coloured_images_fit_either_teacher(tmp_path, channels):
    grey = {part: pictures(len(split.labels), (8, 8, 1), number) for number, (part, split) in enumerate(PARTS.items())}
    parts = PARTS if channels == 1 else grey
    pixels = convention("unit")
    model = fit(parts["train"], pixels, channels)
    layout = "nhw" if channels == 1 else "nchw"
    path = write_linear(tmp_path / "own.onnx", model, (8, 8, channels), layout)
    _, answers = taken(tmp_path, path, info_of(parts), parts)
    np.testing.assert_allclose(answers, probabilities(model, parts["test"].images, pixels, channels), atol=1e-5)


def test_a_configuration_that_does_clearly_worse_is_warned_of(tmp_path):
    model = fit(PARTS["train"], convention("imagenet"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    found, _ = taken(tmp_path, path, preprocessing="raw")
    (warning,) = [note for note in found.notes if note.startswith("warning")]
    assert "its configuration gives" in warning
    assert "train_teacher.preprocessing=imagenet takes the other" in warning or "cifar10" in warning
    right, _ = taken(tmp_path, path, preprocessing="imagenet")
    assert not [note for note in right.notes if note.startswith("warning")]


def test_a_teacher_that_guesses_is_refused(tmp_path, capsys):
    model = fit(PARTS["train"], convention("unit"))
    model.coef_ = np.zeros_like(model.coef_)
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    with pytest.raises(InputError, match="whatever its pixels mean, it hardly does better than by guessing"):
        taken(tmp_path, path)
    assert "log loss" in capsys.readouterr().out
    assert not (tmp_path / "teacher/teacher.json").exists()


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [4, 2, 0, 1, 3]])
def test_outputs_in_another_order_are_refused_with_the_file_that_mends_it(tmp_path, monkeypatch, order):
    monkeypatch.chdir(tmp_path)
    model = fit(PARTS["train"], convention("imagenet"))
    right = probabilities(model, TEST, convention("imagenet"))
    model.coef_, model.intercept_ = model.coef_[order], model.intercept_[order]
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    with pytest.raises(InputError, match=r"in another order.*train_teacher.classes=teacher_classes.yaml"):
        taken(tmp_path, path)
    _, answers = taken(tmp_path, path, classes="teacher_classes.yaml")
    np.testing.assert_allclose(answers, right, atol=0.05)
    assert (answers.argmax(axis=1) == right.argmax(axis=1)).mean() > 0.95


def test_names_of_the_outputs_are_matched(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    order = [4, 2, 0, 1, 3]
    right = probabilities(model, TEST, convention("unit"))
    model.coef_, model.intercept_ = model.coef_[order], model.intercept_[order]
    write_linear(tmp_path / "model.onnx", model, INFO.image_shape)
    names = {str(number): CLASSES[label].upper() for number, label in enumerate(order)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    _, answers = taken(tmp_path, tmp_path)
    np.testing.assert_allclose(answers, right, atol=1e-5)
    (tmp_path / "names.txt").write_text("\n".join(CLASSES[label] for label in order))
    (tmp_path / "config.json").unlink()
    _, answers = taken(tmp_path, tmp_path, classes=str(tmp_path / "names.txt"))
    np.testing.assert_allclose(answers, right, atol=1e-5)


def test_many_outputs_of_a_class_are_summed(tmp_path):
    info = info_of(PARTS, ["colour", "grey"])
    parts = {part: replace(split, labels=(split.labels > 2).astype(np.int32)) for part, split in PARTS.items()}
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    mapping = {"colour": {"from": [[0, 2]]}, "grey": ["night", 4]}
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    whole = probabilities(model, TEST, convention("unit"))
    summed = np.stack([whole[:, :3].sum(axis=1), whole[:, 3:].sum(axis=1)], axis=1)
    for given in (mapping, str(tmp_path / "mapping.yaml")):
        _, answers = taken(tmp_path, path, info, parts, classes=given)
        np.testing.assert_allclose(answers, summed, atol=1e-5)
    with pytest.raises(InputError, match=r"it gives 5 outputs, the data set has 2 classes.*train_teacher.classes"):
        taken(tmp_path, path, info, parts)
    for wrong, said in (
        ({"colour": [0]}, "no output means class 'grey'"),
        ({"colour": [0], "grey": [5]}, "grey: found output 5; accepted: 0 to 4"),
        ({"colour": [0], "grey": ["nite"]}, "means 'nite'; names like it: night"),
        ({"colour": [0], "grey": [0]}, "output 0 is given to 'colour' and to 'grey'"),
        ({"colour": [0], "gray": [1]}, "found class 'gray'; accepted: the data set's: colour, grey"),
    ):
        with pytest.raises(InputError, match=said):
            taken(tmp_path, path, info, parts, classes=wrong)


def test_one_output_is_that_of_the_second_of_two_classes(tmp_path):
    info = info_of(PARTS, ["colour", "grey"])
    parts = {part: replace(split, labels=(split.labels > 2).astype(np.int32)) for part, split in PARTS.items()}
    model = fit(parts["train"], convention("unit"))
    for gives in ("logits", "one sigmoid a class"):
        path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, gives=gives)
        _, answers = taken(tmp_path, path, info, parts)
        np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-4)


def test_the_output_that_fits_is_taken_or_the_named_one(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape, outputs=("flat", "logits"))
    found, _ = taken(tmp_path, path)
    assert found.described["output"] == "logits"
    with pytest.raises(InputError, match=r"train_teacher.output: found 'softmax'; accepted: one of .*logits"):
        taken(tmp_path, path, output="softmax")
    path = write_linear(
        tmp_path / "two.onnx", model, INFO.image_shape, gives="probabilities", outputs=("p", "logits", "flat")
    )
    found, answers = taken(tmp_path, path)
    assert found.described["output"] == "logits"
    _, named = taken(tmp_path, path, output="p")
    np.testing.assert_allclose(named, answers, atol=1e-5)


def test_what_is_no_classifier_of_images_is_refused_in_one_line(tmp_path):
    def model_of(nodes, inputs, outputs, domain=""):
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        )
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "own.onnx")

    def refused(said):
        with pytest.raises(InputError, match=said) as caught:
            taken(tmp_path, tmp_path / "own.onnx")
        assert "\n" not in str(caught.value)

    image = ["n", 3, 8, 8]
    model_of([helper.make_node("Add", ["x", "y"], ["z"])], {"x": image, "y": image}, ["z"])
    refused(r"it has 2 inputs \(x .*accepted: one, the images")
    model_of([helper.make_node("Odd", ["x"], ["z"], domain="my.ops")], {"x": image}, ["z"], "my.ops")
    refused(r"it has the operator my.ops.*Odd.*which ONNX Runtime does not know")
    model_of([helper.make_node("Relu", ["x"], ["z"])], {"x": image}, ["z"])
    refused(r"its outputs are z .*accepted: one of the shape \(images, classes\)")
    model_of([helper.make_node("Relu", ["x"], ["z"])], {"x": ["n", 12, 8, 8]}, ["z"])
    refused(r"it takes arrays of shape \(12, 8, 8\) an image; accepted: images of 1 or 3 channels")
    (tmp_path / "own.onnx").write_bytes(b"no model")
    refused("own.onnx: not an ONNX model that can be read")


def test_a_grey_teacher_has_one_mean(tmp_path):
    model = fit(PARTS["train"], convention("unit"), channels=1)
    write_linear(tmp_path / "model.onnx", model, (8, 8, 1))
    described = {"scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    (tmp_path / "preprocessing.yaml").write_text(yaml.safe_dump(described))
    _, answers = taken(tmp_path, tmp_path)
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit"), channels=1), atol=1e-5)
    with pytest.raises(InputError, match=r"mean: found 0\.485, 0\.456, 0\.406, for a classifier of grey images"):
        taken(tmp_path, tmp_path, preprocessing="imagenet")


def test_an_input_may_say_no_shape(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    graph = onnx.load(path)
    graph.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(graph, path)
    _, answers = taken(tmp_path, path)
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-5)


def test_a_model_of_the_future_is_refused_with_what_is_accepted(tmp_path):
    path = write_linear(tmp_path / "own.onnx", fit(PARTS["train"], convention("unit")), INFO.image_shape)
    model = onnx.load(path)
    model.ir_version = 99
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"can run \(Unsupported model IR version: 99, max supported"):
        taken(tmp_path, path)


def test_other_names_than_the_classes_are_told(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    write_linear(tmp_path / "model.onnx", model, INFO.image_shape)
    names = {str(number): f"colour {number}" for number in range(len(CLASSES))}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    found, answers = taken(tmp_path, tmp_path)
    assert any("other names than the classes, colour 0, colour 1" in note for note in found.notes)
    np.testing.assert_allclose(answers, probabilities(model, TEST, convention("unit")), atol=1e-5)


def test_what_dvc_does_not_see_is_checked_when_the_teacher_is_used(tmp_path):
    model = fit(PARTS["train"], convention("unit"))
    path = write_linear(tmp_path / "own.onnx", model, INFO.image_shape)
    beside = tmp_path / "preprocessing.yaml"
    beside.write_text(yaml.safe_dump(convention("unit").tree()))
    found, _ = taken(tmp_path, path)
    assert "DVC does not see a change of" in found.notes[-1]
    beside.write_text(yaml.safe_dump(convention("raw").tree()))
    with pytest.raises(InputError, match=r"preprocessing.yaml: changed since the teacher.*--force train_teacher"):
        load_teacher(tmp_path / "teacher")
    folder = tmp_path / "whole"
    folder.mkdir()
    (tmp_path / "own.onnx").rename(folder / "model.onnx")
    beside.rename(folder / beside.name)
    found, _ = taken(tmp_path, folder, preprocessing="unit")
    assert found.described["beside"] == {}
