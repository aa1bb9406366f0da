import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from distillery.data.errors import InputError
from pipeline.params import Params, architectures, datasets, load_params

ROOT = Path(__file__).resolve().parent.parent
TREE = YAML(typ="safe").load(ROOT / "params.yaml")
KEYS = [(section, key) for section, values in TREE.items() for key in values]


def write(folder: Path, tree) -> Path:
    path = folder / "params.yaml"
    YAML(typ="safe").dump(tree, path)
    return path


def changed(section: str, key: str, value) -> dict:
    return {name: dict(values) | ({key: value} if name == section else {}) for name, values in TREE.items()}


def test_the_default_is_accepted():
    assert load_params(ROOT / "params.yaml").flat().keys() == {f"{section}.{key}" for section, key in KEYS}


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("distill", "temperature", 0, "greater than 0"),
        ("distill", "temperature", -3.5, "greater than 0"),
        ("distill", "temperature", float("nan"), "finite"),
        ("distill", "temperature", "warm", "number"),
        ("distill", "alpha", 1.01, "less than or equal to 1"),
        ("distill", "alpha", -0.01, "greater than or equal to 0"),
        ("distill", "method", "magic", "'kd'"),
        ("prepare", "dataset", "imagenet", "accepted: mnist, fashion_mnist, cifar10, cifar100, digits, folder"),
        ("student", "architecture", "resnet", "accepted: cnn, cnn_256_512, "),
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
        ("train_teacher", "jitter", -1, "greater than or equal to 0"),
        ("train_teacher", "model", "teacher.h5", "a .keras file of your own"),
        ("train_teacher", "model", "stages/learning/layers.py", "accepted: distillery/learning/architectures.py"),
        ("student", "views", 4, "all views are the same"),
        ("student", "omit_classes", ["3", 3], "different classes' names"),
        ("student", "omit_classes", [2.5], "names of classes"),
        ("distill", "folds", 1, "2 and more"),
        ("prepare", "folder", "", "at least 1 character"),
        ("evaluate", "sheet_images", 0, "greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_told_in_one_line(tmp_path, section, key, value, told):
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path, changed(section, key, value)))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{section}.{key}:" in message
    assert told in message
    assert "found" in message


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
        ("- 1\n- 2\n", "the sections"),
        ("just words", "the sections"),
        ("a: [1\n", "not valid YAML"),
        ("prepare: {seed: 1, seed: 2}", "duplicate key"),
        ("\t", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_in_one_line(tmp_path, text, told):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@settings(max_examples=200, deadline=None)
@given(where=st.sampled_from(KEYS), value=SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS))
def test_any_value_is_accepted_or_told_in_one_line(tmp_path_factory, where, value):
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
    return st.none() | st.floats() | st.dictionaries(st.text(), SCALARS) | st.lists(st.none() | st.floats(), min_size=1)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), where=st.sampled_from(KEYS))
def test_a_bad_value_of_any_kind_is_rejected_by_name(tmp_path_factory, data, where):
    section, key = where
    path = write(tmp_path_factory.mktemp("params"), changed(section, key, data.draw(bad_values(TREE[section][key]))))
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)
    assert f"{section}.{key}" in str(caught.value) or "not valid YAML" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    section=st.sampled_from(list(TREE)),
    wrong=SCALARS | st.lists(SCALARS) | st.dictionaries(st.text(min_size=1), SCALARS, max_size=3),
)
def test_wrong_nesting_is_rejected_by_name(tmp_path_factory, section, wrong):
    with pytest.raises(InputError) as caught:
        load_params(write(tmp_path_factory.mktemp("params"), TREE | {section: wrong}))
    assert "\n" not in str(caught.value)
    assert section in str(caught.value) or "not valid YAML" in str(caught.value)


def test_augmentation_without_further_views_is_refused(tmp_path):
    for key, value in (("jitter", 2), ("flip", True)):
        with pytest.raises(
            InputError, match=r"student\.views: found 1; student\.jitter and student\.flip act on further"
        ):
            load_params(write(tmp_path, changed("student", key, value)))


def test_omitted_classes_are_names_whether_quoted_or_not(tmp_path):
    assert load_params(write(tmp_path, changed("student", "omit_classes", [3, "cat"]))).student.omit_classes == [
        "3",
        "cat",
    ]


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_complete_and_valid(preset):
    load_params(preset)
    assert preset.read_text(encoding="utf-8").startswith("#")


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


def test_names_are_those_of_the_functions():
    from distillery.datasets import datasets as datasets_module
    from distillery.learning import architectures as architectures_module

    assert all(callable(getattr(datasets_module, name)) for name in datasets())
    assert all(callable(getattr(architectures_module, name)) for name in architectures())


@pytest.mark.parametrize("stage", ["prepare", "train_teacher", "transfer", "distill", "train_scratch", "evaluate"])
def test_every_stage_ends_with_one_line_and_exit_1_before_it_touches_anything(tmp_path, stage):
    write(tmp_path, changed("distill", "temperature", -1))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"stages.{stage}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 2  # seconds of the processor
    said = [line for line in answer.stderr.splitlines() if not line.startswith("import time:")]
    assert answer.returncode == 1
    assert said == [f"{stage}: params.yaml: distill.temperature: found -1; input should be greater than 0"]
    assert "tensorflow" not in answer.stderr
    assert "mlflow" not in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]


def test_the_readme_lists_every_parameter_with_its_default():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for key, value in load_params(ROOT / "params.yaml").flat().items():
        shown = str(value).lower() if isinstance(value, bool) else value
        assert f"| `{key}` | `{shown}` |" in readme
