"""Trials of a search: each a DVC experiment, made in a clone of the user's repository that shares its DVC cache.

The user's own files, its Git index and DVC's locks are not touched; of a finished trial Git's ref alone is fetched. A
clone is one worker's and serves one trial after the other, so that data and teacher are checked out once.

    python -m experiments.search_trials FOLDER    ends the trials of a search when its process is gone
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ruamel.yaml import YAML
from scipy.special import log_softmax

from distillery.data.errors import InputError
from distillery.data.files import atomic_write, file_digest, read_json
from distillery.data.prepared import load_info, load_split, select
from distillery.students.choice import load_students, onnx_models, predict_students
from experiments.run import environment
from experiments.search_space import LAST_STAGE
from pipeline.flat import put
from pipeline.resume import named
from pipeline.stages import outs, stage_deps, stage_names, upstream
from pipeline.tracking.repro import TRIAL

MARKER = "DISTILLERY_SEARCH"  # in the environment of a trial's processes: the file with the number of their group
# Seconds to end in. Ctrl-C twice: where a library that is being imported swallows the first.
PATIENCE = ((signal.SIGINT, 5.0), (signal.SIGINT, 10.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
BEGUN = 'echo $$ > "$0" && exec "$@"'  # a shell that notes its number and becomes the program
STUDENT = re.compile(r"student \d+ of \d+, seed (\d+)")
EPOCH, SHOWN = re.compile(r"Epoch (\d+)/\d+"), re.compile(r"[\d.]+ s: (.*val_accuracy.*)")
LAST_LINES = 8
WHO = ("-c", "user.name=search", "-c", "user.email=search@localhost")  # Git wants to know, also where nobody has said


def git(folder: Path, *words: str, **variables: str) -> str:
    """Return what Git answers in a folder.

    Raises:
        InputError: in a line, where it fails.
    """
    try:
        answer = subprocess.run(
            ["git", *WHO, *words], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise InputError("Git is not installed, or not in PATH; trials are kept in it") from None
    if answer.returncode:
        said = (answer.stderr.strip() or f"exit code {answer.returncode}").splitlines()[-1]
        raise InputError(f"git {' '.join(words[:2])}: {said}")
    return answer.stdout.strip()


class Snapshot:
    """The state from which all trials of a search start: a commit, and what the working tree had changed.

    Args:
        project: the user's repository.
        name: of the search.

    Attributes:
        baseline: the commit below which `dvc exp show` lists the trials.
        ref: keeps a commit with the whole state, so that a search that goes on next month starts from the same.
    """

    def __init__(self, project: Path, name: str):
        self._project = project
        self.ref = f"refs/distillery/search/{name}"
        self.baseline = git(project, "for-each-ref", "--format=%(parent)", self.ref)

    def take(self) -> None:
        """Keep the present state. The working tree and Git's index stay as they are."""
        self.baseline = git(self._project, "rev-parse", "HEAD")
        self.keep(self._project, present(self._project))

    def keep(self, folder: Path, tree: str) -> None:
        """Keep a tree of a clone, or of the repository itself, as the state from which trials start."""
        commit = git(folder, "commit-tree", tree, "-p", self.baseline, "-m", "where the trials start")
        git(folder, "update-ref", self.ref, commit)
        if folder != self._project:
            git(self._project, "fetch", "--quiet", str(folder), f"+{self.ref}:{self.ref}")


def present(project: Path) -> str:
    """Return the tree of the files that Git keeps, as they are in the working tree. Git's own index is not changed."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        own = project / git(project, "rev-parse", "--git-path", "index")
        if own.is_file():
            shutil.copyfile(own, index)
        git(project, "add", "--update", GIT_INDEX_FILE=str(index))
        return git(project, "write-tree", GIT_INDEX_FILE=str(index))


def input_trees(project: Path, deps: Sequence[str]) -> dict[str, str]:
    """Return what Git calls the content of a stage's deps as they are now: code and files that parameters name."""
    listed = git(project, "ls-tree", present(project), *(dep.rstrip("/") for dep in deps if inside(dep)))
    known = {line.partition("\t")[2]: line.split()[2] for line in listed.splitlines()}
    others = (dep for dep in deps if dep not in known and (project / dep).is_file())
    return known | {dep: file_digest(project / dep) for dep in others}


def inside(dep: str) -> bool:
    """Return whether a path lies in the repository wherever that is."""
    return not Path(dep).is_absolute() and not dep.startswith("..")


