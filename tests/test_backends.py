"""The stages under Keras's JAX backend, on one device and on two of this host: no code changes."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import change_params, run

pytestmark = pytest.mark.long


def test_jax_trains_the_same_on_one_device_and_on_two(pipeline, tmp_path):
    results, weights = {}, {}
    for devices in (1, 2):
        folder = Path(shutil.copytree(pipeline, tmp_path / f"on {devices}", symlinks=True))
        own = {"label_smoothing": 0.0, "learning_rate": None}  # the students' recipe, so that no others are trained
        change_params(folder, {"student": {"devices": devices, "seeds": [0]}, "train_scratch": own})
        jax = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        stages = ["distill"] if devices == 1 else ["distill", "train_scratch", "evaluate"]
        for stage in stages:
            run(folder, "python", "-m", "pipeline", stage, **jax, DVC_ROOT=str(folder))
        results[devices] = json.loads((folder / "metrics/distill.json").read_text())
        weights[devices] = keras.models.load_model(folder / "models/distilled/seed_0.keras").get_weights()
    assert results[1]["val_accuracy"] > 0.9
    assert results[2]["val_accuracy"] == pytest.approx(results[1]["val_accuracy"], abs=0.01)
    assert results[2]["val_loss"] == pytest.approx(results[1]["val_loss"], abs=0.02)
    headline = json.loads((folder / "metrics/evaluate.json").read_text())
    under_tensorflow = json.loads((pipeline / "metrics/evaluate.json").read_text())
    assert headline["teacher"] == under_tensorflow["teacher"]
    assert headline["scratch"]["accuracy"] == pytest.approx(under_tensorflow["scratch"]["accuracy"], abs=0.05)
    for one, two in zip(weights[1], weights[2], strict=True):
        assert np.abs(one - two).mean() < 0.1 * np.abs(one).mean() + 1e-4


def test_more_devices_than_there_are_raise_input_error(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "too many", symlinks=True))
    change_params(folder, {"student": {"devices": 4}})
    answer = run(folder, "python", "-m", "pipeline", "distill", check=False, KERAS_BACKEND="jax", DVC_ROOT=str(folder))
    assert answer.returncode == 1
    assert "student.devices: found 4; this host has 1: cpu:0" in answer.stderr
    assert "Traceback" not in answer.stderr
