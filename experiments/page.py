"""Make RESULTS.md and its pictures from `results/`: no number in it is typed by hand. Its text is `results.md.jinja`.

python -m experiments.page
"""

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from distillery.data.files import read_json
from distillery.evaluation.comparison import mean_accuracy_interval
from experiments.run import RESULTS, ROOT
from pipeline import catalogue
from pipeline.presets import preset_names, preset_text
from pipeline.tracking.run_log import flat

TITLES = {  # of metrics, in the order in which a preset's table shows them
    "teacher.accuracy": "teacher, accuracy",
    "teacher.balanced_accuracy": "teacher, balanced accuracy",
    "teacher.macro_f1": "teacher, macro F1",
    "teacher.errors": "teacher, errors",
    "distilled.accuracy": "distilled, accuracy",
    "distilled.balanced_accuracy": "distilled, balanced accuracy",
    "distilled.macro_f1": "distilled, macro F1",
    "distilled.errors": "distilled, errors",
    "scratch.accuracy": "plain training, its own recipe, accuracy",
    "scratch.balanced_accuracy": "plain training, its own recipe, balanced accuracy",
    "scratch.macro_f1": "plain training, its own recipe, macro F1",
    "scratch.errors": "plain training, its own recipe, errors",
    "same_recipe.accuracy": "the same recipe without a teacher, accuracy",
    "same_recipe.balanced_accuracy": "the same recipe without a teacher, balanced accuracy",
    "same_recipe.macro_f1": "the same recipe without a teacher, macro F1",
    "same_recipe.errors": "the same recipe without a teacher, errors",
    "gain.points": "gain over plain training (points)",
    "gain_over_same_recipe.points": "gain over the same recipe (points)",
    "omitted.distilled.errors": "distilled, errors on the omitted classes",
    "omitted.distilled.errors_corrected": "distilled, errors on the omitted classes, bias corrected",
    "omitted.distilled.errors_in_all_corrected": "distilled, errors in all, bias corrected",
    "omitted.scratch.errors_in_all_corrected": "plain training, errors in all, bias corrected",
    "compression.parameters": "parameters, teacher ÷ student",
}
PAGE, PICTURES = ROOT / "RESULTS.md", RESULTS
ORIGINALS, TEMPLATE = ROOT / "experiments/originals.yaml", ROOT / "experiments/results.md.jinja"
SIGNS = {"at_most": "≤", "at_least": "≥"}

# Accuracy on CIFAR-100, %, WRN-40-2 to WRN-16-2; see the template.
PUBLISHED = {"kd": 74.92, "at": 74.08, "sp": 73.83, "rkd": 73.35, "pkt": 74.54, "crd": 75.48, "dkd": 76.23}


def main() -> None:
    """Write the page and its pictures."""
    from distillery.figures import save_figure  # matplotlib is slow to import, and `render` does without it
    from experiments.figures import gains, temperature_and_alpha

    originals = read_yaml(ORIGINALS)
    kept = [name for name in originals if (RESULTS / name / "run.json").is_file()]
    runs = {name: _run(name, originals[name]) for name in kept if (RESULTS / name / "answers.npz").is_file()}
    # Made before plain training had a recipe of its own: their students from scratch had that of the distilled ones.
    older = {name: _read(name, "evaluate") for name in kept if name not in runs}
    methods = {path.stem.removeprefix("methods_"): read_json(path) for path in sorted(RESULTS.glob("methods_*.json"))}
    grids = [_grid(path) for path in sorted(RESULTS.glob("grid_*.json"))]
    save_figure(gains({name: run["headline"] for name, run in runs.items()}), PICTURES / "gains.png")
    for grid in grids:
        figure = temperature_and_alpha(grid["pairs"], f"Temperature and alpha: {grid['preset']}")
        save_figure(figure, PICTURES / f"grid_{grid['preset']}.png")
    text = render(
        TEMPLATE,
        {
            "shown": shown,
            "gain": gain_text,
            "shown_setting": setting_text,
            "counted": lambda count, noun: f"{count} {noun}{'' if count == 1 else 's'}",
        },
        runs=runs,
        grids=grids,
        methods=methods,
        published=PUBLISHED,
        method_names=[Path(path).stem for path in catalogue.files("methods")],
        older=older,
        missing=[name for name in originals if name not in kept],
        titles=TITLES,
        goal_text=goal_text,
    )
    PAGE.write_text(text, encoding="utf-8")


