"""Timing of models, in turn."""

from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from conftest import model

from distillery.data.errors import InputError
from distillery.learning.onnx_model import load_onnx
from distillery.learning.onnx_writer import write_onnx
from distillery.timing import latency_and_throughput, measure_alternating, median_and_spread, speedup


def test_timing_alternates_and_leaves_the_warm_up_out():
    calls = []
    seconds = measure_alternating({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert "".join(calls[-8:]) == "abababab"
    assert {name: values.shape for name, values in seconds.items()} == {"a": (4,), "b": (4,)}
    assert median_and_spread(np.arange(101.0)) == {"median": 50, "quartile_low": 25, "quartile_high": 75}


def test_speedup_of_a_faster_model_is_above_one():
    slow = {"latency_ms": {"median": 6.0}, "images_per_second": {"median": 100.0}}
    fast = {"latency_ms": {"median": 2.0}, "images_per_second": {"median": 500.0}}
    assert speedup(slow, fast) == {"latency": pytest.approx(3), "throughput": pytest.approx(5)}


def test_models_are_timed_in_processes_of_their_own_that_end(digits, tmp_path):
    images = digits[0][:100]
    for name in ("dense_128", "cnn_16_32"):
        write_onnx(model(name), tmp_path / f"{name}.onnx", images[:10])
    models = {name: (load_onnx, tmp_path / f"{name}.onnx") for name in ("dense_128", "cnn_16_32")}
    seen = []
    timed = latency_and_throughput(models, images, 5, here={"own": lambda batch: seen.append(len(batch))})
    assert list(timed) == ["dense_128", "cnn_16_32", "own"]
    for of_model in timed.values():
        assert of_model["latency_ms"]["quartile_low"] <= of_model["latency_ms"]["median"]
        assert of_model["images_per_second"]["median"] > 0
    assert set(seen) == {1, 100}
    assert timed["cnn_16_32"]["latency_ms"]["median"] > timed["own"]["latency_ms"]["median"]
    assert not active_children()


def kill_itself(path: Path):
    raise SystemExit(path.name)


def test_process_that_ends_is_told_in_one_line_and_leaves_no_other(digits, tmp_path):
    write_onnx(model("dense_128"), tmp_path / "good.onnx", digits[0][:10])
    models = {"good": (load_onnx, tmp_path / "good.onnx"), "bad": (kill_itself, tmp_path / "bad.onnx")}
    with pytest.raises(InputError, match=r"bad\.onnx: the process that times it ended"):
        latency_and_throughput(models, digits[0][:10], 5)
    assert not active_children()
