import dataclasses
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from distillery.data.errors import InputError
from distillery.learning.settings import Training
from pipeline import catalogue
from pipeline.params import RENAMED, Augment, Params, load_params, markdown

ROOT = Path(__file__).resolve().parent.parent
TREE = YAML(typ="safe").load(ROOT / "params.yaml")
METHODS = ["at", "crd", "dist", "dkd", "kd", "mlkd", "nkd", "pkt", "rkd", "sp"]  # sections of section `distill`
KEYS = [(section, key) for section, values in TREE.items() for key in values if key not in METHODS]


@pytest.fixture(autouse=True, scope="module")
def project():
    """Paths in `params.yaml` are relative to the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


def write(folder: Path, tree) -> Path:
    path = folder / "params.yaml"
    YAML(typ="safe").dump(tree, path)
    return path


def changed(section: str, key: str, value) -> dict:
    return {name: dict(values) | ({key: value} if name == section else {}) for name, values in TREE.items()}


def test_default_is_accepted_and_complete():
    """`params.yaml` has every parameter: DVC tracks what stands in the file."""
    params = load_params(ROOT / "params.yaml")
    expected = {f"{section}.{key}" for section, key in KEYS if key != "augment" or section == "train_scratch"}
    sections = [f"{section}.augment.{key}" for section in ("student", "train_teacher") for key in Augment.model_fields]
    assert params.flat().keys() == expected.union(sections)
    dumped = params.model_dump()
    assert {name: values.keys() for name, values in dumped.items()} == {
        name: values.keys() for name, values in TREE.items()
    }
    for method in METHODS:
        assert dumped["distill"][method] == TREE["distill"][method]


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("distill", "temperature", 0, "greater than 0"),
        ("distill", "temperature", -3.5, "greater than 0"),
        ("distill", "temperature", float("nan"), "finite"),
        ("distill", "temperature", "warm", "number"),
        ("distill", "alpha", 1.01, "less than or equal to 1"),
        ("distill", "alpha", -0.01, "greater than or equal to 0"),
        (
            "distill",
            "method",
            "magic",
            "accepted: at, crd, dist, dkd, kd, mlkd, nkd, pkt, rkd, sp, the names of the files in methods/",
        ),
        ("distill", "method", "../methods/kd", "accepted: at, crd, dist, dkd, kd"),
        ("prepare", "dataset", "imagenet", "accepted: datasets/cifar10.py, datasets/cifar100.py, "),
        ("prepare", "dataset", "mnist", "datasets/mnist.py, or a folder with one subfolder per class"),
        ("prepare", "dataset", "methods/kd.py", "the file defines no function `load`"),
        ("student", "model", "resnet", "accepted: architectures/cnn.py, architectures/cnn_16_32.py, "),
        ("student", "model", "architectures/nope.py", "accepted: architectures/cnn.py, "),
        ("student", "model", "architectures", "accepted: architectures/cnn.py, "),
        ("student", "model", "datasets/mnist.py", "the file defines no function `features`"),
        ("student", "model", "nowhere.keras", "or a `.keras` file to start from"),
        ("student", "weights", "resnet", "accepted: none, imagenet, or a file that ends in .weights.h5, .h5"),
        ("student", "weights", "nowhere.keras", "accepted: none, imagenet, or a file"),
        ("student", "weights", "params.yaml", "accepted: none, imagenet, or a file"),
        ("student", "input_size", 0, "accepted: pixels of each side"),
        ("student", "input_size", "as is", "accepted: pixels of each side"),
        ("student", "width", 0.0, "greater than 0"),
        ("student", "epochs", 2.5, "integer"),
        ("student", "epochs", True, "integer"),
        ("student", "seeds", [], "1 to 100"),
        ("student", "seeds", 4_307_414_404, "1 to 100"),
        ("student", "seeds", -1, "1 to 100"),
        ("student", "seeds", [1, 1], "different"),
        ("student", "seeds", ["a"], "list of seeds"),
        ("student", "learning_rate", None, "number"),
        ("student", "devices", 3, "accepted: a divisor of batch_size, 512"),
        ("student", "compilation", "xlaa", "'auto', 'xla' or 'none'"),
        ("train_teacher", "max_shift", -1, "greater than or equal to 0"),
        ("train_teacher", "model", "teacher.h5", "or a `.onnx`, `.keras` or `.h5` file, a folder with one, or"),
        ("train_teacher", "model", "nowhere.keras", "accepted: architectures/cnn.py, "),
        ("student", "omit_classes", ["3", 3], "different classes' names"),
        ("student", "omit_classes", [2.5], "names of classes"),
        ("distill", "folds", 1, "2 and more"),
        ("prepare", "dataset", "", "accepted: datasets/cifar10.py"),
        ("evaluate", "sheet_images", 0, "greater than or equal to 1"),
        ("prepare", "dataset", "a" * 300, "cannot be read (File name too long)"),
        ("student", "model", "a" * 300 + ".py", "cannot be read (File name too long)"),
        ("train_teacher", "model", "/" + "a" * 5000 + ".keras", "cannot be read (File name too long)"),
        ("student", "model", "a\0b.py", "accepted: architectures/cnn.py, "),
    ],
)
def test_invalid_value_raises_input_error(tmp_path, section, key, value, told):
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path, changed(section, key, value)))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{section}.{key}:" in message
    assert told in message
    assert "found" in message


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_name_raises_input_error_that_names_the_new_one(tmp_path, old, new):
    section, key = old.split(".")
    with pytest.raises(InputError, match=rf"params\.yaml: {old}: is called {new} now") as caught:
        load_params(write(tmp_path, changed(section, key, "cnn")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": -1}, r"distill\.dkd\.beta: found -1; input should be greater than or equal to 0"),
        ({"beta": "much"}, r"distill\.dkd\.beta: found 'much'; "),
        ({"gamma": 1.0}, r"distill\.dkd\.gamma: unknown key 'gamma'; accepted: alpha, beta"),
        (3, r"distill\.dkd: found 3; "),
    ],
)
def test_invalid_parameter_of_a_method_raises_input_error(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        load_params(write(tmp_path, changed("distill", "dkd", values)))


def test_only_the_method_in_use_has_its_parameters_recorded(tmp_path):
    params = load_params(write(tmp_path, changed("distill", "method", "dkd")))
    assert params.distill.own() == {"alpha": 1.0, "beta": 8.0}
    own = [key for key in params.flat() if key.startswith("distill.") and key.count(".") == 2]
    assert own == ["distill.dkd.alpha", "distill.dkd.beta"]


def test_methods_parameters_are_read_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)
    path = tmp_path / "methods/example.py"
    path.parent.mkdir()
    path.write_text(
        "def loss(labels, teacher, student, temperature, *, weight: float = 2.5, steps: int = 3):\n"
        '    """Return it.\n\n    Args:\n        weight: how much.\n        steps: how many.\n    """\n'
    )
    found = catalogue.method_parameters("example")
    assert [(one.name, one.type, one.default, one.description) for one in found] == [
        ("weight", float, 2.5, "how much"),
        ("steps", int, 3, "how many"),
    ]
    path.write_text("def loss(labels, teacher, student, temperature, weight=0.5, *, steps=2): pass")
    found = catalogue.method_parameters("example")
    assert [(one.name, one.type, one.default) for one in found] == [("weight", float, 0.5), ("steps", int, 2)]
    for text, message in (
        (
            "def loss(labels, teacher, student, temperature, weight): pass",
            "parameter `weight` of `loss` needs a default",
        ),
        ("def loss(labels, *, weight: float): pass", "needs a default"),
        ("def loss(labels, *, weight: list = ()): pass", "needs a default that is a number"),
        ("def lost(): pass", "defines no function `loss`"),
        ("def loss(:", "not valid Python in line 1"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            catalogue.method_parameters("example")


def test_parameters_of_own_images_need_not_stand_in_the_file(tmp_path):
    own = ("image_size", "test_fraction", "duplicates")
    short = TREE | {"prepare": {key: value for key, value in TREE["prepare"].items() if key not in own}}
    assert load_params(write(tmp_path, short)).flat() == load_params(write(tmp_path, TREE)).flat()


def test_unknown_and_missing_keys_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"distill.temprature: unknown key 'temprature'; accepted: method, temperature"
    ):
        load_params(write(tmp_path, changed("distill", "temprature", 3)))
    with pytest.raises(InputError, match=r"students: unknown key 'students'; accepted: prepare, student"):
        load_params(write(tmp_path, TREE | {"students": {}}))
    with pytest.raises(InputError, match=r"distill: missing"):
        load_params(write(tmp_path, {name: values for name, values in TREE.items() if name != "distill"}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the sections"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!bool maybe", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("&a [*a]", "the sections"),
        ("- 1\n- 2\n", "the sections"),
        ("just words", "the sections"),
        ("a: [1\n", "not valid YAML"),
        ("prepare: {seed: 1, seed: 2}", "duplicate key"),
        ("\t", "not valid YAML"),
    ],
)
def test_file_that_is_no_mapping_raises_input_error(tmp_path, text, told):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@settings(max_examples=200, deadline=None)
@given(where=st.sampled_from(KEYS), value=SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS))
def test_any_value_is_accepted_or_raises_input_error(tmp_path_factory, where, value):
    path = write(tmp_path_factory.mktemp("params"), changed(*where, value))
    told = None
    try:
        assert isinstance(load_params(path), Params)
    except InputError as error:
        told = str(error)
    if told is not None:
        assert "\n" not in told
        assert ".".join(where) in told or "not valid YAML" in told or "UTF-8" in told


def bad_values(value) -> st.SearchStrategy:
    """What no parameter with such a default may be: another type, or far out of any range."""
    if isinstance(value, bool):
        return st.integers() | st.floats() | st.text() | st.none() | st.lists(st.booleans())
    if isinstance(value, int):
        whole = st.integers(max_value=-1) | st.integers(min_value=10**10)
        return whole | st.floats(allow_nan=True) | st.text() | st.none() | st.lists(st.integers()) | st.booleans()
    if isinstance(value, float):
        number = st.floats(max_value=-1e-9) | st.floats(min_value=1.1e3) | st.sampled_from([math.nan, math.inf])
        return number | st.text() | st.none() | st.lists(st.floats()) | st.booleans()
    if isinstance(value, str):
        return st.integers() | st.floats() | st.none() | st.lists(st.text()) | st.booleans() | st.just("")
    other = st.floats() | st.dictionaries(st.text(), SCALARS) | st.lists(st.none() | st.floats(), min_size=1)
    if value is None:  # what follows another parameter, a number or a switch
        return st.text() | st.floats(max_value=-1e-9) | st.floats(min_value=1.1e3) | st.lists(st.none())
    return st.none() | other


OPEN = {
    ("student", "augment"),
    ("train_teacher", "augment"),
    ("student", "input_size"),
    ("train_teacher", "input_size"),
    ("train_teacher", "output"),
    ("train_teacher", "embedding"),
}  # that take what their default is not, or nothing


@settings(max_examples=400, deadline=None)
@given(data=st.data(), where=st.sampled_from([key for key in KEYS if tuple(key) not in OPEN]))
def test_invalid_value_of_any_type_is_rejected_by_name(tmp_path_factory, data, where):
    section, key = where
    follows = section == "train_scratch" and key != "label_smoothing"  # another parameter, where it is null
    value = data.draw(bad_values(None if follows else TREE[section][key]))
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path_factory.mktemp("params"), changed(section, key, value)))
    assert "\n" not in str(caught.value)
    assert f"{section}.{key}" in str(caught.value) or "not valid YAML" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    section=st.sampled_from(list(TREE)),
    wrong=SCALARS | st.lists(SCALARS) | st.dictionaries(st.text(min_size=1), SCALARS, max_size=3),
)
def test_wrong_nesting_is_rejected_by_name(tmp_path_factory, section, wrong):
    assume(wrong != {} or section not in ("transfer", "timing"))  # nothing need stand in these
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path_factory.mktemp("params"), TREE | {section: wrong}))
    assert "\n" not in str(caught.value)
    assert section in str(caught.value) or "not valid YAML" in str(caught.value)


SCRAPS = [
    *("!!int ''", "!!bool maybe", "!!timestamp x", "!!binary é", "!!float x", "!!set {a}", "!!python/name:os.system"),
    *("&a [*a]", "*a", "<<: *a", "1e999", "-.inf", ".nan", "0x10", "0b11", "1:30:20", "2001-99-99", "9" * 5000),
    *(
        "[" * 40,
        "{a: " * 40,
        "]",
        "? a",
        "- ",
        "|",
        ">",
        "'",
        '"',
        "\t",
        "\0",
        "\ufeff",
        "\u2028",
        "\x85",
        "---\n",
        "...\n",
    ),
    *(
        "%YAML 9.9\n---",
        "# c",
        "~",
        "yes",
        "a: b: c",
        "\\",
        "/dev/zero",
        "/" + "a" * 300 + ".py",
        "..",
        "\n",
        "&a",
        "x",
    ),
]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@st.composite
def edited_texts(draw) -> bytes:
    """Return `params.yaml` as people and programs damage it: values replaced, scraps put in, lines and bytes lost."""
    lines = TEXT.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        number, scrap = draw(st.integers(0, len(lines) - 1)), draw(st.sampled_from(SCRAPS) | st.text(max_size=8))
        place = draw(st.integers(0, len(lines[number])))
        key = lines[number].partition(":")[0]
        lines[number] = draw(
            st.sampled_from([f"{key}: {scrap}", lines[number][:place] + scrap + lines[number][place:], scrap, ""])
        )
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return text[: draw(st.sampled_from([len(text), len(text), len(text), draw(st.integers(0, len(text)))]))]


@pytest.mark.long
@settings(max_examples=1000, deadline=None)
@given(text=edited_texts())
def test_any_text_is_accepted_or_raises_input_error_in_a_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_bytes(text)
    began, told = time.process_time(), "nothing"
    try:
        assert isinstance(load_params(path), Params)
    except InputError as error:
        told = str(error)
    assert len(told.splitlines()) == 1
    assert len(told) < 1000
    assert time.process_time() - began < 2


def test_a_key_with_a_line_end_stays_in_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT.replace("image_size", "i\u2028mage_size"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(tmp_path / "params.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert "unknown key 'i\\u2028mage_size'" in str(caught.value)


def test_keras_file_brings_its_weights_and_its_width(tmp_path):
    own = tmp_path / "own.keras"
    own.touch()
    tree = changed("student", "model", str(own))
    assert load_params(write(tmp_path, tree)).student.model == str(own)
    for key, value in (("weights", "imagenet"), ("weights", str(own)), ("width", 0.5)):
        tree["student"][key] = value
        with pytest.raises(
            InputError, match=rf"student\.{key}: found .*; the weights and the width are those of .*own"
        ):
            load_params(write(tmp_path, tree))
        tree["student"][key] = TREE["student"][key]


def test_omitted_classes_are_names_whether_quoted_or_not(tmp_path):
    assert load_params(write(tmp_path, changed("student", "omit_classes", [3, "cat"]))).student.omit_classes == [
        "3",
        "cat",
    ]


def test_the_default_is_the_preset_mnist():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/mnist.yaml").read_text()


def test_seeds_are_a_list_or_a_count(tmp_path):
    assert load_params(write(tmp_path, changed("student", "seeds", 2))).student.seeds == [0, 1]
    assert load_params(write(tmp_path, changed("student", "seeds", [7, 3]))).student.seeds == [7, 3]


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("temperature: ", "temperature: 1e1 # ")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert load_params(path).distill.temperature == 10


@pytest.mark.parametrize("stage", ["prepare", "train_teacher", "transfer", "distill", "train_scratch", "evaluate"])
def test_every_stage_reports_invalid_input_before_it_touches_anything(tmp_path, stage):
    write(tmp_path, changed("distill", "temperature", -1))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for folder in ("datasets", "architectures", "methods"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    before_files = sorted(path.name for path in tmp_path.iterdir())
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", stage],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in answer.stderr.splitlines() if not line.startswith("import time:")]
    assert answer.returncode == 1
    assert said == [f"{stage}: params.yaml: distill.temperature: found -1; input should be greater than 0"]
    assert "tensorflow" not in answer.stderr
    assert "mlflow" not in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before_files


def test_page_of_the_parameters_is_current():
    assert (ROOT / "docs/parameters.md").read_text(encoding="utf-8") == markdown()


def test_training_settings_of_the_library_are_parameters():
    """The sections are handed to the library as its `Training`."""
    names = {field.name for field in dataclasses.fields(Training)}
    params = load_params(ROOT / "params.yaml")
    assert names <= set(type(params.student).model_fields) & set(type(params.train_teacher).model_fields)
