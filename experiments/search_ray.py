"""Trials of a search on the nodes of a Ray cluster.

A trial is a Ray task. Its node has a clone of the Git remote, takes what is known from DVC's remote, trains the
students, and pushes experiment, outputs and run cache back; what a lost node did is done again on another one. This
process needs Ray alone of what is on the nodes, and DVC's and Git's remotes are all that the nodes share.
"""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from distillery.data.errors import InputError
from distillery.distillation.ray_cluster import connect, has_node_for
from experiments.search_trials import Snapshot, Worker, experiment_ref, git, last_lines
from pipeline.machine import ARITHMETIC, THREADS

try:
    import ray
    from ray import cloudpickle
    from ray.exceptions import RayError
except ImportError:
    sys.exit("search: Ray is not installed; pip install -r requirements/ray.txt")

RETRIES = 3  # of a trial whose node is lost, or whose push fails
STOP_SECONDS = 40.0  # longer than a trial's processes are given to end
CARRIED = ("MLFLOW_", "DISTILLERY_", "KERAS_BACKEND")  # variables that a node is given


@dataclass(frozen=True)
class Job:
    """What the nodes must know of a search.

    Attributes:
        url: of the Git remote.
        name: of the search.
        ref: what Git calls the state from which trials start.
        commit: that state.
        baseline: the commit below which DVC lists the trials.
        omitted: classes that students never see.
        dvc_config: the text of `.dvc/config.local`: the remote, and how to enter it.
        variables: of the environment.
        folder: on the nodes, in which they have their clones.
    """

    url: str
    name: str
    ref: str
    commit: str
    baseline: str
    omitted: Sequence[str]
    dvc_config: str
    variables: Mapping[str, str]
    folder: str


