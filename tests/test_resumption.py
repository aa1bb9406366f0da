"""Training that was stopped goes on and ends as if nothing had happened: in the same process, and killed for real."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, change_params, environment, kill_after, run, spec, started, store, tracked, wait_for_sync

from distillery import Distiller, build_model, load_method, save_model
from distillery.data.errors import InputError, refusal
from distillery.data.prepared import Split
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Batches, Examples
from distillery.learning.checkpoint import Checkpoint
from distillery.learning.models import float32_copy
from distillery.learning.resizing import resized_split
from distillery.learning.settings import Training
from distillery.learning.training import compile_model, fit
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import TrainingSet
from pipeline import stages
from pipeline.params import load_params
from pipeline.resume import resume_directory, stage_fingerprint

TRAINING = {"epochs": 4, "batch_size": 64, "learning_rate": 0.003}


class Stopped(Exception):
    pass


def teacher(digits, path: Path, checkpoint: Checkpoint | None, stop_after: int = 99, **changes):
    """Augmentation, dropout, batch normalisation, weight decay, a schedule: all that has a state, in one training."""
    changes = {"architecture": "dense_128", "precision": "float32"} | changes
    training = Training(**TRAINING, weight_decay=0.01, precision=changes["precision"])
    built_from = spec(changes["architecture"], dropout=0.3, max_norm=2.0)
    model = build_model(built_from, 3, training.precision)
    policy = Policy(max_shift=1, horizontal_flip=True)
    examples = Examples(digits[0][:150], digits[1][:150], augmentation=policy)
    batches = Batches(examples, training.batch_size, 3)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    seen = []

    def on_epoch_end(epoch):
        seen.append(epoch)
        if epoch.number == stop_after and len(seen) == stop_after:
            raise Stopped

    validation = Split(digits[0][600:900], digits[1][600:900], "")
    result = fit(model, batches, validation, training.epochs, on_epoch_end, checkpoint)
    save_model(float32_copy(model, built_from, 3), path)
    return result, seen


@pytest.mark.parametrize(("precision", "stops"), [("float32", [1, 3]), ("mixed_bfloat16", [2, 4])])
def test_teacher_stopped_after_an_epoch_ends_with_the_same_bytes(digits, normalised, tmp_path, precision, stops):
    kind = {"architecture": normalised, "precision": precision}
    undisturbed, seen = teacher(digits, tmp_path / "undisturbed.keras", None, **kind)
    folder = tmp_path / "stopped"
    for stop_after in stops:
        with pytest.raises(Stopped):
            teacher(digits, tmp_path / "never.keras", Checkpoint(folder, "teacher"), stop_after, **kind)
    assert not (tmp_path / "never.keras").exists()
    resumed, seen_again = teacher(digits, tmp_path / "resumed.keras", Checkpoint(folder, "teacher"), **kind)
    assert (tmp_path / "resumed.keras").read_bytes() == (tmp_path / "undisturbed.keras").read_bytes()
    assert [epoch.metrics for epoch in seen_again] == [epoch.metrics for epoch in seen]
    assert [epoch.metrics for epoch in resumed.epochs] == [epoch.metrics for epoch in undisturbed.epochs]
    assert resumed.best_epoch == undisturbed.best_epoch
    for mine, other in zip(seen_again, seen, strict=True):
        np.testing.assert_array_equal(mine.predictions, other.predictions)


def test_students_stopped_at_an_epoch_end_with_the_same_bytes(digits, normalised, tmp_path):
    """Views are scaled; moving statistics, too, go on where they were, and what a method learns and draws itself."""
    images, labels = digits[0][:600], digits[1][:600]
    logits = np.random.default_rng(0).normal(size=(3, 600, 10)).astype(np.float32)
    views = Views(Policy(1, False, 0.5, 0.2, 0.2, 0.0, 0.5, mixup=0.4, cutmix=1.0), 600, 3)
    built_from = spec(normalised, image_shape=(12, 12, 1), dropout=0.3)
    stored = {"logits": logits, "embedding": logits[:, :, ::2].astype(np.float16)}
    soft_loss = load_method("crd")
    teacher = soft_loss.read(stored)
    examples = Examples(images, labels, np.arange(600), views, teacher, size=built_from.size, classes=10)
    validation = resized_split(Split(digits[0][600:800], digits[1][600:800], "validation"), built_from.size)
    data = TrainingSet(examples, validation, "train")
    training = Training(**TRAINING | {"epochs": 2})

    def train(folder: Path, resume_folder: Path | None, stop_at: tuple[int, int] | None = None) -> list:
        seen = []

        def on_epoch_end(seed, epoch):
            seen.append((seed, epoch.number, epoch.metrics, epoch.ended))
            if (seed, epoch.number) == stop_at:
                raise Stopped

        known = soft_loss.over(teacher)
        trainer = SeedTrainer(built_from, training, 5, 600, lambda model: Distiller(model, 4.0, 0.1, soft_loss=known))
        train_students(trainer, [5, 6], data, folder, on_epoch_end, resume_folder)
        return seen

    seen = train(tmp_path / "undisturbed", None)
    for stop_at in ((5, 1), (6, 1)):
        with pytest.raises(Stopped):
            train(tmp_path / "never", tmp_path / "stopped", stop_at)
    seen_again = train(tmp_path / "resumed", tmp_path / "stopped")
    assert [row[:3] for row in seen_again] == [row[:3] for row in seen]
    for name in ("seed_5.keras", "seed_6.keras"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_an_epoch_keeps_the_time_at_which_it_ended(digits, tmp_path):
    """By its time MLflow knows a metric that it has already."""
    checkpoint = Checkpoint(tmp_path, "teacher")
    with pytest.raises(Stopped):
        teacher(digits, tmp_path / "never.keras", checkpoint, 2)
    before = [epoch.ended for epoch in checkpoint.load().epochs]
    time.sleep(0.01)
    _, seen = teacher(digits, tmp_path / "resumed.keras", checkpoint)
    assert [epoch.ended for epoch in seen[:2]] == before
    assert seen[2].ended > before[1]


def test_damaged_checkpoint_raises_input_error(digits, tmp_path):
    with pytest.raises(Stopped):
        teacher(digits, tmp_path / "never.keras", Checkpoint(tmp_path, "teacher"), 2)
    path = tmp_path / "teacher.npz"
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\0" * len(whole), whole[:1000] + b"x" + whole[1001:]):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=r"teacher\.npz: damaged .*; remove the folder .* and run `dvc"):
            Checkpoint(tmp_path, "teacher").load()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """What a fingerprint is made from: parameters, `dvc.yaml`, code and the description of the data."""
    for room in ("stages", "distillery", "pipeline", "datasets", "architectures", "methods"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "own.weights.h5").write_text("weights")
    (tmp_path / "data/prepared").mkdir(parents=True)
    (tmp_path / "data/prepared/dataset.json").write_text('{"digests": {"train": "ab"}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    stages._stages.cache_clear()
    return tmp_path


def test_changed_parameters_data_or_code_have_another_fingerprint(project, monkeypatch):
    def digest() -> str:
        return stage_fingerprint("distill", load_params().flat())

    first = digest()
    assert digest() == first
    (project / "distillery/figures/style.py").write_text("# no module of this stage")
    (project / "methods/dkd.py").write_text((project / "methods/dkd.py").read_text() + "# another method")
    (project / "methods/example.py").write_text("def loss(labels, teacher, student, temperature): pass")
    change_params(project, {"distill": {"dkd": {"beta": 2.0}}})
    change_params(project, {"evaluate": {"sheet_images": 3}, "train_scratch": {"label_smoothing": 0.1}})
    assert digest() == first
    seen = {first}
    for change in (
        lambda: change_params(project, {"distill": {"temperature": 5.0}}),
        lambda: change_params(project, {"student": {"seeds": [0, 1]}}),
        lambda: (project / "data/prepared/dataset.json").write_text('{"digests": {"train": "cd"}}'),
        lambda: (project / "distillery/learning/losses.py").write_text("# another loss"),
        lambda: (project / "distillery/learning/new.py").write_text("# a new module in a folder of code"),
        lambda: (project / "methods/kd.py").write_text("def loss(labels, teacher, student, temperature): pass"),
        lambda: (project / "architectures/dense_800_800.py").write_text("def features(pixels, dropout): pass"),
        lambda: change_params(project, {"student": {"weights": "own.weights.h5"}}),
        lambda: (project / "own.weights.h5").write_text("other weights at the same place"),
        lambda: monkeypatch.setenv("KERAS_BACKEND", "jax"),
    ):
        change()
        assert digest() not in seen
        seen.add(digest())


def test_the_folder_is_found_again_only_after_a_stop_and_by_one_process_at_a_time(project):
    parameters = load_params().flat()

    def stopped() -> None:
        with resume_directory("distill", parameters) as first:
            (first / "kept").write_text("x")
            with resume_directory("distill", parameters) as beside:
                assert not list(beside.glob("kept"))
            assert not beside.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with resume_directory("distill", parameters) as again:
        assert (again / "kept").is_file()
    assert not again.exists()


def test_what_nobody_came_back_for_is_removed_after_a_month(project, monkeypatch):
    parameters = load_params().flat()
    left = project / ".distillery/resume/distill-0123456789abcdef01234567.1"
    left.mkdir(parents=True)
    with resume_directory("distill", parameters):
        assert left.exists()
    os.utime(left, (time.time() - 31 * 24 * 3600,) * 2)
    with resume_directory("distill", parameters):
        assert not left.exists()


def test_of_two_that_did_the_same_work_the_one_that_was_stopped_is_gone_on_with(project):
    parameters = load_params().flat()
    first, second = resume_directory("distill", parameters), resume_directory("distill", parameters)
    first.__enter__()
    (second.__enter__() / "kept").write_text("x")
    first.__exit__(None, None, None)  # it ends well
    second.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with resume_directory("distill", parameters) as again:
        assert (again / "kept").is_file()


def resume_files(folder: Path) -> set[Path]:
    return set((folder / ".distillery/resume").glob("*/*.npz"))


def kill_while_writing(process: subprocess.Popen, folder: Path) -> None:
    """SIGKILL while a checkpoint is being written under its temporary name."""
    for line in process.stdout:
        if "Epoch" in line:  # what an earlier process left half written is gone by now
            break
    deadline = time.monotonic() + 120
    while not any(path.name.startswith(".") for path in resume_files(folder)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
    process.kill()
    process.wait()


def made_by(folder: Path, stage: str) -> dict[str, bytes]:
    kinds = {"distill": ["distilled"], "train_scratch": ["scratch", "same_recipe"]}
    files = [path for kind in kinds[stage] for path in (folder / "models" / kind).iterdir()]
    files += [folder / f"metrics/{stage}.json", *(folder / f"plots/{stage}").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_stage_killed_in_the_first_epoch_between_epochs_and_while_writing(pipeline, tmp_path):
    """Its outputs are those of the undisturbed pipeline; MLflow has one run, and every epoch in it once."""
    folder = shutil.copytree(pipeline, tmp_path / "clone")
    before = made_by(folder, "distill")
    for place in ("models/distilled", "plots/distill", ".distillery", "mlartifacts"):
        shutil.rmtree(folder / place)
    (folder / "mlflow.db").unlink()

    kill_after(started(folder, "distill"), "Epoch 1/3")
    kill_after(started(folder, "distill"), "Epoch 3/3")  # of the first seed
    kill_while_writing(started(folder, "distill"), folder)
    said = kill_after(started(folder, "distill"), "student 2 of 2")
    assert "going on after epoch" in said
    last = started(folder, "distill")
    said, _ = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert made_by(folder, "distill") == before
    assert not resume_files(folder)

    wait_for_sync(folder)
    client, record = store(folder), tracked(folder, "workspace")
    experiment = client.get_experiment_by_name("distillery").experiment_id
    assert len(client.search_runs([experiment])) == 1
    assert record["distill"].info.status == "FINISHED"
    run_id = record["distill"].info.run_id
    for metric in ("loss", "seed_0/val_accuracy", "seed_1/soft_loss"):
        assert [point.step for point in client.get_metric_history(run_id, metric)] == [1, 2, 3], metric
    (best,) = client.get_metric_history(run_id, "best.val_accuracy")
    assert best.value == json.loads(before["metrics/distill.json"])["val_accuracy"]
    pictures = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
    assert len(pictures) == 3
    assert len(client.search_logged_models([experiment])) == 1


def test_ctrl_c_ends_the_stage_and_the_run_is_marked_killed(pipeline, tmp_path):
    folder = shutil.copytree(pipeline, tmp_path / "clone")
    before = made_by(folder, "train_scratch")
    process = started(folder, "train_scratch")
    place = iter(["with the recipe of the distilled students", "student 2 of 2", "Epoch 2/3"])
    wanted = next(place)
    for line in process.stdout:  # the students with their own recipe are done
        if wanted in line and (wanted := next(place, "")) == "":
            break
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.strip().splitlines()[-1] == "train_scratch: interrupted"
    assert "Traceback" not in said
    wait_for_sync(folder)
    client = store(folder)
    (stopped,) = client.search_runs(
        [client.get_experiment_by_name("distillery").experiment_id],
        "attributes.status = 'KILLED'",
    )
    run(folder, "python", "-m", "pipeline", "train_scratch", DVC_ROOT=str(folder))
    wait_for_sync(folder)
    assert client.get_run(stopped.info.run_id).info.status == "FINISHED"
    assert made_by(folder, "train_scratch") == before


def test_full_disk_raises_one_line_and_leaves_the_earlier_results(pipeline, tmp_path):
    """The system refuses to write any further into a file than a megabyte, as a full disk does."""
    folder = shutil.copytree(pipeline, tmp_path / "clone")
    before = made_by(folder, "distill")
    answer = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM],
        cwd=folder,
        env=environment(DVC_ROOT=str(folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    said = answer.stderr.strip().splitlines()[-1]
    assert said.startswith(f"distill: {folder}/.distillery/resume/distill-")
    assert said.endswith("could not be written: file too large; make room and run `dvc repro` again")
    assert "Traceback" not in answer.stderr
    assert made_by(folder, "distill") == before
    assert not [path for path in folder.rglob(".*") if path.suffix in (".npz", ".keras", ".json")]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "x.npy could not be written: the disk is full; make room"),
        (errno.EROFS, "x.npy could not be written: the file system is read-only; mount it otherwise"),
        (errno.EACCES, "x.npy could not be opened: this user may not; change its owner or permissions"),
        (errno.ENOENT, None),
    ],
)
def test_what_the_system_refuses_is_said_in_words(number, said):
    assert refusal(OSError(number, "strerror", "x.npy")) == said


LITTLE_ROOM = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.argv = ["pipeline", "distill"]
runpy.run_module("pipeline", run_name="__main__")
"""
