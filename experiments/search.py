"""Search the parameters of distillation: which temperature should I pick?

    python -m experiments.search 'distill.temperature=1..20 log' 'distill.alpha=0,0.1,0.5' --trials 20
    python -m experiments.search 'distill.temperature=1,2,4,8,16' --sampler grid --workers 2

It runs in the project's folder, on its params.yaml as it stands there, and leaves that folder as it is. A parameter is
given a range, `a..b`, also with ` log` or ` step s` after it, or values with commas between them. Every trial is a DVC
experiment up to stage `distill`, so that the test set stays closed, and an MLflow run below that of the search. The
setting to take is chosen on validation images, by the rule of `experiments.search_result.recommend`. A search that was
stopped goes on by the same command.
"""

import argparse
import hashlib
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from distillery.data.errors import InputError, refusal
from distillery.data.files import atomic_write, read_json, write_json
from distillery.data.progress import Progress
from distillery.timing import cores
from pipeline.flat import at
from pipeline.params import Params, load_params, parsed
from pipeline.stages import sections, stage_names, upstream
from pipeline.tracking.parent_run import REPRO_TAG
from pipeline.tracking.run_log import RunLog

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
except ImportError:
    sys.exit("search: Optuna is not installed; pip install -r requirements/search.txt")

import numpy as np

from experiments.search_result import (
    HIGHER_IS_BETTER,
    Recommendation,
    Tried,
    conclusion,
    recommend,
    shown_setting,
    shown_value,
    write_result,
)
from experiments.search_space import (
    LAST_STAGE,
    Setting,
    Space,
    draw,
    effective_parameters,
    everything,
    read_tree,
    stages_again,
)
from experiments.search_trials import (
    Process,
    Snapshot,
    Worker,
    brought,
    experiment_ref,
    git,
    input_trees,
    inside,
    start_guard,
    stop_all,
    student_values,
)

SEARCHES = Path(".distillery/searches")
NAME = re.compile(r"[A-Za-z0-9][\w-]{0,60}")
POLL_SECONDS, LINE_SECONDS = 0.3, 15.0
STARTUP_TRIALS = 5  # that are complete before any is pruned
INTERRUPTED = 130


@dataclass
class Running:
    """A trial that runs."""

    trial: FrozenTrial
    worker: Worker
    process: Process
    run: RunLog
    repeats: list[tuple[FrozenTrial, RunLog]] = field(default_factory=list)  # trials of the same setting, which wait