def brought(parameters: Mapping[str, Any]) -> list[str]:
    """Return the paths that the students depend on and no stage makes: code, and files that parameters name.

    Args:
        parameters: all, flat.

    Raises:
        InputError: when one is relative and lies elsewhere: a clone would look for it in another place.
    """
    made = {out for stage in stage_names() for out in outs(stage)}
    deps = [
        dep for stage in upstream(LAST_STAGE) for dep in (*stage_deps(stage, parameters), *named(stage, parameters))
    ]
    for dep in deps:
        if dep.startswith(".."):
            raise InputError(f"{dep}: lies outside this repository; trials run in other folders: give its whole path")
    return [dep for dep in dict.fromkeys(deps) if not any(dep == out or dep.startswith(f"{out}/") for out in made)]


class Worker:
    """A clone in which trials run, one after the other.

    Args:
        project: the user's repository.
        folder: of the clone; one that is left there is removed, whatever state it is in.
        snapshot: from which trials start.
        pull: whether what is not in the cache is taken from DVC's remote.
    """

    def __init__(self, project: Path, folder: Path, snapshot: Snapshot, pull: bool = False):
        self.folder, self._project, self._snapshot = folder, project, snapshot
        self._repro = "dvc repro --pull" if pull else "dvc repro"

    def renew(self, also: Sequence[str] = ()) -> None:
        """Make the clone anew.

        Args:
            also: paths that parameters name; those that Git does not keep are copied.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        git(self._project, "clone", "--quiet", "--no-checkout", str(self._project), str(self.folder))
        git(self.folder, "fetch", "--quiet", "origin", f"+{self._snapshot.ref}:{self._snapshot.ref}")
        git(self.folder, "checkout", "--quiet", "--detach", self._snapshot.baseline)
        for key in ("user.name", "user.email"):
            git(self.folder, "config", key, "search@localhost")
        self.reset()
        own = self._project / ".dvc/config.local"
        if own.is_file():
            shutil.copy2(own, self.folder / ".dvc/config.local")
        place = self._run_dvc(self._project, "cache", "dir").strip()
        self._run_dvc(self.folder, "cache", "dir", "--local", str((self._project / place).resolve()))
        for path in also:
            source, target = self._project / path, self.folder / path
            if inside(path) and source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)

    def reset(self) -> None:
        """Put all files that Git keeps back to the state from which trials start."""
        git(self.folder, "read-tree", "--reset", "-u", self._snapshot.ref)

    def base(self, stages: Sequence[str], log: Path, environment: Mapping[str, str]) -> "Process":
        """Start those stages that no trial runs again: the clones of the other workers then find them in the cache."""
        return Process(["dvc", "repro", *stages], self.folder, log, environment)

    def keep_base(self) -> None:
        """Let trials start from what those stages made."""
        git(self.folder, "add", "--all")
        self._snapshot.keep(self.folder, git(self.folder, "write-tree"))

    def start(self, name: str, setting: Mapping[str, Any], log: Path, trial: str) -> "Process":
        """Start a trial.

        Args:
            name: of the DVC experiment.
            setting: the values of the parameters that vary.
            log: gets what it prints.
            trial: by which MLflow's runs of its stages find the run of the trial.
        """
        self.reset()
        yaml = YAML()
        path = self.folder / "params.yaml"
        tree = yaml.load(path)
        for key, value in setting.items():
            put(tree, key, value)
        with atomic_write(path) as temporary:
            yaml.dump(tree, temporary)
        variables = {TRIAL: trial, "DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": self._snapshot.baseline}
        # Not `dvc exp run`: it would take the clone for the place of MLflow's database and of checkpoints.
        steps = f'{self._repro} "$1" && git add --all && exec dvc exp save --name "$2" "$1"'
        both = ["sh", "-c", steps, "sh", LAST_STAGE, name]
        return Process(both, self.folder, log, variables)

    def collect(self, name: str) -> None:
        """Take a finished trial over as an experiment of the user's repository: from then on `dvc exp show` has it."""
        ref = experiment_ref(self._snapshot.baseline, name)
        git(self._project, "fetch", "--quiet", str(self.folder), f"+{ref}:{ref}")

    def share(self, name: str) -> None:
        """Push a finished trial that was taken over: its experiment, outputs, run cache and MLflow runs."""
        self._run_dvc(self._project, "exp", "push", "--force", "--run-cache", "origin", name)
        subprocess.run([sys.executable, "-m", "pipeline.tracking.sync"], cwd=self._project, check=False)

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the trial that ran last."""
        return read_json(self.folder / "metrics/distill.json")

    def answers(self, omitted: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the students of the trial that ran last answer on the validation images.

        Args:
            omitted: names of classes that students never see; nor are they asked about them.

        Returns:
            `seeds`; and a row per seed with a number per image: `val_accuracy`, 1 where it is correct, and `val_loss`.
        """
        students = load_students(self.folder / "models/distilled")
        prepared = self.folder / "data/prepared"
        images = load_split(prepared, "validation")
        if labels := load_info(prepared).labels_of(list(omitted)):
            images = select(images, np.flatnonzero(~np.isin(images.labels, labels)))
        logits = predict_students(onnx_models(students), images.images)
        own = np.asarray(images.labels)
        losses = -log_softmax(logits.astype(np.float64), axis=2)[:, np.arange(len(own)), own]
        correct = (logits.argmax(axis=2) == own).astype(np.float64)
        return {"seeds": np.array(list(students.paths)), "val_accuracy": correct, "val_loss": losses}

    def _run_dvc(self, folder: Path, *words: str) -> str:
        answer = subprocess.run(
            ["dvc", *words], cwd=folder, env=environment(), capture_output=True, text=True, check=False
        )
        if answer.returncode:
            raise InputError(f"dvc {' '.join(words)}: {(answer.stderr.strip() or 'no answer').splitlines()[-1]}")
        return answer.stdout