def render(template: Path, filters: Mapping[str, Any], **values: Any) -> str:
    """Return the text of a Jinja template, with the filter `percent` and these."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)
    environment.filters |= {"percent": lambda part: f"{100 * part:.2f} %", **filters}
    return environment.from_string(template.read_text(encoding="utf-8")).render(values).rstrip("\n") + "\n"


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file of the project's own."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _run(name: str, original: Mapping) -> dict[str, Any]:
    """Return what the template shows of a preset's run."""
    run, headline = _read(name, "run"), _read(name, "evaluate")
    ran = {stage: made for stage, made in run["stages"].items() if made}
    machines: dict[str, list[str]] = {}
    for stage, made in ran.items():
        machines.setdefault(_machine(made), []).append(stage)
    metrics, answers, teachers = dict(flat(headline)), read_answers(name), _if_there(name, "teachers")
    return {
        "intervals": {metric: interval(metric, metrics, answers) for metric in TITLES if metric in metrics},
        "by_seed": _errors_by_seed(answers),
        "seeds": len(read_yaml(RESULTS / name / "params.yaml")["student"]["seeds"]),
        "plain_recipe": _if_there(name, "plain_recipe"),
        "teachers": teachers,
        "teachers_std": np.std([other["gain"]["points"] for other in teachers], ddof=1) if teachers else None,
        "original": original,
        "original_lost": _lost(original["original"]),
        "command": run["command"],
        "stale": stale(name),
        "headline": headline,
        "metrics": metrics,
        "speedup": _read(name, "timing")["speedup"],
        "folds": _read(name, "distill").get("cross_validation"),
        "ran": ran,
        "machines": machines,
        "cached": [stage for stage in run["stages"] if stage not in ran],
    }


def _read(name: str, metrics: str) -> Any:
    return read_json(RESULTS / name / f"{metrics}.json")


def _if_there(name: str, metrics: str) -> Any:
    return _read(name, metrics) if (RESULTS / name / f"{metrics}.json").is_file() else None


def read_answers(name: str) -> dict[str, np.ndarray]:
    """Return the labels (n,) and what every model of a result predicted, by role (models, n)."""
    with np.load(RESULTS / name / "answers.npz") as answers:
        return dict(answers)


def interval(
    metric: str, metrics: Mapping[str, float], answers: Mapping[str, np.ndarray]
) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric over test images and, where there are several, seeds.

    Args:
        metric: its name.
        metrics: of the result, flat.
        answers: of the result.

    Returns:
        The low and the high end; None where the metric has none.
    """
    name, _, what = metric.rpartition(".")
    if what == "points":
        return metrics[f"{name}.ci_low"], metrics[f"{name}.ci_high"]
    role = name.removeprefix("omitted.")
    if role not in answers or what in ("balanced_accuracy", "macro_f1"):
        return None
    labels, predicted = answers["labels"], answers[f"{role}_corrected" if what.endswith("corrected") else role]
    correct = predicted == labels
    if name.startswith("omitted.") and "in_all" not in what:
        correct = correct[:, np.isin(labels, answers["omitted"])]
    low, high = mean_accuracy_interval(correct)
    return (low, high) if what == "accuracy" else tuple(correct.shape[1] * (1 - end) for end in (high, low))


def _machine(made: Mapping) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
    environment = f", with {made['environment']}" if made.get("environment") else ""
    return (
        f"{made['cores']} cores of {made['processor']}{environment}, Python {made['python']}, {versions},"
        f" backend {made['backend']}, commit `{made['commit'][:10]}`"
    )


def _lost(original: Mapping[str, float]) -> tuple[str, str] | None:
    """Return the original's figures with and without distilling where its distilled student is the worse one."""
    for unit, better in (("accuracy", 1), ("errors", -1)):
        names = f"distilled.{unit}", f"same_recipe.{unit}"
        if all(name in original for name in names):
            distilled, scratch = (original[name] for name in names)
            if better * (distilled - scratch) < 0:
                return shown(distilled, unit), shown(scratch, unit)
    return None