class Study:
    """What is known of a search: Optuna's study and the answers of the students, in its folder.

    Args:
        name: of the search.
        space: of its parameters.
        files: the paths that any of the trials depends on and no stage makes.
        arguments: of the command line.
    """

    def __init__(self, name: str, space: Space, files: Sequence[str], arguments: argparse.Namespace):
        self.name, self.space, self.files, self.metric = name, space, files, arguments.metric
        self.sampler, self.seed, self.pruning = arguments.sampler, arguments.seed, arguments.pruning
        self.repro = "dvc repro --pull" if arguments.ray else "dvc repro"
        self.folder = SEARCHES / name
        self.direction = "maximize" if HIGHER_IS_BETTER[self.metric] else "minimize"

    def open(self) -> None:
        """Open Optuna's study, which a search that was stopped left, or make it."""
        journal = self.folder / "study.journal"
        _drop_half_a_line(journal)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS) if self.pruning else optuna.pruners.NopPruner()
        self._keys: dict[int, dict[str, Any]] = {}  # by a trial's number, what its students depend on
        self.optuna = optuna.create_study(
            study_name=self.name,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            direction=self.direction,
            pruner=pruner,
            load_if_exists=True,
        )

    @cached_property
    def grid(self) -> list[Setting]:
        """All settings, of a grid."""
        return self.space.grid(self.seed)

    def add(self) -> FrozenTrial:
        """Add the next trial. It is in the journal whole, as running, or not at all."""
        trials = self.optuna.get_trials()
        number = len(trials)
        if self.sampler == "grid":
            setting = self.grid[number]
        else:
            setting = draw(self.space, self.sampler, self.seed, number, trials, self.direction)
        distributions = self.space.distributions
        self.optuna.add_trial(create_trial(state=TrialState.RUNNING, params=setting, distributions=distributions))
        return self.optuna.get_trials()[number]

    def same(self, trial: FrozenTrial) -> FrozenTrial | None:
        """Return the first trial before this one whose students are the same; None where there is none."""
        trials = self.optuna.get_trials(deepcopy=False)[: trial.number + 1]
        for one in trials:
            if one.number not in self._keys:
                self._keys[one.number] = self._key(one)
        return next((one for one in trials[:-1] if self._keys[one.number] == self._keys[trial.number]), None)

    def _key(self, trial: FrozenTrial) -> dict[str, Any]:
        try:
            return effective_parameters(self.params(trial))
        except InputError:
            return trial.params

    def params(self, trial: FrozenTrial) -> Params:
        """Return all parameters with those of a trial.

        Raises:
            InputError: where they are not accepted together, which was not checked before: the space is too large.
        """
        return self.space.params(trial.params, shown_setting(trial.params))

    def experiment(self, trial: FrozenTrial) -> str:
        """Return the name of a trial's DVC experiment."""
        return f"{self.name}-{trial.number:04d}"

    def log(self, trial: FrozenTrial) -> Path:
        """Return the file with what a trial prints."""
        return (self.folder / f"{trial.number:04d}.log").resolve()

    def answers(self, number: int) -> dict[str, np.ndarray] | None:
        """Return what a trial's students answered; None where they did not yet."""
        path = self.folder / f"{number:04d}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def keep(self, number: int, metrics: Mapping[str, Any], answers: Mapping[str, np.ndarray]) -> None:
        """Keep the metrics of a trial, and then what its students answered."""
        write_json(self.folder / f"{number:04d}.json", metrics)
        with atomic_write(self.folder / f"{number:04d}.npz") as temporary:
            np.savez_compressed(temporary, **answers)

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None, **attributes: Any) -> None:
        """End a trial in Optuna's study."""
        for key, attribute in attributes.items():
            Trial(self.optuna, trial._trial_id).set_user_attr(key, attribute)
        self.optuna.tell(trial.number, value, state=state)

    def tried(self) -> list[Tried]:
        """Return the trials that are over."""
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        found = []
        for trial in self.optuna.get_trials():
            if trial.state not in states:
                continue
            state, repeated = states[trial.state], trial.user_attrs.get("repeats")
            complete = state == "complete"
            answers = self.answers(trial.number if repeated is None else repeated) if complete else None
            name = self.experiment(trial) if complete and repeated is None else ""
            rest = answers and answers[self.metric]
            found.append(
                Tried(
                    trial.number,
                    name,
                    trial.params,
                    state,
                    trial.user_attrs.get("reason", ""),
                    trial.value if complete else None,
                    rest,
                )
            )
        return found

    def best(self) -> tuple[FrozenTrial, float] | None:
        """Return the best trial so far and its value."""
        complete = [one for one in self.optuna.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE]
        sign = 1 if HIGHER_IS_BETTER[self.metric] else -1
        found = max(complete, key=lambda one: (sign * one.value, -one.number), default=None)
        return found and (found, found.value)


