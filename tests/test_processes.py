"""One training on several processes: the history of one, and a killed process stops them all until they go on."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import change_params, environment, free_port, kill_after, outputs, run

from distillery.data.errors import InputError
from pipeline.processes import ADDRESSES, COUNT, NUMBER, Processes, link_inputs, processes_of

PARAMETERS = {"train_teacher.devices": 2, "student.devices": 1}
TWO = {ADDRESSES: "10.0.0.1:1234,10.0.0.2:1234", COUNT: "2", NUMBER: "1", "KERAS_BACKEND": "jax"}


def test_keras_variables_say_who_trains_together():
    assert processes_of("train_teacher", PARAMETERS, {}) is None
    assert processes_of("train_teacher", PARAMETERS, TWO | {COUNT: "1"}) is None
    assert processes_of("train_teacher", PARAMETERS, TWO) == Processes("10.0.0.1:1234", 2, 1)


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("train_teacher", {COUNT: "two"}, f"{COUNT}: found 'two'; accepted: a whole number from 1 to 4096"),
        ("train_teacher", {NUMBER: "2"}, f"{NUMBER}: found '2'; accepted: a whole number from 0 to 1"),
        ("train_teacher", {NUMBER: ""}, f"{NUMBER}: found ''; accepted: a whole number from 0 to 1"),
        ("train_teacher", {ADDRESSES: "10.0.0.1"}, f"{ADDRESSES}: found '10.0.0.1'; accepted: host and port"),
        (
            "train_teacher",
            {"KERAS_BACKEND": "torch"},
            f"KERAS_BACKEND: found 'torch'; accepted where {COUNT} is 2: jax",
        ),
        ("train_teacher", {"KERAS_BACKEND": ""}, f"KERAS_BACKEND: found ''; accepted where {COUNT} is 2: jax"),
        ("distill", {}, "process 0 runs this stage alone: student.devices is 1"),
        ("evaluate", {}, "process 0 runs this stage alone: it trains nothing"),
    ],
)
def test_variables_that_fit_nothing_raise_input_error(stage, changes, message):
    with pytest.raises(InputError) as error:
        processes_of(stage, PARAMETERS, TWO | changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_process_0_trains_alone_on_one_device_and_says_so(capsys):
    assert processes_of("distill", PARAMETERS, TWO | {NUMBER: "0"}) is None
    assert "this process trains alone: student.devices is 1" in capsys.readouterr().out
    assert processes_of("evaluate", PARAMETERS, TWO | {NUMBER: "0"}) is None
    assert capsys.readouterr().out == ""


def test_a_follower_reads_the_project_and_writes_elsewhere(project, tmp_path):
    shutil.copy(Path(__file__).parent.parent / "dvc.yaml", project)
    for name in ("models/teacher/teacher.keras", "models/distilled/old.keras", "metrics/distill.json", ".env"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    folder = tmp_path / "follower"
    folder.mkdir()
    link_inputs("distill", project, folder)
    assert (folder / "models/teacher/teacher.keras").exists()
    assert (folder / "stages/distill.py").is_file()
    assert not (folder / "models/distilled").exists()
    assert not (folder / "metrics/distill.json").exists()
    assert not (folder / ".env").exists()
    (folder / "metrics/distill.json").write_text("{}")
    assert (project / "metrics/distill.json").read_text() == ""


class Together:
    """Two clones, a process each."""

    def __init__(self, folders: tuple[Path, Path]):
        self.folders = folders

    def start(self, stage: str) -> list[subprocess.Popen]:
        shared = {ADDRESSES: f"127.0.0.1:{free_port()}", COUNT: "2", "KERAS_BACKEND": "jax", "PYTHONUNBUFFERED": "1"}
        return [
            subprocess.Popen(
                [sys.executable, "-m", "pipeline", stage],
                cwd=folder,
                env=environment(DVC_ROOT=str(folder), **shared, **{NUMBER: str(number)}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number, folder in enumerate(self.folders)
        ]

    def run(self, stage: str) -> list[str]:
        """Return what each process said."""
        running = self.start(stage)
        said = [process.communicate(timeout=300)[0] for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        return said


@pytest.fixture
def together(pipeline, tmp_path) -> Together:
    folders = tuple(Path(shutil.copytree(pipeline, tmp_path / name, symlinks=True)) for name in ("first", "second"))
    for folder in folders:
        change_params(folder, {"student": {"devices": 2, "seeds": [0]}, "train_teacher": {"devices": 2}})
    return Together(folders)


@pytest.mark.long
@pytest.mark.parametrize(("stage", "victim", "words"), [("train_teacher", 0, "Epoch 3/4"), ("distill", 1, "Epoch 3/3")])
def test_two_processes_have_the_history_of_one_killed_or_not(together, tmp_path, stage, victim, words):
    first, second = together.folders
    alone = Path(shutil.copytree(first, tmp_path / "alone", symlinks=True))
    split = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    run(alone, "python", "-m", "pipeline", stage, **split, DVC_ROOT=str(alone))
    before = outputs(second)
    together.run(stage)
    history, expected = (pd.read_csv(folder / f"plots/{stage}/curves.csv") for folder in (first, alone))
    np.testing.assert_allclose(history, expected, rtol=0.002, atol=1e-4)
    assert outputs(second) == before  # one writes
    whole = outputs(first)

    running = together.start(stage)
    killed, other = running[victim], running[1 - victim]
    kill_after(killed, words)
    said = other.communicate(timeout=60)[0]
    assert other.returncode == 1
    assert "Traceback" not in said
    assert "start all of them again, and training goes on after the last epoch" in said.splitlines()[-1]
    assert all("going on after epoch 2, where this training was stopped" in said for said in together.run(stage))
    assert outputs(first) == whole


@pytest.mark.long
def test_a_process_whose_others_do_not_come_ends_with_a_line(together):
    soon = "from pipeline import __main__, processes; processes.WAIT_SECONDS = 5.0; __main__.main()"
    shared = {ADDRESSES: f"127.0.0.1:{free_port()}", COUNT: "2", NUMBER: "0", "KERAS_BACKEND": "jax"}
    folder = together.folders[0]
    answer = run(folder, "python", "-c", soon, "train_teacher", check=False, **shared, DVC_ROOT=str(folder))
    assert answer.returncode == 1
    assert "the 2 processes did not come together" in answer.stdout.splitlines()[-1]


@pytest.mark.long
def test_a_process_with_other_work_stops_all_of_them(together):
    change_params(together.folders[1], {"train_teacher": {"epochs": 5}})
    for process in together.start("train_teacher"):
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 1
        assert "process 1 of 2 has other parameters, code, data or versions" in said.splitlines()[-1]