class Cluster:
    """A Ray cluster on which trials run.

    Args:
        address: of the cluster, `auto` or `host:port`.
        remote: Git's name of the remote from which the nodes clone.
        cpus: of a trial.
        gpus: of a trial; a part of one lets several share it.
        folder: on the nodes.

    Raises:
        InputError: when there is no such cluster or remote, or what the nodes must share is missing.
    """

    def __init__(self, address: str, remote: str, cpus: int, gpus: float, folder: str):
        self.remote, self._folder = remote, folder
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES, "retry_exceptions": True}
        self.url = _answer("git", "remote", "get-url", remote)
        if not self.url:
            raise InputError(f"--git-remote: found {remote!r}; accepted: {_answer('git', 'remote') or 'none is there'}")
        if Path(self.url).exists():
            self.url = str(Path(self.url).resolve())
        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not server.startswith(("http://", "https://")):
            found = server or "nothing"
            raise InputError(f"MLFLOW_TRACKING_URI: found {found}; accepted with --ray: the address of a server")
        if not _answer("dvc", "config", "core.remote"):
            raise InputError("--ray: DVC has no default remote; `dvc remote add --default storage s3://…` names one")
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes have no such module yet
        connect("--ray", address)
        self.variables = {
            name: value for name, value in os.environ.items() if name.startswith(CARRIED) or ARITHMETIC.fullmatch(name)
        }
        self.variables.setdefault(THREADS, str(max(2, cpus)))
        self.logs = ray.remote(Logs).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()

    def note(self) -> str:
        """Return what to say where no node can hold a trial, which then waits for one to join; else nothing."""
        cpus, gpus = self._options["num_cpus"], self._options["num_gpus"]
        if has_node_for(cpus, gpus):
            return ""
        return f"note: no node has the --cpus {cpus} and --gpus {gpus:g} of a trial; trials wait until one joins"

    def capacity(self) -> int:
        """Return how many trials run at the same time where all nodes are free."""
        there = ray.cluster_resources()
        counts = [there.get("CPU", 0) // self._options["num_cpus"]]
        if gpus := self._options["num_gpus"]:
            counts.append(there.get("GPU", 0) // gpus)
        return max(1, int(min(counts)))

    def workers(self, name: str, omitted: Sequence[str], snapshot: Snapshot, count: int | None) -> list["RayWorker"]:
        """Return places for trials.

        Args:
            name: of the search.
            omitted: names of classes that students never see.
            snapshot: from which trials start.
            count: of the trials at the same time; None: as many as the nodes can run.
        """
        own = Path(".dvc/config.local")
        config = own.read_text(encoding="utf-8") if own.is_file() else ""
        commit = git(Path.cwd(), "rev-parse", snapshot.ref)
        about = self.url, name, snapshot.ref, commit, snapshot.baseline, list(omitted), config, self.variables
        return [RayWorker(self, Job(*about, self._folder), snapshot) for _ in range(count or self.capacity())]

    def share(self, base: Worker, snapshot: Snapshot, stages: Sequence[str]) -> None:
        """Push what all trials start from: the commit, and what the stages that no trial runs again have made."""
        print(f"pushing {', '.join(stages)} for the nodes", flush=True)
        try:
            _run("dvc", "push", "--quiet", "--run-cache", *stages, folder=base.folder)
        except RuntimeError as error:
            raise InputError(f"--ray: {error}") from None
        git(Path.cwd(), "push", "--quiet", self.remote, f"+{snapshot.ref}:{snapshot.ref}")

    def submit(self, job: Job, trial: Mapping[str, Any]) -> "ray.ObjectRef":
        """Let a node run a trial."""
        return ray.remote(run_trial).options(**self._options).remote(job, trial, self.logs)


def _answer(*command: str) -> str:
    """Return what a program answers; nothing where it fails."""
    with suppress(RuntimeError):
        return _run(*command, folder=Path.cwd())
    return ""


class Logs:
    """What trials print, on its way to the process of the search."""

    def __init__(self):
        self._texts: dict[str, str] = {}

    def add(self, name: str, text: str) -> None:
        """Add what a trial printed."""
        self._texts[name] = self._texts.get(name, "") + text

    def take(self, name: str) -> str:
        """Return what is new."""
        return self._texts.pop(name, "")


class RayWorker:
    """A place for a trial on the cluster, with the methods of a `Worker`.

    Args:
        cluster: the cluster.
        job: what its nodes must know.
        snapshot: from which trials start.
    """

    def __init__(self, cluster: Cluster, job: Job, snapshot: Snapshot):
        self._cluster, self._job, self._snapshot = cluster, job, snapshot
        self._process: RayProcess | None = None

    def renew(self, also: Sequence[str] = ()) -> None:
        """Do nothing: the nodes see themselves to their clones."""

    def start(self, name: str, setting: Mapping[str, Any], log: Path, trial: str) -> "RayProcess":
        """Start a trial, as a `Worker` does."""
        self._process = RayProcess(
            self._cluster, self._job, {"name": name, "setting": dict(setting), "key": trial}, log
        )
        return self._process

    def collect(self, name: str) -> None:
        """Take a finished trial over as an experiment of the user's repository; its outputs stay in DVC's remote."""
        ref = experiment_ref(self._snapshot.baseline, name)
        git(Path.cwd(), "fetch", "--quiet", self._cluster.remote, f"+{ref}:{ref}")

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the trial that ran last."""
        return self._process.result["metrics"]

    def answers(self, omitted: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the students of the trial that ran last answer; the node left the omitted classes out."""
        return self._process.result["answers"]


class RayProcess:
    """A trial on the cluster, with the methods of a `Process`."""

    def __init__(self, cluster: Cluster, job: Job, trial: Mapping[str, Any], log: Path):
        self.log, self.result = log, dict[str, Any]()
        self._cluster, self._name = cluster, trial["name"]
        self._begun = log.stat().st_size if log.exists() else 0
        log.touch()
        self._task = cluster.submit(job, trial)

    def ended(self) -> int | None:
        """Return the exit status, None while it runs."""
        done, _ = ray.wait([self._task], timeout=0)
        self._write(ray.get(self._cluster.logs.take.remote(self._name)))
        if not done:
            return None
        try:
            self.result = ray.get(self._task)
        except RayError as error:
            self._write(f"{error}\n")
            return 1
        return self.result["status"]

    def stop(self) -> None:
        """End it, as Ctrl-C would; by force where that takes too long."""
        ray.cancel(self._task)
        done, _ = ray.wait([self._task], timeout=STOP_SECONDS)
        if not done:
            ray.cancel(self._task, force=True)

    def last_lines(self) -> list[str]:
        """Return the last lines that it printed."""
        return last_lines(self.log, self._begun)

    def _write(self, text: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(text)


# What follows runs on a node, whose Python has the requirements and not this project: it is sent there as it stands
# here, and takes the project from its clone.


def run_trial(job: Job, trial: Mapping[str, Any], logs) -> dict[str, Any]:
    """Run a trial on a node, in a clone that no other trial of the node has at this time.

    Args:
        job: of the search.
        trial: `name` of the DVC experiment, `setting`, and the `key` by which MLflow finds the trial's run.
        logs: gets what it prints.

    Returns:
        `status`: the exit status; where that is 0 also `metrics` and `answers`, as a `Worker` gives them.
    """
    os.environ.update(job.variables)
    os.environ.pop("RAY_ADDRESS", None)  # `transfer` would wait for the cores that this task has
    project = _node_clone(job)
    os.chdir(project)  # stages keep their runs and checkpoints here, whichever clone they work in
    sys.path.insert(0, str(project))
    from experiments import search_trials

    with _slot(project) as folder:
        search_trials.stop_all(folder)  # what a task that was killed here left behind
        guard = search_trials.start_guard(folder)
        worker = search_trials.Worker(project, folder / "clone", search_trials.Snapshot(project, job.name), pull=True)
        clean = folder / "clean"  # whether the last trial here left the clone in a known state
        if not clean.exists():
            worker.renew()
        clean.unlink(missing_ok=True)
        log = folder / f"{time.time_ns()}.log"
        process = worker.start(trial["name"], trial["setting"], log, trial["key"])
        try:
            if status := _watched(process, trial["name"], logs):
                return {"status": status}
            found = {"status": 0, "metrics": worker.metrics(), "answers": worker.answers(job.omitted)}
            with FileLock(project / ".distillery/share.lock"):  # DVC lets one at a time push from a clone
                worker.collect(trial["name"])
                worker.share(trial["name"])
            clean.touch()
            return found
        finally:
            process.stop()
            guard.communicate()  # it ends when its input does


def _watched(process, name: str, logs) -> int:
    """Return the exit status of a trial, and pass on what it prints meanwhile."""
    with open(process.log, encoding="utf-8", errors="replace") as printed:
        while True:
            status = process.ended()
            if text := printed.read():
                logs.add.remote(name, text)
            if status is not None:
                return status
            time.sleep(1.0)


def _node_clone(job: Job) -> Path:
    """Return the node's clone for a search; those of all searches of a repository share one DVC cache."""
    home = Path(job.folder).expanduser() / hashlib.sha256(job.url.encode()).hexdigest()[:12]
    project = home / f"{job.name}-{job.commit[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "clone.lock"):
        if not project.exists():
            new = project.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            _run("git", "clone", "--quiet", "--no-checkout", job.url, str(new), folder=home)
            _run("git", "fetch", "--quiet", "origin", f"+{job.ref}:{job.ref}", folder=new)
            _run("git", "checkout", "--quiet", "--detach", job.baseline, folder=new)
            (new / ".dvc/config.local").write_text(job.dvc_config, encoding="utf-8")
            _run("dvc", "cache", "dir", "--local", str(home / "cache"), folder=new)
            new.rename(project)
    return project


@contextmanager
def _slot(project: Path) -> Iterator[Path]:
    """Yield a folder that no other trial on this node has."""
    for number in itertools.count():
        folder = project / ".distillery" / f"slot-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "owner.lock")
        with suppress(Timeout), lock.acquire(blocking=False):
            yield folder
            return


def _run(*command: str, folder: Path) -> str:
    """Return what a program answers.

    Raises:
        RuntimeError: in a line, where it fails.
    """
    programs = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    answer = subprocess.run(command, cwd=folder, env=programs, capture_output=True, text=True, check=False)
    if answer.returncode:
        said = (answer.stderr.strip() or f"exit code {answer.returncode}").splitlines()[-1]
        raise RuntimeError(f"{' '.join(command[:3])}: {said}")
    return answer.stdout.strip()
