"""Several teachers from elsewhere as one: against each member's own runtime, and against formulas in float64."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import yaml
from foreign import CLASSES, fit, info_of, pictures, probabilities, settings, write_linear
from sklearn.linear_model import LogisticRegression

from distillery.data.errors import InputError
from distillery.distillation.transfer_set import load_transfer_set, save_transfer_set, view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.learning.prediction import PREDICT_BATCH
from distillery.teachers.conventions import convention
from distillery.teachers.pixels import Pixels
from distillery.teachers.source import find_source
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

PARTS = {"train": pictures(seed=1), "validation": pictures(300, seed=2), "test": pictures(100, seed=3)}
INFO, TEST = info_of(PARTS), PARTS["test"].images
SMALL = Pixels(size=(4, 4), scale=1 / 255)
WEIGHTS = 8 * 8 * 3 * len(CLASSES) + len(CLASSES)


def fitted_model(pixels: Pixels, strength: float = 1e4) -> LogisticRegression:
    return fit(PARTS["train"], pixels, strength=strength)


def write_keras(path: Path) -> Path:
    """A Keras model of values from 0 to 255, which is less sure than the others."""
    model = fitted_model(convention("raw"), strength=0.1)
    layer = keras.layers.Dense(len(CLASSES), activation="softmax")
    own = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), layer])
    layer.set_weights([model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)])
    own.save(path)
    return path


def write_small(folder: Path) -> Path:
    """A member in a folder of its own, which sees smaller images and says so."""
    folder.mkdir()
    write_linear(folder / "model.onnx", fitted_model(SMALL, 1.0), (4, 4, 3), "nhwc")
    (folder / "preprocessing.yaml").write_text(yaml.safe_dump(SMALL.tree()))
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """Three members: an ONNX file that takes planes of −1…1, a Keras file and a folder."""
    folder = tmp_path_factory.mktemp("three")
    write_linear(folder / "c.onnx", fitted_model(convention("symmetric")), INFO.image_shape)
    write_keras(folder / "b.keras")
    write_small(folder / "a")
    (folder / "notes.txt").write_text("three of them")
    return folder


def by_each(folder: Path, images: np.ndarray) -> np.ndarray:
    """Return the probabilities of the three in their own runtimes, float64, (n, 3, classes), sorted by name."""
    session = onnxruntime.InferenceSession(folder / "c.onnx")
    (logits,) = session.run(None, {"x": np.moveaxis(images, -1, 1).astype(np.float32) / np.float32(127.5) - 1})
    exponents = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    own = keras.models.load_model(folder / "b.keras").predict(images.astype(np.float32), verbose=0)
    planes = exponents / exponents.sum(axis=1, keepdims=True)
    return np.stack([probabilities(fitted_model(SMALL, 1.0), images, SMALL), own.astype(float), planes], axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def taken(own: Path, target: Path, **changes):
    """Take a teacher, and return what was found out, and the teacher."""
    found = take_teacher(settings(own, **changes), INFO, PARTS, target, "pictures")
    return found, load_teacher(target)


def test_members_predict_the_mean_of_their_probabilities(three, tmp_path):
    found, teacher = taken(three, tmp_path / "teacher")
    expected = by_each(three, TEST)
    np.testing.assert_allclose(softmax(teacher.outputs(TEST)["logits"]), expected.mean(axis=1), atol=1e-5)
    assert list(teacher.outputs(TEST)) == ["logits"]
    assert list(teacher.members) == list(found.members) == ["a", "b.keras", "c.onnx"]
    described = teacher.described["members"]
    assert [one["kind"] for one in described] == ["onnx", "keras", "onnx"]
    assert [one["pixels"]["size"] for one in described] == [[4, 4], [8, 8], [8, 8]]
    assert [found.members[name].comparison.alike[0] for name in ("b.keras", "c.onnx")] == ["raw", "symmetric"]
    assert teacher.parameters == 2 * WEIGHTS + 4 * 4 * 3 * 5 + 5
    assert teacher.multiply_adds == teacher.parameters - 3 * 5
    assert teacher.bytes == sum((three / name).stat().st_size for name in ("a/model.onnx", "b.keras", "c.onnx"))
    assert teacher.runtime == "ONNX Runtime"
    load, path = teacher.timed
    np.testing.assert_array_equal(load(path)(TEST), teacher.predict(TEST))
    assert teacher.described["beside"] == {}


def test_for_the_mean_loss_each_members_logits_are_given_too(three, tmp_path):
    _, mean = taken(three, tmp_path / "mean")
    _, apart = taken(three, tmp_path / "apart", ensemble="mean_loss")
    outputs = apart.outputs(TEST)
    np.testing.assert_allclose(softmax(outputs["member_logits"]), by_each(three, TEST), atol=1e-5)
    np.testing.assert_array_equal(outputs["logits"], mean.outputs(TEST)["logits"])
    assert mean.digest != apart.digest


def test_the_order_of_the_files_changes_nothing(three, tmp_path, monkeypatch):
    _, teacher = taken(three, tmp_path / "teacher", ensemble="mean_loss")
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(listed(folder), reverse=True)))
    _, again = taken(three, tmp_path / "again", ensemble="mean_loss")
    assert again.digest == teacher.digest
    for name, values in teacher.outputs(TEST).items():
        np.testing.assert_array_equal(again.outputs(TEST)[name], values)


def test_each_member_has_its_own_classes(tmp_path):
    own, pixels = tmp_path / "own", convention("unit")
    own.mkdir()
    model = fitted_model(pixels)
    right = probabilities(model, TEST, pixels)
    write_linear(own / "plain.onnx", model, INFO.image_shape)
    order = [4, 2, 0, 1, 3]
    model.coef_, model.intercept_ = model.coef_[order], model.intercept_[order]
    for name in ("mapped", "named"):
        (own / name).mkdir()
        write_linear(own / name / "model.onnx", model, INFO.image_shape)
    (own / "mapped/classes.yaml").write_text(yaml.safe_dump({name: [order.index(i)] for i, name in enumerate(CLASSES)}))
    (own / "named/classes.txt").write_text("\n".join(CLASSES[i] for i in order))
    _, teacher = taken(own, tmp_path / "teacher", preprocessing="unit")
    np.testing.assert_allclose(softmax(teacher.outputs(TEST)["logits"]), right, atol=1e-5)


def test_one_model_is_a_teacher_as_ever(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    write_linear(own / "one.onnx", fitted_model(convention("unit")), INFO.image_shape)
    (own / "checkpoints").mkdir()
    (own / "checkpoints/last.pt").touch()
    found, teacher = taken(own, tmp_path / "teacher")
    assert (found.described["kind"], list(teacher.members), found.members) == ("onnx", [], {})
    write_linear(own / "model.onnx", fitted_model(convention("unit")), INFO.image_shape)
    assert find_source(str(own)).model == own / "model.onnx"
    (own / "model.onnx").rename(own / "._two.onnx")  # what another system leaves
    assert find_source(str(own / "one.onnx")).members == {}


def test_one_model_in_two_formats_is_one_teacher(three, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    write_linear(folder / "own.onnx", fitted_model(convention("unit")), INFO.image_shape)
    (folder / "own.keras").write_bytes(b"the same in another format")
    assert find_source(str(folder)).model == folder / "own.onnx"
    with pytest.raises(InputError, match=r"transfer.embedding: found true; a teacher of the kind ensemble has none"):
        taken(three, tmp_path / "teacher")[1].outputs(TEST, ("embedding",))


def test_what_is_no_member_is_refused_by_its_name(three, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("one.onnx", "two.onnx"):
        write_linear(own / name, fitted_model(convention("unit")), INFO.image_shape)
    (own / "several").mkdir()
    for name in ("x.keras", "y.keras"):
        (own / "several" / name).touch()
    (own / "torch").mkdir()
    for name in ("config.json", "model.safetensors"):
        (own / "torch" / name).touch()
    (own / "said.csv").touch()
    for name, said in (
        ("said.csv", r"of its ensemble, said\.csv: a table of outputs; accepted: `\.onnx`, `\.keras`"),
        ("several", r"of its ensemble, several: it has several models \(x\.keras, y\.keras\); accepted: "),
        ("torch", r"of its ensemble, torch: a model of PyTorch, not of ONNX; export it: "),
    ):
        with pytest.raises(InputError, match=said) as caught:
            taken(own, tmp_path / "teacher")
        assert "\n" not in str(caught.value)
        (own / name).rename(tmp_path / name)
    assert list(find_source(str(own)).members) == ["one.onnx", "two.onnx"]


@pytest.mark.parametrize("fault", ["guesses", "other classes", "another order"])
def test_a_member_that_fits_not_is_refused_by_its_file(tmp_path, monkeypatch, fault):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    model = fitted_model(convention("unit"))
    write_linear(Path("own/good.onnx"), model, INFO.image_shape)
    if fault == "guesses":
        model.coef_ = np.zeros_like(model.coef_)
    elif fault == "other classes":
        model.coef_, model.intercept_ = np.tile(model.coef_, (2, 1)), np.tile(model.intercept_, 2)
    else:
        model.coef_, model.intercept_ = model.coef_[[1, 0, 2, 3, 4]], model.intercept_[[1, 0, 2, 3, 4]]
    write_linear(Path("own/poor.onnx"), model, INFO.image_shape)
    said = {
        "guesses": "hardly does better than by guessing",
        "other classes": "it gives 10 outputs, the data set has 5 classes",
        "another order": r"in another order.* a member of an ensemble has it beside it, as classes\.yaml",
    }[fault]
    with pytest.raises(InputError, match=rf"^own/poor\.onnx: .*{said}") as caught:
        taken(Path("own"), Path("teacher"))
    assert "\n" not in str(caught.value)
    assert not Path("teacher/teacher.json").exists()


def test_a_transfer_that_goes_on_gives_the_same_bytes(three, tmp_path):
    images = pictures(PREDICT_BATCH + 50, seed=4).images
    views = Views(Policy(max_shift=1), len(images), 2)
    _, teacher = taken(three, tmp_path / "teacher", ensemble="mean_loss")
    first = [view_outputs(teacher, images, views, number, tmp_path) for number in range(2)]
    shown = views.show(images, np.arange(len(images)), 0)
    np.testing.assert_allclose(softmax(first[0]["member_logits"]), by_each(three, shown), atol=1e-5)
    (shard,) = tmp_path.glob("*view_0000*.npz")
    with np.load(shard) as kept:
        assert sorted(kept.files) == ["0.logits", "0.member_logits", "1.logits", "1.member_logits"]
        begun = {name: kept[name] for name in kept.files if name.startswith("0.")}
    np.savez(shard, **begun)
    again = [view_outputs(load_teacher(tmp_path / "teacher"), images, views, number, tmp_path) for number in range(2)]
    for folder, outputs in (("first", first), ("again", again)):
        save_transfer_set(tmp_path / folder, outputs, teacher.digest, "images", views)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["logits.npy", "member_logits.npy", "transfer.json"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    outputs, _ = load_transfer_set(tmp_path / "again", "images", views)
    np.testing.assert_array_equal(outputs["member_logits"][1], first[1]["member_logits"])
