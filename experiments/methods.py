"""Compare the methods of distillation, each at its best setting, and keep the table in `results/methods_<preset>.json`.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.methods mnist --folder CLONE --trials 4 --without at --set 'student.seeds=[0,1,2]'

Each method has as many trials of `experiments.search`, on validation images: of its temperature, or of its own weights
within ten times what its paper has, and of the weight of the labels. The best of them goes to the test set, once.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from distillery import load_method
from distillery.data.files import atomic_write, read_json, write_json
from distillery.evaluation.comparison import accuracy_gain
from distillery.timing import processor
from experiments.run import RESULTS, count, experiment, preset_arguments, run_program
from pipeline import catalogue

STORED = ("transfer.embedding=true", "transfer.attention=true")  # for all, so that `transfer` runs once
BASE = "kd"  # with which the others are compared
WEIGHTS = {"rkd": ("distance", "angle")}  # of methods with several


def space(method: str, parameters: dict[str, Any]) -> list[str]:
    """Return what a search varies of a method.

    Args:
        method: its name.
        parameters: of its own, by name, as `params.yaml` has them.
    """
    alpha = "distill.alpha=0.1,0.5,0.9"
    if "logits" in load_method(method).outputs:
        return ["distill.temperature=1..20 log", alpha]
    weights = {name: parameters[name] for name in WEIGHTS.get(method, ("weight",))}
    return [*(f"distill.{method}.{name}={value / 10:g}..{10 * value:g} log" for name, value in weights.items()), alpha]


def best_of(folder: Path, method: str, trials: int) -> tuple[dict[str, Any], float]:
    """Search a method's setting in a clone, and return the best one with its accuracy on validation images."""
    own = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["distill"][method]
    name = f"methods-{method}"
    words = ["-m", "experiments.search", *space(method, own), "--trials", str(trials), "--name", name]
    run_program(folder, sys.executable, *words)
    found = read_json(folder / ".distillery/searches" / name / "search.json")
    best = next(one for one in found["trials"] if one["trial"] == found["result"]["best"])
    return best["setting"], best["val_accuracy"]


def others() -> list[str]:
    """Return the methods that are compared with the first."""
    return [name for path in catalogue.files("methods") if (name := Path(path).stem) != BASE]


def some(text: str) -> list[str]:
    """Return those of the other methods that a word of the command line names."""
    if unknown := set(text.split(",")) - set(others()):
        raise argparse.ArgumentTypeError(f"found {', '.join(sorted(unknown))}; accepted: {', '.join(others())}")
    return text.split(",")


def main() -> None:
    """Search each method's setting in a clone where the preset ran, and keep what the best one gives."""
    parser = preset_arguments("methods", __doc__)
    parser.add_argument("--trials", type=count, required=True, help="of each method")
    parser.add_argument(
        "--without", type=some, default=[], metavar="NAME,…", help="methods that the preset's student cannot learn by"
    )
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    arguments = parser.parse_args()
    folder, preset, rows, correct = arguments.folder, arguments.preset, [], {}
    for method in sorted({BASE, *others()} - set(arguments.without)):
        overrides = [*STORED, *arguments.overrides, f"distill.method={method}", "distill.alpha=0.5"]
        experiment(folder, preset, "transfer", overrides)
        setting, val_accuracy = best_of(folder, method, arguments.trials)
        chosen = [f"{key}={json.dumps(value)}" for key, value in setting.items()]
        headline = experiment(folder, preset, "evaluate", [*overrides, *chosen])["evaluate"]
        with np.load(folder / "models/answers.npz") as answers:
            correct[method] = answers["distilled"] == answers["labels"]
        kept = {name: headline[name] for name in ("distilled", "gain", "gain_over_same_recipe")}
        rows.append({"method": method, "setting": setting, "val_accuracy": val_accuracy, **kept})
    for row in rows:
        row["gain_over_kd"] = vars(accuracy_gain(correct[row["method"]], correct[BASE]))
    words = shlex.join(word for override in arguments.overrides for word in ("--set", override))
    words = f"--without {','.join(arguments.without)} {words}" if arguments.without else words
    command = f"python -m experiments.methods {preset} --folder CLONE --trials {arguments.trials} {words}".strip()
    made = {"command": command, "processor": processor(), "trials": arguments.trials}
    with atomic_write(RESULTS / f"methods_{preset}.npz") as temporary:
        np.savez_compressed(temporary, **correct)
    write_json(RESULTS / f"methods_{preset}.json", made | {"rows": rows})


if __name__ == "__main__":
    main()
