"""The transfer with a teacher from elsewhere, stopped by force: the same bytes, and no work again."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import change_params, run, stages_run, started
from foreign import settings, write_linear
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from distillery.data.errors import InputError
from distillery.data.prepared import load_info, load_split
from distillery.distillation.transfer_set import view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.learning.prediction import PREDICT_BATCH
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

VIEWS = 4


def slow_down(path: Path, width: int) -> None:
    """Add to a linear classifier's logits a little that takes long."""
    model, random = onnx.load(path), np.random.default_rng(0)
    last = "flat"
    for number, shape in enumerate([(64, width), (width, width), (width, 10)]):
        weights = random.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, f"wide_{number}"))
        model.graph.node.append(helper.make_node("MatMul", [last, f"wide_{number}"], [f"wider_{number}"]))
        model.graph.node.append(helper.make_node("Relu", [f"wider_{number}"], [last := f"relu_{number}"]))
    model.graph.node.append(helper.make_node("Add", ["logits", last], ["sum"]))
    model.graph.output[0].name = "sum"
    onnx.save(model, path)


def take(pipeline: Path, folder: Path, name: str, strength: float = 1.0, width: int = 0) -> Path:
    """Take a classifier of the shared run's digits, of pixels from 0 to 1; return its own file."""
    prepared = pipeline / "data/prepared"
    parts = {part: load_split(prepared, part) for part in ("train", "validation", "test")}
    pixels = np.asarray(parts["train"].images).reshape(len(parts["train"].images), -1) / 255
    linear = LogisticRegression(C=strength, max_iter=300).fit(pixels, parts["train"].labels)
    own = write_linear(folder.parent / f"{name}.onnx", linear, (8, 8, 1))
    if width:
        slow_down(own, width)
    take_teacher(settings(own, preprocessing="unit"), load_info(prepared), parts, folder, "digits")
    return own


def views_of(images: np.ndarray) -> Views:
    return Views(Policy(max_shift=1), len(images), VIEWS)


def by_onnx_runtime(own: Path, images: np.ndarray, number: int) -> np.ndarray:
    """Return the logits of one view by ONNX Runtime alone."""
    shown = views_of(images).show(images, np.arange(len(images)), number)
    return onnxruntime.InferenceSession(own).run(None, {"x": np.moveaxis(shown, -1, 1).astype(np.float32) / 255})[0]


@pytest.fixture
def images(pipeline) -> np.ndarray:
    return np.load(pipeline / "data/prepared/train_images.npy")


def test_what_an_earlier_process_kept_is_not_computed_again(pipeline, images, tmp_path):
    own = take(pipeline, tmp_path / "teacher", "own")
    teacher, right = load_teacher(tmp_path / "teacher"), by_onnx_runtime(own, images, 1)
    first = view_outputs(teacher, images, views_of(images), 1, tmp_path)["logits"]
    np.testing.assert_allclose(first, right, atol=1e-4)
    (shard,) = tmp_path.glob("*.npz")
    begun = {"0.logits": first[:PREDICT_BATCH] + 100}  # numbers that no teacher gives
    np.savez(shard, **begun)
    again = view_outputs(teacher, images, views_of(images), 1, tmp_path)["logits"]
    np.testing.assert_array_equal(again[:PREDICT_BATCH], begun["0.logits"])
    np.testing.assert_array_equal(again[PREDICT_BATCH:], first[PREDICT_BATCH:])
    assert len(again) == len(images) > PREDICT_BATCH


def test_another_view_and_another_teacher_are_computed_anew(pipeline, images, tmp_path):
    own = take(pipeline, tmp_path / "teacher", "own")
    view_outputs(load_teacher(tmp_path / "teacher"), images, views_of(images), 0, tmp_path)
    other = take(pipeline, tmp_path / "other", "other", strength=0.01)
    for folder, file, number in (("teacher", own, 1), ("other", other, 0)):
        found = view_outputs(load_teacher(tmp_path / folder), images, views_of(images), number, tmp_path)["logits"]
        np.testing.assert_allclose(found, by_onnx_runtime(file, images, number), atol=1e-4)
    assert len(list(tmp_path.glob("*.npz"))) == 3


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_damaged_shard_is_refused(pipeline, images, tmp_path, part):
    take(pipeline, tmp_path / "teacher", "own")
    teacher = load_teacher(tmp_path / "teacher")
    view_outputs(teacher, images, views_of(images), 0, tmp_path)
    (shard,) = tmp_path.glob("*.npz")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"batch_000000\.npz: damaged .*; remove it and run `dvc repro` again"):
        view_outputs(teacher, images, views_of(images), 0, tmp_path)
    shard.write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    with pytest.raises(InputError, match="damaged"):
        view_outputs(teacher, images, views_of(images), 0, tmp_path)


def shards(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in folder.glob(".distillery/resume/transfer-*/*.npz"))


def killed_within_the_third_view(folder: Path) -> subprocess.Popen:
    """Kill the stage when a part of the view is kept, since more than ten seconds have passed.

    They pass while the process is stopped, as by Ctrl-Z.
    """
    process = started(folder, "transfer")
    while "view 2 of" not in (line := process.stdout.readline()):
        assert line, "it ended"
    time.sleep(0.02)  # the view has begun
    process.send_signal(signal.SIGSTOP)
    time.sleep(10.1)
    process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while "view_0002-batch_000000.npz" not in shards(folder):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.long
def test_a_transfer_killed_within_a_view_ends_with_the_same_bytes(pipeline, images, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "a clone", symlinks=True))
    change_params(folder, {"student": {"views": VIEWS, "max_shift": 1}})
    shutil.rmtree(folder / "models/teacher")
    own = take(folder, folder / "models/teacher", "own", width=4000)
    transfer = ("dvc", "repro", "--single-item", "transfer")
    run(folder, *transfer)
    made = {path.name: path.read_bytes() for path in (folder / "data/transfer").iterdir()}
    right = np.stack([by_onnx_runtime(own, images, number) for number in range(VIEWS)])
    np.testing.assert_allclose(np.load(folder / "data/transfer/logits.npy"), right, atol=1e-3)
    assert not shards(folder)

    shutil.rmtree(folder / "data/transfer")
    killed_within_the_third_view(folder)
    assert shards(folder)[:2] == ["view_0000-batch_000000.npz", "view_0001-batch_000000.npz"]
    assert not (folder / "data/transfer/transfer.json").exists()
    again = run(folder, *transfer, "--force")
    assert stages_run(again) == ["transfer"]
    assert {path.name: path.read_bytes() for path in (folder / "data/transfer").iterdir()} == made
    assert not shards(folder)
