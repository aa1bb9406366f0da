"""Run a queued DVC experiment per pair of temperature and alpha, and keep the table in `results/grid_<preset>.json`.

python -m experiments.run mnist --folder /somewhere/clone
python -m experiments.grid mnist --folder /somewhere/clone --temperatures 1,2,4,8,20 --alphas 0,0.1,0.5,0.9
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from distillery.data.files import write_json
from experiments.run import RESULTS, environment, preset_arguments, write_preset
from pipeline.presets import preset_text

POLL_SECONDS = 5
NAME = "grid"  # DVC adds a number for each pair


def main() -> None:
    """Queue the experiments in a clone where the preset ran, run them, and keep the table."""
    parser = preset_arguments("grid", __doc__)
    parser.add_argument("--temperatures", required=True, metavar="T,T,…")
    parser.add_argument("--alphas", required=True, metavar="A,A,…")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    arguments = parser.parse_args()
    write_preset(arguments.folder, arguments.preset)
    words = [f"distill.temperature={arguments.temperatures}", f"distill.alpha={arguments.alphas}", *arguments.overrides]
    settings = [part for word in words for part in ("-S", word)]
    _dvc(arguments.folder, "exp", "run", "evaluate", "--queue", "--name", NAME, *settings)
    # Its workers keep what it prints to open, and stay for a while when all is done.
    start = ["dvc", "queue", "start", "--jobs", arguments.jobs]
    subprocess.run(start, cwd=arguments.folder, env=environment(), stdout=subprocess.DEVNULL, check=True)
    while any(state in _dvc(arguments.folder, "queue", "status") for state in ("Queued", "Running")):
        time.sleep(POLL_SECONDS)
    table = {
        "preset": preset_text(arguments.preset),
        "overrides": arguments.overrides,
        "pairs": pairs(json.loads(_dvc(arguments.folder, "exp", "show", "--json"))),
    }
    write_json(RESULTS / f"grid_{arguments.preset}.json", table)


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


def _dvc(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["dvc", *words], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    main()