def _grid(path: Path) -> dict[str, Any]:
    """Return what the template shows of a sweep, and the command that makes it in the clone where its preset ran."""
    preset, sweep = path.stem.removeprefix("grid_"), read_json(path)
    pairs = sweep["pairs"]
    temperatures, alphas = (
        ",".join(f"{value:g}" for value in sorted({row[key] for row in pairs})) for key in ("temperature", "alpha")
    )
    words = ["--folder", "CLONE", "--temperatures", temperatures, "--alphas", alphas]
    words += [word for override in sweep["overrides"] for word in ("--set", override)]
    return {
        "preset": preset,
        "stale": sweep.get("preset") != preset_text(preset),
        "pairs": pairs,
        "best": max(pairs, key=lambda row: row["val_accuracy"]),
        "command": f"python -m experiments.grid {preset} {shlex.join(words)}",
    }


def stale(name: str) -> bool:
    """Return whether a preset's result was made with other parameters than the preset has now.

    What the preset got since does not matter: a result that was made without a parameter was made with its default. Nor
    does what `auto` stands for: a precision that some machine has. A run under a name of its own has overrides and is
    never stale.
    """
    if name not in preset_names():
        return False
    now = dict(flat(yaml.safe_load(preset_text(name))))
    then = flat(read_yaml(RESULTS / name / "params.yaml"))
    return any(now.get(parameter) not in (value, "auto") for parameter, value in then)


def _errors_by_seed(answers: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the errors of every student, by name of the metric that is their mean."""
    return {
        f"{role}.errors": (answers[role] != answers["labels"]).sum(axis=1).tolist()
        for role in ("distilled", "scratch", "same_recipe")
        if len(answers[role]) > 1
    }


def setting_text(setting: Mapping[str, float]) -> str:
    """Return a method's setting, `temperature 4.2, alpha 0.5`."""
    return ", ".join(f"{key.rpartition('.')[2]} {value:.3g}" for key, value in setting.items())


def gain_text(gain: Mapping[str, float]) -> str:
    """Return a gain in points with its interval."""
    return f"{gain['points']:+.2f} [{gain['ci_low']:+.2f}, {gain['ci_high']:+.2f}]"


def shown(value: float, metric: str) -> str:
    """Return a number as its metric is read."""
    if metric.endswith(("accuracy", "macro_f1")):
        return f"{100 * value:.2f} %"
    if metric.startswith("gain"):
        return f"{value:+.2f}"
    return f"{value:,.2f}" if metric.startswith("compression") else f"{value:,.1f}".removesuffix(".0")


def goal_text(metric: str, goal: Mapping[str, float], value: float, ends: tuple[float, float]) -> str:
    """Return whether a goal (`at_most` or `at_least`) is reached: its bound is outside the interval, on the right side.

    Args:
        metric: its name.
        goal: the bound, by its sign.
        value: the metric.
        ends: of its interval.
    """
    ((sign, bound),) = goal.items()
    missed = value - bound if sign == "at_most" else bound - value
    text = f"{SIGNS[sign]} {shown(bound, metric)}"
    by = f"{100 * missed:.3g} points" if metric.endswith("accuracy") else f"{missed:.3g}"
    if ends[0] <= bound <= ends[1]:
        return f"{text}: at the edge" + (f", missed by {by}" if missed > 0 else "")
    return f"{text}: **missed by {by}**" if missed > 0 else f"{text}: reached"


if __name__ == "__main__":
    plain = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(prog="python -m experiments.page", description=__doc__, formatter_class=plain).parse_args()
    main()
