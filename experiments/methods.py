"""Compare the methods of distillation, each at its best setting, and keep the table in `results/methods_<preset>.json`.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.methods mnist --folder CLONE --trials 8

The settings of each method are searched on validation images with the same number of trials, by `experiments.search`:
temperature and weight of the labels of those on logits, `kd` also with standardised logits; of those on embeddings and
feature maps their own weights and that of the labels. The best setting of each then meets the test set, once, and
its gains are told over plain training, over the same recipe without a teacher, and over `kd`. A method whose row stands
in the table is not run again; what ran once comes from the clone's DVC cache.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from distillery.data.files import read_json, write_json
from distillery.evaluation.comparison import accuracy_gain
from experiments.run import RESULTS, environment, experiment, preset_arguments
from pipeline import catalogue

LABELS = "distill.alpha=0.1,0.5,0.9"
LOGITS = ("distill.temperature=1..20 log", LABELS)
SPACES = {  # of the methods that read no logits: a tenth to ten times the weight of the file
    "at": ("distill.at.weight=100..10000 log", LABELS),
    "crd": ("distill.crd.weight=0.08..8 log", LABELS),
    "pkt": ("distill.pkt.weight=50..5000 log", LABELS),
    "rkd": ("distill.rkd.distance=2.5..250 log", "distill.rkd.angle=5..500 log", LABELS),
    "sp": ("distill.sp.weight=300..30000 log", LABELS),
}
INSIDE = ("transfer.embedding=true", "transfer.attention=true")  # for all, so that `transfer` runs once
STANDARDISED = "kd, standardised logits"


def main() -> None:
    """Search and test each method in a clone where the preset ran, and keep the table."""
    parser = preset_arguments("methods", __doc__)
    parser.add_argument("--trials", type=int, required=True, help="settings of each method")
    parser.add_argument("--methods", help="names of some, with commas; all without")
    arguments = parser.parse_args()
    table = RESULTS / f"methods_{arguments.preset}.json"
    kept = read_json(table) if table.is_file() else {"trials": arguments.trials, "rows": {}}
    if kept["trials"] != arguments.trials:
        sys.exit(f"methods: {table} has {kept['trials']} trials a method; remove it, or give --trials {kept['trials']}")
    wanted = arguments.methods.split(",") if arguments.methods else list(method_settings())
    for name in wanted:
        if name not in kept["rows"]:
            kept["rows"][name] = row(name, arguments.folder, arguments.preset, arguments.trials)
            write_json(table, kept)
    for name, found in kept["rows"].items():
        if name != "kd" and "kd" in kept["rows"]:
            found["gain_over_kd"] = gain_over_kd(arguments.folder, name)
    write_json(table, kept)


def method_settings() -> dict[str, list[str]]:
    """Return what is fixed for each method, by the name of its row: `section.key=value`."""
    names = [Path(path).stem for path in catalogue.files("methods")]
    fixed = {name: [f"distill.method={name}"] for name in ("kd", *(name for name in names if name != "kd"))}
    return fixed | {STANDARDISED: ["distill.method=kd", "distill.standardize_logits=true"]}


def row(name: str, folder: Path, preset: str, trials: int) -> dict:
    """Search a method's setting, test it, and return its row.

    Args:
        name: of the row.
        folder: the clone.
        preset: its name.
        trials: settings to try.

    Raises:
        SystemExit: when the search or the experiment fails.
    """
    method = name.split(",")[0]
    fixed = [*INSIDE, *method_settings()[name], "distill.alpha=0.5"]
    experiment(folder, preset, "transfer", fixed)
    search = f"methods-{slug(name)}"
    command = [sys.executable, "-m", "experiments.search", *SPACES.get(method, LOGITS)]
    command += ["--trials", str(trials), "--name", search]
    subprocess.run(command, cwd=folder, env=environment(), check=True)
    found = read_json(folder / f".distillery/searches/{search}/search.json")
    best = next(one for one in found["trials"] if one["trial"] == found["result"]["best"])
    setting = [f"{key}={value}" for key, value in best["setting"].items()]
    metrics = experiment(folder, preset, "evaluate", [*fixed, *setting])
    with np.load(folder / "models/answers.npz") as answers:
        np.save(answers_file(folder, name), answers["distilled"] == answers["labels"])
    headline = metrics["evaluate"]
    names = ("distilled", "gain", "gain_over_same_recipe")
    return {
        "setting": best["setting"],
        "val_accuracy": metrics["distill"]["val_accuracy"],
        "val_accuracy_std": metrics["distill"]["val_accuracy_std"],
        **{key: headline[key] for key in names},
    }


def gain_over_kd(folder: Path, name: str) -> dict[str, float]:
    """Return the gain of a method over `kd`, by the students' answers on the test set."""
    gain = accuracy_gain(np.load(answers_file(folder, name)), np.load(answers_file(folder, "kd")))
    return {"points": gain.points, "ci_low": gain.ci_low, "ci_high": gain.ci_high, "p": gain.p}


def answers_file(folder: Path, name: str) -> Path:
    """Return where the correctness of a method's students is kept in the clone."""
    return folder / f".distillery/methods-{slug(name)}.npy"


def slug(name: str) -> str:
    """Return a row's name as part of a file's."""
    return name.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