def experiment_ref(baseline: str, name: str) -> str:
    """Return what Git calls a DVC experiment."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


class Process:
    """A program and all that it starts, in a process group of its own.

    Args:
        command: the program.
        folder: in which it runs.
        log: gets what it prints, after what an earlier attempt printed. Beside it lies the number of the group.
        variables: of its environment, besides those of this process.
    """

    def __init__(self, command: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str]):
        self.log, self._number = log, log.with_suffix(".pid")
        self._begun = log.stat().st_size if log.exists() else 0
        project = str(Path.cwd())
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", BEGUN, str(self._number), *command],
                cwd=folder,
                env=environment() | {"DVC_ROOT": project, MARKER: str(self._number), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Return the exit status, None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._number.unlink(missing_ok=True)
        return status

    def wait(self) -> int:
        """Return the exit status when it has ended."""
        self._process.wait()
        return self.ended()

    def stop(self) -> None:
        """End it and all that it started, as Ctrl-C would; by force where that takes too long."""
        stop_group(self._number)
        self._process.wait()

    def last_lines(self) -> list[str]:
        """Return the last lines that it printed."""
        return last_lines(self.log, self._begun)


def last_lines(log: Path, begun: int) -> list[str]:
    """Return the last lines of a log that are not empty, from a byte on."""
    lines = log.read_bytes()[begun:].decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LAST_LINES:]


def stop_group(number: Path) -> None:
    """End the processes whose group's number stands in a file, and remove the file.

    Args:
        number: the file. Where its group is another one by now, nothing is ended.
    """
    try:
        group = int(number.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # it ended, or never began
        number.unlink(missing_ok=True)
        return
    for what, seconds in PATIENCE:
        if not _members(group, number):
            break
        with suppress(ProcessLookupError):
            os.killpg(group, what)
        deadline = time.monotonic() + seconds
        while _members(group, number) and time.monotonic() < deadline:
            time.sleep(0.1)
    number.unlink(missing_ok=True)


def _members(group: int, number: Path) -> list[int]:
    """Return the living processes of a group that belong to a trial."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            living = os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
            if living and process.environ().get(MARKER) == str(number):
                found.append(process.pid)
    return found


def stop_all(folder: Path) -> None:
    """End the trials of a search, all at the same time."""
    threads = [threading.Thread(target=stop_group, args=(number,)) for number in folder.glob("*.pid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def start_guard(folder: Path) -> subprocess.Popen:
    """Start a process that ends the trials when this process is gone, however it went: its standard input ends then."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.search_trials", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def student_values(text: str, metric: str, chosen_by: str) -> list[float]:
    """Return the value of each student that is done, in the order of the seeds, from what the stage prints.

    It is that of the student's best epoch. Nothing is known of a student whose epochs were not printed, nor of those
    after it: it comes from a checkpoint that another experiment left.

    Args:
        text: what the stage printed so far; of a stage that was stopped and went on, what all attempts printed.
        metric: `val_accuracy` or `val_loss`.
        chosen_by: the metric of a student's best epoch.
    """
    students: dict[int, dict[int, dict[str, float]]] = {}
    epochs, epoch, number = {}, 0, 0
    for line in text.splitlines():
        if found := STUDENT.search(line):
            epochs, number = students.setdefault(int(found[1]), {}), int(found[0].split()[1])
        elif found := EPOCH.match(line):
            epoch = int(found[1])
        elif found := SHOWN.match(line):
            epochs[epoch] = {name: float(value) for name, value in (one.split() for one in found[1].split(", "))}
    done = itertools.takewhile(bool, list(students.values())[: max(0, number - 1)])
    return [max(one.values(), key=lambda values: values[chosen_by])[metric] for one in done]


if __name__ == "__main__":
    sys.stdin.read()
    stop_all(Path(sys.argv[1]))
