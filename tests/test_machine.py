"""What leaks in from the user's settings and from the machine."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, model

from distillery.data.errors import InputError
from pipeline import machine


def test_variables_made_for_other_programs_are_ignored_and_said(capsys):
    ignored = ["KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_USE_LEGACY_KERAS"]
    settings = dict.fromkeys(ignored, "1") | {"MPLBACKEND": "nothing"}
    machine.fix_settings(settings)
    settings.pop(machine.ONEDNN, None)
    assert settings == {"MPLBACKEND": "Agg", machine.THREADS: settings[machine.THREADS], "KERAS_BACKEND": "tensorflow"}
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{name} is set in the environment; it is ignored here" for name in ignored]


@pytest.mark.parametrize(("cores", "threads"), [(1, "2"), (2, "2"), (64, "64")])
def test_one_core_computes_in_as_many_parts_as_two(monkeypatch, cores, threads):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    settings = {}
    machine.fix_settings(settings)
    assert settings[machine.THREADS] == threads


@pytest.mark.parametrize(("machine_type", "expected"), [("x86_64", "1"), ("aarch64", None)])
def test_onednn_multiplies_on_every_x86_processor(monkeypatch, machine_type, expected):
    """TensorFlow would take it only where there is AVX-512 VNNI, and be slower on ordinary servers."""
    monkeypatch.setattr(machine.platform, "machine", lambda: machine_type)
    settings = {}
    machine.fix_settings(settings)
    assert settings.get(machine.ONEDNN) == expected
    assert machine.facts(settings)["environment"] == ""
    settings = {machine.ONEDNN: "0"}
    machine.fix_settings(settings)
    assert settings[machine.ONEDNN] == "0"
    assert machine.facts(settings)["environment"] == "TF_ENABLE_ONEDNN_OPTS=0"


def test_threads_that_the_user_asks_for_stay():
    settings = {machine.THREADS: "7"}
    machine.fix_settings(settings)
    assert settings[machine.THREADS] == machine.facts(settings)["threads"] == "7"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"KERAS_BACKEND": "tensorflw"}, "KERAS_BACKEND: found 'tensorflw'; accepted: tensorflow, jax"),
        ({"KERAS_BACKEND": "numpy"}, "KERAS_BACKEND: found 'numpy'; accepted: "),
        ({machine.THREADS: "many"}, f"{machine.THREADS}: found 'many'; accepted: a whole number"),
        ({machine.THREADS: "0"}, f"{machine.THREADS}: found '0'"),
    ],
)
def test_invalid_setting_raises_input_error(settings, told):
    with pytest.raises(InputError) as caught:
        machine.fix_settings(settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_backend_that_is_not_installed_raises_input_error(monkeypatch):
    monkeypatch.setattr(machine, "BACKENDS", (*machine.BACKENDS, "no_such_backend"))
    with pytest.raises(InputError, match="found 'no_such_backend', which is not installed"):
        machine.fix_settings({"KERAS_BACKEND": "no_such_backend"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"floatx": "float12"}', "floatx: found 'float12'; accepted: float16, float32, float64"),
        ('{"image_data_format": 3}', "image_data_format: found 3; accepted: channels_first, channels_last"),
        ('{"epsilon": 1}', "epsilon: found 1; accepted: a number such as 1e-7"),
        ("[1]", r"found \[1\]; accepted: an object"),
    ],
)
def test_settings_file_that_stops_keras_raises_input_error(tmp_path, text, told):
    (tmp_path / "keras.json").write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        machine.fix_settings({"KERAS_HOME": str(tmp_path)})
    assert "keras.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"floatx": "float16", "backend": "nothing"}'])
def test_settings_file_that_keras_can_read_is_overruled(tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    settings = {"KERAS_HOME": str(tmp_path)}
    machine.fix_settings(settings)
    assert settings["KERAS_BACKEND"] == "tensorflow"


def test_models_do_not_depend_on_keras_settings():
    expected = model("cnn")
    try:
        keras.config.set_floatx("float16")
        keras.config.set_image_data_format("channels_first")
        keras.config.set_epsilon(1e-3)
        built = model("cnn")
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        keras.config.set_epsilon(1e-7)
    assert built.get_config() == expected.get_config()
    for one, other in zip(built.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_facts_name_what_changes_the_arithmetic():
    changed = {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "XLA_FLAGS": "--a",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NVIDIA_VISIBLE_DEVICES": "",
    }
    found = machine.facts(changed)
    assert found["environment"] == "TF_ENABLE_ONEDNN_OPTS=0 XLA_FLAGS=--a"
    assert int(found["cores"]) >= 1
    assert found["processor"]


def test_another_encoding_starts_python_again_in_utf8(tmp_path):
    """File names outside ASCII are read and told as they are."""
    folder = tmp_path / "Bäume"
    folder.mkdir()
    for name in ("distillery", "pipeline", "datasets", "architectures", "methods", "presets", "results", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text.replace("datasets/mnist.py", "Äpfel.py"), encoding="utf-8")
    ascii_locale = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "pipeline", "prepare"]
    answer = subprocess.run(command, cwd=folder, env=os.environ | ascii_locale, capture_output=True, check=False)
    assert answer.returncode == 1
    assert rb"prepare: params.yaml: prepare.dataset: found '\xc4pfel.py'; accepted: " in answer.stderr
    assert answer.stderr.count(b"\n") == 1


def test_results_of_another_machine_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv(machine.THREADS, "2")
    path, here = tmp_path / "timing.json", machine.facts()
    assert machine.difference(path) == ""
    path.write_text(json.dumps({"machine": {"processor": here["processor"], "threads": "2", "cores": 1}}))
    assert machine.difference(path) == ""
    path.write_text(json.dumps({"machine": {"processor": "another", "threads": "64"}}))
    assert machine.difference(path) == f"processor another, here {here['processor']}; threads 64, here 2"


def test_a_cpu_that_is_split_into_devices_has_threads_for_all_of_them():
    flags = "--xla_dump_to=x --xla_force_host_platform_device_count=4"
    settings = {"XLA_FLAGS": flags}
    machine.fix_settings(settings)
    assert int(settings["NPROC"]) >= 16
    chosen = {"XLA_FLAGS": flags, "NPROC": "5"}
    machine.fix_settings(chosen)
    assert chosen["NPROC"] == "5"
    plain = {}
    machine.fix_settings(plain)
    assert "NPROC" not in plain
