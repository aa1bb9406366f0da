"""Make RESULTS.md and its pictures from `results/`: no number in it is typed by hand. Its text is `results.md.jinja`.

python -m experiments.page
"""

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from experiments.run import RESULTS, ROOT
from pipeline.presets import preset_names, preset_text
from pipeline.tracking.run_log import flat

TITLES = {  # of metrics, in the order in which a preset's table shows them
    "teacher.accuracy": "teacher, accuracy",
    "teacher.errors": "teacher, errors",
    "distilled.accuracy": "distilled, accuracy",
    "distilled.errors": "distilled, errors",
    "scratch.accuracy": "scratch, accuracy",
    "scratch.errors": "scratch, errors",
    "gain.points": "gain (points)",
    "gain.ci_low": "gain, lower end of the interval",
    "omitted.distilled.errors": "distilled, errors on the omitted classes",
    "omitted.distilled.errors_corrected": "distilled, errors on the omitted classes, bias corrected",
    "omitted.distilled.errors_in_all_corrected": "distilled, errors in all, bias corrected",
    "omitted.scratch.errors_in_all_corrected": "scratch, errors in all, bias corrected",
    "compression.parameters": "parameters, teacher ÷ student",
}
PAGE, PICTURES = ROOT / "RESULTS.md", RESULTS
ORIGINALS, TEMPLATE = ROOT / "experiments/originals.yaml", ROOT / "experiments/results.md.jinja"
SIGNS = {"at_most": "≤", "at_least": "≥", "above": ">"}


def main() -> None:
    """Write the page and its pictures."""
    from distillery.figures import save_figure  # matplotlib is slow to import, and `render` does without it
    from experiments.figures import gains, temperature_and_alpha

    originals = read_yaml(ORIGINALS)
    runs = {name: _run(name, own) for name, own in originals.items() if (RESULTS / name / "run.json").is_file()}
    grids = [_grid(path) for path in sorted(RESULTS.glob("grid_*.json"))]
    save_figure(gains({name: run["headline"] for name, run in runs.items()}), PICTURES / "gains.png")
    for grid in grids:
        figure = temperature_and_alpha(grid["pairs"], f"Temperature and alpha: {grid['preset']}")
        save_figure(figure, PICTURES / f"grid_{grid['preset']}.png")
    text = render(
        TEMPLATE,
        {"shown": shown},
        runs=runs,
        grids=grids,
        missing=[name for name in originals if name not in runs],
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
    return {
        "original": original,
        "original_lost": _lost(original["original"]),
        "command": run["command"],
        "stale": stale(name),
        "headline": headline,
        "metrics": dict(flat(headline)),
        "seeds": len(read_yaml(RESULTS / name / "params.yaml")["student"]["seeds"]),
        "speedup": _read(name, "timing")["speedup"],
        "folds": _read(name, "distill").get("cross_validation"),
        "ran": ran,
        "machines": machines,
        "cached": [stage for stage in run["stages"] if stage not in ran],
    }


def _read(name: str, metrics: str) -> dict:
    return json.loads((RESULTS / name / f"{metrics}.json").read_text(encoding="utf-8"))


def _machine(made: Mapping) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
    return (
        f"{made['cores']} cores of {made['processor']}, Python {made['python']}, {versions},"
        f" backend {made['backend']}, commit `{made['commit'][:10]}`"
    )


def _lost(original: Mapping[str, float]) -> tuple[str, str] | None:
    """Return the original's distilled and scratch figure where its distilled student is the worse one."""
    for unit, better in (("accuracy", 1), ("errors", -1)):
        names = f"distilled.{unit}", f"scratch.{unit}"
        if all(name in original for name in names):
            distilled, scratch = (original[name] for name in names)
            if better * (distilled - scratch) < 0:
                return shown(distilled, unit), shown(scratch, unit)
    return None


def _grid(path: Path) -> dict[str, Any]:
    """Return what the template shows of a sweep, and the command that makes it in the clone where its preset ran."""
    preset, sweep = path.stem.removeprefix("grid_"), json.loads(path.read_text(encoding="utf-8"))
    pairs = sweep["pairs"]
    temperatures, alphas = (
        ",".join(f"{value:g}" for value in sorted({row[key] for row in pairs})) for key in ("temperature", "alpha")
    )
    words = ["--folder", "CLONE", "--temperatures", temperatures, "--alphas", alphas]
    words += [word for override in sweep["overrides"] for word in ("--set", override)]
    return {
        "preset": preset,
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


def shown(value: float, metric: str) -> str:
    """Return a number as its metric is read."""
    if metric.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if metric.startswith("gain"):
        return f"{value:+.2f}"
    return f"{value:,.2f}" if metric.startswith("compression") else f"{value:,.1f}".removesuffix(".0")


def goal_text(metric: str, goal: Mapping[str, float], value: float) -> str:
    """Return whether a goal (`at_most`, `at_least` or `above`) is reached, and by how much it is missed."""
    ((sign, bound),) = goal.items()
    missed = value - bound if sign == "at_most" else bound - value
    text = f"{SIGNS[sign]} {shown(bound, metric)}"
    if missed < 0 or (missed == 0 and sign != "above"):
        return f"{text}: reached"
    by = f"{100 * missed:.3g} points" if metric.endswith("accuracy") else f"{missed:.3g}"
    return f"{text}: **missed by {by}**"


if __name__ == "__main__":
    plain = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(prog="python -m experiments.page", description=__doc__, formatter_class=plain).parse_args()
    main()