class Search:
    """Runs the trials of a study, several at a time.

    Args:
        study: what is known of the search.
        count: of its trials.
        snapshot: from which trials start.
        workers: in whose clones they run.
        key: by which MLflow's runs of trials find it.
    """

    def __init__(self, study: Study, count: int, snapshot: Snapshot, workers: Sequence[Worker], key: str):
        self.study, self.count, self.snapshot, self.key = study, count, snapshot, key
        self.free, self.running = list(workers), list[Running]()
        self.broken: set[Worker] = set()  # whose clones are in an unknown state
        self.stale = [one for one in study.optuna.get_trials() if one.state == TrialState.RUNNING]
        self.progress = Progress("trials", count)

    def work(self) -> None:
        """Run trials until all are over."""
        self.progress.update(self._done())
        while True:
            while self.free and (trial := self._next()):
                self._begin(trial)
            if not self.running:
                break
            time.sleep(POLL_SECONDS)
            for one in list(self.running):
                self._look_at(one)
            best = self.study.best()
            self.progress.update(self._done(), {f"best {self.study.metric}": best[1]} if best else None)
        self.progress.close()

    def stop(self) -> None:
        """End the trials that run, with all their processes. They are begun again by the next search of the name."""
        if self.running:  # a second Ctrl-C would leave some behind
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stop_all(self.study.folder.resolve())
        with ThreadPoolExecutor(max_workers=len(self.running) or 1) as all_at_once:
            list(all_at_once.map(lambda one: one.process.stop(), self.running))
        for one in self.running:
            for run in (one.run, *(run for _, run in one.repeats)):
                run.end("KILLED")
        self.progress.close()

    def say(self, line: str) -> None:
        """Print a line; the bar is drawn anew below it."""
        self.progress.close()
        print(line, flush=True)

    def _done(self) -> int:
        return sum(one.state.is_finished() for one in self.study.optuna.get_trials(deepcopy=False))

    def _next(self) -> FrozenTrial | None:
        if self.stale:
            return self.stale.pop(0)
        return self.study.add() if len(self.study.optuna.get_trials(deepcopy=False)) < self.count else None

    def _begin(self, trial: FrozenTrial) -> None:
        """Begin a trial, or take over what another trial or an interrupted process of it found."""
        try:
            params = self.study.params(trial).flat()
        except InputError as error:
            run = self._run_of(trial, trial.params)
            run.tags({"distillery.state": "failed", "distillery.reason": str(error)})
            run.end("FAILED")
            self.study.tell(trial, TrialState.FAIL, None, reason=str(error))
            self._say_result(trial, f"failed: {error}")
            return
        own = {key: value for key, value in params.items() if key.partition(".")[0] in sections(LAST_STAGE)}
        run = self._run_of(trial, own)
        if earlier := self.study.same(trial):
            runs = [one for one in self.running if one.trial.number == earlier.number]
            if runs:
                runs[0].repeats.append((trial, run))
            else:
                self._repeat(trial, run, self.study.optuna.get_trials()[earlier.number])
            return
        name = self.study.experiment(trial)
        if self.study.answers(trial.number) and _exists(experiment_ref(self.snapshot.baseline, name)):
            self._complete(trial, run)
            return
        worker = self.free.pop()
        if worker in self.broken:
            worker.renew(self.study.files)
            self.broken.discard(worker)
        process = worker.start(name, trial.params, self.study.log(trial), self._key_of(trial))
        self.running.append(Running(trial, worker, process, run))

    def _key_of(self, trial: FrozenTrial) -> str:
        return f"{self.key}-{trial.number:04d}"

    def _run_of(self, trial: FrozenTrial, parameters: Mapping[str, Any]) -> RunLog:
        """Begin the MLflow run of a trial, or go on with it."""
        name, key = self.study.experiment(trial), self._key_of(trial)
        tags = {REPRO_TAG: key, "distillery.search": self.study.name, "distillery.dvc_experiment": name}
        tags |= {"distillery.dvc_baseline": self.snapshot.baseline, "mlflow.source.name": "experiments/search.py"}
        return RunLog("search", parameters, start={"run_name": name, "record": key, "repro": self.key, "tags": tags})

    def _look_at(self, one: Running) -> None:
        """See how far a trial is."""
        status = one.process.ended()
        values = self._values(one, final=False)
        if status is None:
            if self._is_behind(one.trial, values):
                one.process.stop()
                self._end(one, TrialState.PRUNED)
        elif status == 0:
            self._finish(one)
        else:
            self._end(one, TrialState.FAIL, f"exit code {status}; {one.process.log}")

    def _values(self, one: Running, final: bool) -> list[float]:
        """Return the means over the students so far, after each student but the last."""
        params = self.study.params(one.trial)
        chosen_by = "val_balanced_accuracy" if params.student.class_weights == "balanced" else "val_accuracy"
        text = one.process.log.read_text(encoding="utf-8", errors="replace")
        values = student_values(text, self.study.metric, chosen_by)
        if final:  # what came from DVC's cache, or a checkpoint of another experiment, printed nothing
            answers = self.study.answers(one.trial.number)[self.study.metric].mean(axis=1).tolist()
            values += answers[len(values) :]
        values = values[: len(params.student.seeds) - 1]
        return [float(np.mean(values[: number + 1])) for number in range(len(values))]

    def _is_behind(self, trial: FrozenTrial, means: Sequence[float]) -> bool:
        """Report the means and return whether the median rule prunes the trial after one of them."""
        own = Trial(self.study.optuna, trial._trial_id)
        reported = self.study.optuna.get_trials(deepcopy=False)[trial.number].intermediate_values
        for step, mean in enumerate(means, start=1):
            if step not in reported:
                own.report(mean, step)
                if self.study.pruning and own.should_prune():
                    return True
        return False

    def _finish(self, one: Running) -> None:
        """Keep what a trial made, unless it should have been pruned before it ended."""
        trial = one.trial
        try:
            omitted = self.study.params(trial).student.omit_classes
            self.study.keep(trial.number, one.worker.metrics(), one.worker.answers(omitted))
            if self._is_behind(trial, self._values(one, final=True)):
                self._end(one, TrialState.PRUNED)
                return
            one.worker.collect(self.study.experiment(trial))
        except InputError as error:
            self._end(one, TrialState.FAIL, str(error))
            return
        self.running.remove(one)
        self.free.append(one.worker)
        self._complete(trial, one.run)
        self._repeats(one)

    def _complete(self, trial: FrozenTrial, run: RunLog) -> None:
        """Take the result of a trial from its DVC experiment."""
        ref = experiment_ref(self.snapshot.baseline, self.study.experiment(trial))
        metrics = read_json(self.study.folder / f"{trial.number:04d}.json")
        made = parsed(git(Path.cwd(), "show", f"{ref}:params.yaml"))
        value = metrics[self.study.metric]
        if any(at(made, key) != one for key, one in trial.params.items()):
            raise InputError(f"{ref}: has other parameters than trial {trial.number}")
        when = int((self.study.folder / f"{trial.number:04d}.npz").stat().st_mtime * 1000)
        run.metrics(metrics, time=when)
        run.tags({"distillery.state": "complete"})
        run.end("FINISHED")
        self.study.tell(trial, TrialState.COMPLETE, value)
        self._say_result(trial, shown_value(value, self.study.metric))

    def _end(self, one: Running, state: TrialState, reason: str = "") -> None:
        """End a trial that has no result."""
        trial = one.trial
        self.running.remove(one)
        self.broken.add(one.worker)
        self.free.append(one.worker)
        lines = one.process.last_lines() if state == TrialState.FAIL else []
        if state == TrialState.PRUNED:
            (self.study.folder / f"{trial.number:04d}.npz").unlink(missing_ok=True)
            means = self.study.optuna.get_trials()[trial.number].intermediate_values
            mean = shown_value(means[max(means)], self.study.metric)
            reason = f"after {max(means)} of its students {mean}, worse than the median of the trials before"
        word = "failed" if state == TrialState.FAIL else "pruned"
        one.run.tags({"distillery.state": word, "distillery.reason": reason})
        one.run.end("FAILED" if state == TrialState.FAIL else "KILLED")
        self.study.tell(trial, state, None, reason=reason)
        self._say_result(trial, f"{word}: {reason}")
        for line in lines:
            self.say(f"    {line}")
        self._repeats(one)

    def _repeats(self, one: Running) -> None:
        """End the trials that waited for the same students."""
        for trial, run in one.repeats:
            self._repeat(trial, run, self.study.optuna.get_trials()[one.trial.number])

    def _repeat(self, trial: FrozenTrial, run: RunLog, earlier: FrozenTrial) -> None:
        """End a trial whose setting was tried by another one of the same search."""
        first = earlier.user_attrs.get("repeats", earlier.number)
        reason = f"the same as trial {first}"
        complete = earlier.state == TrialState.COMPLETE
        if complete:
            run.metrics({self.study.metric: earlier.value}, time=int(earlier.datetime_complete.timestamp() * 1000))
        run.tags({"distillery.state": earlier.state.name.lower(), "distillery.reason": reason})
        run.end({TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED"}.get(earlier.state, "FAILED"))
        value = earlier.value if complete else None
        self.study.tell(trial, earlier.state, value, reason=reason, repeats=first)
        self._say_result(trial, reason)

    def _say_result(self, trial: FrozenTrial, result: str) -> None:
        best = self.study.best()
        so_far = f"; best so far: {shown_value(best[1], self.study.metric)}, trial {best[0].number}" if best else ""
        self.say(
            f"trial {trial.number}, {self._done()} of {self.count}: {shown_setting(trial.params)}: {result}{so_far}"
        )


def _exists(ref: str) -> bool:
    return bool(git(Path.cwd(), "for-each-ref", ref))


def _drop_half_a_line(journal: Path) -> None:
    """Cut off what a power cut left of a line: Optuna would take the next one for its end."""
    if journal.is_file() and (content := journal.read_bytes()) and not content.endswith(b"\n"):
        with atomic_write(journal) as temporary:
            temporary.write_bytes(content[: content.rfind(b"\n") + 1])


def command_line() -> argparse.ArgumentParser:
    """Return the parser."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m experiments.search", description=__doc__, formatter_class=plain)
    parser.add_argument("space", nargs="+", metavar="KEY=VALUES", help="a parameter and the values that it may take")
    parser.add_argument("--trials", type=int, help="settings to try; 20, or all of a grid, by default")
    parser.add_argument("--workers", type=int, help="trials that run at the same time; 1 by default, on Ray all it can")
    parser.add_argument("--metric", choices=list(HIGHER_IS_BETTER), default="val_accuracy")
    parser.add_argument("--sampler", choices=["tpe", "grid", "random"], default="tpe", help="what draws the settings")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler; the students have their own")
    parser.add_argument("--name", help="of the search; made of its content by default")
    parser.add_argument(
        "--no-pruning", dest="pruning", action="store_false", help="train all students of every setting; so does a grid"
    )
    ray = parser.add_argument_group("on a Ray cluster", "Trials run on its nodes; see docs/cluster.md.")
    ray.add_argument("--ray", metavar="ADDRESS", help="of the cluster, host:port; `auto` on one of its nodes")
    ray.add_argument("--git-remote", default="origin", metavar="NAME", help="from which nodes clone; origin by default")
    ray.add_argument("--cpus", type=int, default=cores(), help="of a trial; those of this machine by default")
    ray.add_argument("--gpus", type=float, default=0.0, help="of a trial; 0.5 lets two share one; none by default")
    ray.add_argument("--folder", default="/tmp/distillery", help="on the nodes, for clones and DVC's cache")
    return parser


def check(arguments: argparse.Namespace) -> tuple[Space, int]:
    """Return the space and the number of trials.

    Raises:
        InputError: when anything that can be known before any work is not accepted.
    """
    project = Path.cwd()
    for name in ("dvc.yaml", "params.yaml", ".dvc"):
        if not (project / name).exists():
            raise InputError(f"{name}: not found in {project}; run from the project's folder")
    inside = git(project, "rev-parse", "--show-toplevel")
    if Path(inside).resolve() != project.resolve():
        raise InputError(f"{project}: is not the root of a Git repository; experiments need one")
    try:
        git(project, "rev-parse", "--verify", "--quiet", "HEAD")
    except InputError:
        raise InputError("this repository has no commit yet; experiments need one: git add -A && git commit") from None
    load_params()
    space = Space(arguments.space, read_tree(project / "params.yaml"))
    if arguments.sampler == "grid":
        arguments.pruning = False
        size = len(space.grid(arguments.seed))
        arguments.trials = size if arguments.trials is None else min(arguments.trials, size)
    count = 20 if arguments.trials is None else arguments.trials
    for name, value in (("--trials", count), ("--workers", arguments.workers), ("--cpus", arguments.cpus)):
        if value is not None and value < 1:
            raise InputError(f"{name}: found {value}; accepted: 1 and more")
    if arguments.gpus < 0:
        raise InputError(f"--gpus: found {arguments.gpus:g}; accepted: 0 and more")
    if arguments.name is not None and not NAME.fullmatch(arguments.name):
        raise InputError(f"--name: found {arguments.name!r}; accepted: letters, digits, - and _")
    return space, count


def identity(space: Space, files: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all that decides what a search finds: the space, the other parameters, the code, and how it draws."""
    searched = {one.key for one in space.dimensions}
    flat = {
        key: value
        for key, value in everything(space.params({}))
        if key.partition(".")[0] in sections(LAST_STAGE) and key not in searched
    }
    return {
        "space": sorted(map(repr, space.dimensions)),
        "params": flat,
        "inputs": input_trees(Path.cwd(), files),
        "sampler": arguments.sampler,
        "seed": arguments.seed,
        "metric": arguments.metric,
        "pruning": arguments.pruning,
    }


def open_folder(name: str, own: Mapping[str, Any]) -> FileLock:
    """Make the folder of a search, or find it, and return its lock.

    Raises:
        InputError: when another process has it, or it is that of another search.
    """
    folder = SEARCHES / name
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "owner.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"{name}: another process works at this search") from None
    path = folder / "identity.json"
    if not path.is_file():
        write_json(path, own)
    known = json.loads(path.read_text(encoding="utf-8"))
    if known != json.loads(json.dumps(own)):
        parts = ", ".join(key for key in own if known.get(key) != json.loads(json.dumps(own[key])))
        raise InputError(f"--name {name}: is the name of another search (other: {parts}); choose another name")
    return lock


def notes(space: Space, count: int) -> list[str]:
    """Return what a person should know before the search begins."""
    lines = []
    for dimension in space.dimensions:
        again = stages_again([dimension.key], space.params({}))
        if "train_teacher" in again:
            lines.append(f"note: {dimension.key}: trains the teacher anew in each of {count} trials")
        elif "transfer" in again:
            lines.append(
                f"note: {dimension.key}: makes transfer, the teacher's outputs, anew in each of {count} trials"
            )
        if dimension.key.startswith("student."):
            lines.append(f"note: {dimension.key}: the students from scratch are trained with it, too, by `dvc repro`")
    return lines


def starting_point(snapshot: Snapshot) -> str:
    """Return from what the trials start, in a line; it is taken now where an earlier search of the name did not."""
    if snapshot.baseline:
        return f"trials start from commit {snapshot.baseline[:7]} and what was changed when this search began"
    snapshot.take()
    changed = git(Path.cwd(), "status", "--porcelain", "--untracked-files=no").splitlines()
    files = f" and {len(changed)} changed files that are not committed" if changed else ""
    return f"trials start from commit {snapshot.baseline[:7]}{files}"


def in_dvc(path: str) -> list[str]:
    """Return the files by which Git may know that DVC tracks a path: itself, or a folder in which it lies."""
    return [f"{place}.dvc" for place in (path, *Path(path).parents) if str(place) != "."]


def on_ray(arguments: argparse.Namespace, files: Sequence[str]):
    """Return the cluster on which trials run.

    Raises:
        InputError: where it or what its nodes must share is missing.
    """
    from experiments.search_ray import Cluster  # Ray is neither needed nor imported where it is not asked for

    unknown = [path for path in files if inside(path) and not git(Path.cwd(), "ls-files", path, *in_dvc(path))]
    if unknown:
        raise InputError(f"{unknown[0]}: is not in Git; nodes cannot see it: `git add` or `dvc add`, or its whole path")
    return Cluster(arguments.ray, arguments.git_remote, arguments.cpus, arguments.gpus, arguments.folder)


def prepare_base(study: Study, workers: Sequence[Worker]) -> list[str]:
    """Make once what no trial makes again, then the clones of all workers: two never train the same teacher.

    Returns:
        The stages whose outputs all trials share.

    Raises:
        InputError: when a stage fails.
    """
    again = stages_again([one.key for one in study.space.dimensions], study.space.params({}))
    stages = [stage for stage in upstream(LAST_STAGE) if stage not in again]
    first = workers[0]
    first.renew(study.files)
    log = (study.folder / "base.log").resolve()
    log.unlink(missing_ok=True)
    print(f"making sure that {', '.join(stages)} are up to date", flush=True)
    process = first.base(stages, log, {})
    said, told = "", time.monotonic()
    try:
        while process.ended() is None:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - told > LINE_SECONDS and (last := process.last_lines()[-1:]) and last[0] != said:
                said, told = last[0], time.monotonic()
                print(f"    {said.rpartition(chr(13))[2]}", flush=True)
    except BaseException:
        process.stop()
        raise
    if process.wait():
        for line in process.last_lines():
            print(f"    {line}", file=sys.stderr)
        raise InputError(f"{', '.join(stages)} could not be made; all lines are in {log}")
    first.keep_base()
    for worker in workers[1:]:
        worker.renew(study.files)
    return stages


def tell(study: Study, run: RunLog) -> int:
    """Print the recommendation, write table and figure, log them, and return the exit code."""
    tried = study.tried()
    present = study.space.present
    found = recommend(tried, study.metric, study.space, present)
    about = {"name": study.name, "space": [repr(one) for one in study.space.dimensions]}
    about |= {"sampler": study.sampler, "seed": study.seed, "metric": study.metric, "pruning": study.pruning}
    paths = write_result(study.folder, tried, found, study.metric, study.space, about)
    for path in paths:
        run.artifact(path)
    failed = sum(one.state == "failed" for one in tried)
    if found:
        run.metrics({f"best.{study.metric}": found.best.value, f"recommended.{study.metric}": found.trial.value})
        run.tags({f"recommended.{key}": str(value) for key, value in found.trial.setting.items()})
        _print_conclusion(found, tried, study)
    if pruned := sum(one.state == "pruned" for one in tried):
        print(f"{pruned} of {len(tried)} trials were pruned; they have no DVC experiment")
    print(f"table and figure: {', '.join(map(str, paths))}")
    if failed:
        print(f"{failed} of {len(tried)} trials failed; what they printed is in {study.folder}", file=sys.stderr)
    return int(failed > 0)


def _print_conclusion(found: Recommendation, tried: Sequence[Tried], study: Study) -> None:
    print("\n".join(conclusion(found, tried, study.metric, study.space.present)))
    print(f"to take it, and to the test set:\n    dvc exp apply {found.trial.name}\n    {study.repro}")
    if never := never_ran(Path.cwd()):
        print(f"note: {', '.join(never)} never ran: `dvc exp apply` says that their outputs are missing; go on")


def never_ran(project: Path) -> list[str]:
    """Return the stages that have not run yet: DVC misses their outputs when it applies an experiment."""
    lock = project / "dvc.lock"
    known = (read_tree(lock) or {}).get("stages", {}) if lock.is_file() else {}
    return [stage for stage in stage_names() if stage not in known and stage not in upstream(LAST_STAGE)]


def search(arguments: argparse.Namespace) -> int:
    """Run a search and return the exit code."""
    space, count = check(arguments)
    files = {path: None for one in space.checked for path in brought(one.flat())}
    cluster = on_ray(arguments, list(files)) if arguments.ray else None
    if cluster and (note := cluster.note()):
        print(note, flush=True)
    own = identity(space, list(files), arguments)
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    name = arguments.name or f"search-{digest[:6]}"
    lock = open_folder(name, own)
    study, snapshot = Study(name, space, list(files), arguments), Snapshot(Path.cwd(), name)
    study.open()
    stop_all(study.folder.resolve())
    guard = start_guard(study.folder.resolve())
    workers = [
        Worker(Path.cwd(), (study.folder / f"worker-{one}").resolve(), snapshot)
        for one in range(1 if cluster else arguments.workers or 1)
    ]
    try:
        done = sum(one.state.is_finished() for one in study.optuna.get_trials())
        print(f"search {name}: {count} trials" + (f", {done} of which are over" if done else ""), flush=True)
        print("\n".join([*notes(space, count), starting_point(snapshot)]), flush=True)
        if are_left(study, count):
            stages = prepare_base(study, workers)
            if cluster:
                cluster.share(workers[0], snapshot, stages)
                omitted = space.params({}).student.omit_classes
                workers = cluster.workers(name, omitted, snapshot, arguments.workers)
        return run_trials(study, count, snapshot, workers, f"search-{name}-{digest[:6]}-{snapshot.baseline[:12]}")
    except KeyboardInterrupt:
        done = sum(one.state.is_finished() for one in study.optuna.get_trials())
        print(f"search: interrupted after {done} of {count} trials; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    finally:
        guard.communicate()  # it ends when its input does
        for folder in study.folder.glob("worker-*"):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def are_left(study: Study, count: int) -> bool:
    """Return whether trials are not over yet."""
    trials = study.optuna.get_trials()
    return len(trials) < count or any(not one.state.is_finished() for one in trials)


def run_trials(study: Study, count: int, snapshot: Snapshot, workers: Sequence[Worker], key: str) -> int:
    """Run the trials that are not over yet, and tell what was found. MLflow finds the search's run by the key."""
    tags = {REPRO_TAG: key, "distillery.search": study.name, "mlflow.source.name": "experiments/search.py"}
    tags |= {"distillery.dvc_baseline": snapshot.baseline, "mlflow.source.git.commit": snapshot.baseline}
    about = {"sampler": study.sampler, "seed": study.seed, "metric": study.metric, "pruning": study.pruning}
    about |= {f"space.{one.key}": repr(one) for one in study.space.dimensions}
    start = {"run_name": study.name, "record": key, "repro": "", "tags": tags}
    with RunLog("search", about, start=start) as run:
        driver = Search(study, count, snapshot, workers, key)
        try:
            driver.work()
        finally:
            driver.stop()
        return tell(study, run)


def main() -> None:
    """Run the search that the command line describes."""
    arguments = command_line().parse_args()
    # A program that was started in the background would hand on that it ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(search(arguments))
    except InputError as error:
        sys.exit(f"search: {error}")
    except KeyboardInterrupt:
        print("search: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        if not (refused := refusal(error)):
            raise
        sys.exit(f"search: {refused} and run the same command again: it goes on")


if __name__ == "__main__":
    main()
