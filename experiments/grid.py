"""Run a queued DVC experiment per pair of temperature and alpha, and keep the table in `results/grid_<preset>.json`.

python -m experiments.run mnist --folder /somewhere/clone
python -m experiments.grid mnist --folder /somewhere/clone --temperatures 1,2,4,8,20 --alphas 0,0.1,0.5,0.9
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from distillery.data.errors import InputError
from distillery.data.files import write_json
from experiments.run import RESULTS, count, numbers, preset_arguments, run_program, write_preset
from pipeline.flat import put
from pipeline.params import check_params
from pipeline.presets import preset_text

POLL_SECONDS = 5
NAME = "grid"  # DVC adds a number for each pair


def main() -> None:
    """Queue the experiments in a clone where the preset ran, run them, and keep the table."""
    parser = preset_arguments("grid", __doc__)
    parser.add_argument("--temperatures", type=numbers, required=True, metavar="T,T,…")
    parser.add_argument("--alphas", type=numbers, required=True, metavar="A,A,…")
    parser.add_argument("--jobs", type=count, default=1)
    parser.add_argument("--ray", metavar="ADDRESS", help="of a cluster that trains; takes a search's --cpus, --gpus, …")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    arguments, search = parser.parse_known_args()
    if search and not arguments.ray:
        parser.error(f"unrecognized arguments: {' '.join(search)}")
    write_preset(arguments.folder, arguments.preset)
    axes = {"distill.temperature": arguments.temperatures, "distill.alpha": arguments.alphas}
    try:
        check(arguments.folder, axes, arguments.overrides)
    except InputError as error:
        sys.exit(f"grid: {error}")
    if arguments.ray:
        train_on_ray(arguments.folder, axes, arguments.overrides, ["--ray", arguments.ray, *search])
    else:
        run_queue(arguments.folder, axes, arguments.overrides, arguments.jobs)
    table = {
        "preset": preset_text(arguments.preset),
        "overrides": arguments.overrides,
        "pairs": pairs(json.loads(_dvc(arguments.folder, "exp", "show", "--json"))),
    }
    write_json(RESULTS / f"grid_{arguments.preset}.json", table)


def pair_settings(axes: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Return the settings of all pairs."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def tree_with(folder: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of a clone, with overrides.

    Raises:
        InputError: when an override cannot be read.
    """
    tree = YAML().load(folder / "params.yaml")
    for override in overrides:
        key, _, value = override.partition("=")
        try:
            put(tree, key, YAML(typ="safe").load(value))
        except YAMLError:
            raise InputError(f"--set: found {override!r}; accepted: section.key=value") from None
    return tree


def check(folder: Path, axes: Mapping[str, Sequence[float]], overrides: Sequence[str]) -> None:
    """Check the parameters of all pairs, before any runs.

    Raises:
        InputError: when one is not accepted.
    """
    tree = tree_with(folder, overrides)
    for setting in pair_settings(axes):
        for key, value in setting.items():
            put(tree, key, value)
        check_params(tree, " ".join(f"{key}={value:g}" for key, value in setting.items()))


def run_queue(folder: Path, axes: Mapping[str, Sequence[float]], overrides: Sequence[str], jobs: int) -> None:
    """Run the experiments of all pairs in DVC's queue, several at a time.

    Args:
        folder: the clone.
        axes: the values of temperature and of alpha, by name.
        overrides: `section.key=value`, of all pairs.
        jobs: how many at a time.
    """
    settings = [part for word in (*words(axes), *overrides) for part in ("-S", word)]
    _dvc(folder, "exp", "run", "evaluate", "--queue", "--name", NAME, *settings)
    # Its workers keep what it prints to open, and stay for a while when all is done.
    run_program(folder, "dvc", "queue", "start", "--jobs", str(jobs), stdout=subprocess.DEVNULL)
    while any(state in _dvc(folder, "queue", "status") for state in ("Queued", "Running")):
        time.sleep(POLL_SECONDS)


def words(axes: Mapping[str, Sequence[float]]) -> list[str]:
    """Return `section.key=value,value` for each axis, as DVC and a search take it.

    Values are written as floating-point numbers: DVC's run cache takes 1 and 1.0 for two settings.
    """
    return [f"{key}={','.join(str(float(value)) for value in values)}" for key, values in axes.items()]


def train_on_ray(
    folder: Path, axes: Mapping[str, Sequence[float]], overrides: Sequence[str], search: Sequence[str]
) -> None:
    """Have a cluster train the students of all pairs, as trials of a search; then evaluate them here, one by one.

    Args:
        folder: the clone, with the remotes that the nodes share.
        axes, overrides: as `run_queue` takes them.
        search: options of the search, `--ray ADDRESS` among them.
    """
    YAML().dump(tree_with(folder, overrides), folder / "params.yaml")
    run_program(folder, sys.executable, "-m", "experiments.search", *words(axes), "--sampler", "grid", *search)
    known = _dvc(folder, "exp", "list", "--name-only").split()
    for setting in pair_settings(axes):
        own = [f"{key}={float(value)}" for key, value in setting.items()]
        name = "-".join([NAME, *(str(float(value)) for value in setting.values())])
        if name not in known:  # an interrupted grid goes on
            settings = [part for word in (*own, *overrides) for part in ("-S", word)]
            print(_dvc(folder, "exp", "run", "evaluate", "--pull", "--name", name, *settings), flush=True)


def pairs(shown: list[dict]) -> list[dict[str, float]]:
    """Return the sweep's experiments, one per pair of temperature and alpha, from `dvc exp show --json`.

    Raises:
        SystemExit: when an experiment failed, or a pair stands twice.
    """
    rows = {}
    for group in shown:
        for experiment in group.get("experiments") or []:
            if not (experiment["name"] or "").startswith(NAME):
                continue
            revision = experiment["revs"][0]
            if not revision["data"] or not revision["data"]["metrics"]:
                sys.exit(f"{experiment['name']} has no metrics; see `dvc queue logs {experiment['name']}`")
            metrics = {name.split("/")[-1]: value["data"] for name, value in revision["data"]["metrics"].items()}
            settings = revision["data"]["params"]["params.yaml"]["data"]["distill"]
            pair = settings["alpha"], settings["temperature"]
            if pair in rows:
                sys.exit(f"alpha {pair[0]} with temperature {pair[1]} stands twice; remove the older: dvc exp remove")
            rows[pair] = {
                "temperature": settings["temperature"],
                "alpha": settings["alpha"],
                "val_accuracy": metrics["distill.json"]["val_accuracy"],
                "val_accuracy_std": metrics["distill.json"]["val_accuracy_std"],
                "accuracy": metrics["evaluate.json"]["distilled"]["accuracy"],
                "gain_points": metrics["evaluate.json"]["gain_over_same_recipe"]["points"],
            }
    return [rows[pair] for pair in sorted(rows)]


def _dvc(folder: Path, *command: str) -> str:
    return run_program(folder, "dvc", *command, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
