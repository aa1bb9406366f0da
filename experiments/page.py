"""Makes RESULTS.md and its pictures from `results/`: no number in it is typed by hand.

python -m experiments.page
"""

import json
import shlex
from collections.abc import Iterator, Mapping

from ruamel.yaml import YAML

from distillery.figures import save_figure
from experiments.figures import gains, temperature_and_alpha
from experiments.run import RESULTS, ROOT
from pipeline.tracking.journal import flat

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
SIGNS = {"at_most": "≤", "at_least": "≥", "above": ">"}


def main() -> None:
    """Write the page and its pictures."""
    originals = YAML(typ="safe").load(ROOT / "experiments/originals.yaml")
    headlines = {name: _read(name, "evaluate") for name in originals if (RESULTS / name / "run.json").is_file()}
    save_figure(gains(headlines), PICTURES / "gains.png")
    text = [
        "# Results",
        "",
        "Every preset, run for real. This page is made by `python -m experiments.page` from `results/`, which"
        " `python -m experiments.run <preset>` fills: it runs the command that stands with each preset, in a clone."
        " Students are means over their seeds ± standard deviation. The interval of the gain is a 95 % bootstrap over"
        " test images and seeds. Best epoch, seed to ship and bias are chosen on validation images by the pipeline"
        " itself."
        " *Original* is what the tutorial or the paper reports.",
        "",
        "![Errors and gain of every preset](results/gains.png)",
        "",
        *_summary(headlines),
    ]
    missing = [name for name in originals if name not in headlines]
    if missing:
        text += ["", f"Not yet run for this page: {', '.join(f'`{name}`' for name in missing)}."]
    for name, headline in headlines.items():
        text += ["", *_section(name, originals[name], headline)]
    for path in sorted(RESULTS.glob("grid_*.json")):
        preset = path.stem.removeprefix("grid_")
        sweep = json.loads(path.read_text(encoding="utf-8"))
        rows = sweep["pairs"]
        save_figure(temperature_and_alpha(rows, f"Temperature and alpha: {preset}"), PICTURES / f"{path.stem}.png")
        best = max(rows, key=lambda row: row["val_accuracy"])
        text += [
            "",
            f"## Temperature × alpha: `{preset}`",
            "",
            f"{len(rows)} queued experiments (`{_sweep_command(preset, sweep)}`). The best on validation is"
            f" temperature {best['temperature']:g} with alpha {best['alpha']:g}: {100 * best['val_accuracy']:.2f} %"
            f" there, {100 * best['accuracy']:.2f} % on the test set, {best['gain_points']:+.2f} points over scratch.",
            "",
            f"![Temperature and alpha](results/{path.stem}.png)",
        ]
    PAGE.write_text("\n".join(text) + "\n", encoding="utf-8")


def _sweep_command(preset: str, sweep: Mapping) -> str:
    """The command that makes a sweep, in the clone where its preset ran."""
    temperatures, alphas = (
        ",".join(f"{value:g}" for value in sorted({row[key] for row in sweep["pairs"]}))
        for key in ("temperature", "alpha")
    )
    overrides = "".join(f" --set {shlex.quote(override)}" for override in sweep["overrides"])
    return (
        f"python -m experiments.grid {preset} --folder CLONE --temperatures {temperatures} --alphas {alphas}{overrides}"
    )


def stale(name: str, overrides: str) -> bool:
    """Whether a result was made with other parameters than its preset has now.

    What the preset got since does not matter: a result that was made without a parameter was made with its default.
    """
    if overrides.split("presets/")[1].split(".yaml")[0] != name:  # a run with overrides, under its own name
        return False
    yaml = YAML(typ="safe")
    preset = yaml.load(ROOT / f"presets/{name}.yaml")
    return any(
        preset[section].get(key) != value
        for section, values in yaml.load(RESULTS / name / "params.yaml").items()
        for key, value in values.items()
    )


def _read(name: str, metrics: str) -> dict:
    return json.loads((RESULTS / name / f"{metrics}.json").read_text(encoding="utf-8"))


def _summary(headlines: Mapping[str, Mapping]) -> Iterator[str]:
    yield "| preset | teacher | distilled | scratch | gain (points) | parameters ÷ | speed × (one image / many) |"
    yield "|---|---|---|---|---|---|---|"
    for name, headline in headlines.items():
        gain, speed = headline["gain"], _read(name, "timing")["speedup"]
        cells = [f"[`{name}`](#{name})"]
        for kind in ("teacher", "distilled", "scratch"):
            spread = f" ± {100 * headline[kind]['accuracy_std']:.2f}" if kind != "teacher" else ""
            cells.append(f"{100 * headline[kind]['accuracy']:.2f}{spread} %")
        cells.append(f"{gain['points']:+.2f} [{gain['ci_low']:+.2f}, {gain['ci_high']:+.2f}]")
        cells.append(f"{headline['compression']['parameters']:.2f}")
        cells.append(f"{speed['latency']:.1f} / {speed['throughput']:.1f}")
        yield f"| {' | '.join(cells)} |"


def _section(name: str, about: Mapping, headline: Mapping) -> Iterator[str]:
    run, values = _read(name, "run"), dict(flat(headline))
    seeds = len(YAML(typ="safe").load(RESULTS / name / "params.yaml")["student"]["seeds"])
    yield f"## {name}"
    yield ""
    yield f"**{about['title']}.** Original: {about['source']}."
    if stale(name, run["command"]):
        yield "**The preset has changed since this run.**"
    yield ""
    yield "```"
    yield run["command"]
    yield "```"
    yield ""
    yield "| | original | here | goal |"
    yield "|---|---|---|---|"
    for metric, title in TITLES.items():
        if metric in values:
            original = _shown(metric, about["original"][metric]) if metric in about["original"] else ""
            here, goal = _shown(metric, values[metric]), goal_text(metric, about["goals"].get(metric), values[metric])
            if f"{metric}_std" in values:
                here += f" ± {_shown(metric, values[f'{metric}_std'])} ({seeds} seeds)"
            yield f"| {title} | {original} | {here} | {goal} |"
    yield ""
    gain = headline["gain"]
    verdict = (
        "Distilling is better than plain training here: the interval is above zero."
        if gain["ci_low"] > 0
        else "Distilling is worse than plain training here: the interval is below zero."
        if gain["ci_high"] < 0
        else "Neither is better: the interval holds zero."
    )
    yield f"{verdict} McNemar's p = {gain['mcnemar_p']:.2g}."
    original = about["original"]
    for unit, better in (("accuracy", 1), ("errors", -1)):
        distilled, scratch = original.get(f"distilled.{unit}"), original.get(f"scratch.{unit}")
        if distilled is not None and scratch is not None and better * (distilled - scratch) < 0:
            yield (
                f"In the original the distilled student ({_shown(f'distilled.{unit}', distilled)}) is worse than the"
                f" one from scratch ({_shown(f'scratch.{unit}', scratch)}): its own figures do not bear its claim out."
            )
    if headline["compression"]["parameters"] < 1:
        yield (
            f"The student has {1 / headline['compression']['parameters']:.2f} times as many parameters as its teacher:"
            " what it saves is not size."
        )
    if "tried" in about:
        yield f"Also tried: {about['tried']}"
    validation = _read(name, "distill").get("cross_validation")
    if validation:
        agreement, spread = (100 * validation[f"agreement_with_teacher{end}"] for end in ("", "_std"))
        yield (
            f"Cross-validated, a fresh student for each fold: it says what the teacher says on {agreement:.2f} ±"
            f" {spread:.2f} % of the images that it did not see, and is right on {100 * validation['accuracy']:.2f} %."
        )
    yield ""
    ran = {stage: made for stage, made in run["stages"].items() if made}
    times = ", ".join(f"{stage} {made['seconds']:,.0f} s" for stage, made in ran.items())
    yield f"Wall time: {times}; together {sum(made['seconds'] for made in ran.values()):,.0f} s."
    for where, stages in _machines(ran).items():
        yield f"{', '.join(stages)}: {where}."
    unknown = [stage for stage, made in run["stages"].items() if not made]
    if unknown:
        yield f"From DVC's cache, where the run of another preset put it: {', '.join(unknown)}."


def _machines(stages: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """The stages by where they ran."""
    machines = {}
    for stage, made in stages.items():
        versions = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
        where = (
            f"{made['cores']} cores of {made['processor']}, Python {made['python']}, {versions},"
            f" backend {made['backend']}, commit `{made['commit'][:10]}`"
        )
        machines.setdefault(where, []).append(stage)
    return machines


def _shown(metric: str, value: float) -> str:
    if metric.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if metric.startswith("gain"):
        return f"{value:+.2f}"
    return f"{value:,.2f}" if metric.startswith("compression") else f"{value:,.1f}".removesuffix(".0")


def goal_text(metric: str, goal: Mapping[str, float] | None, value: float) -> str:
    """Whether a goal (`at_most`, `at_least` or `above`) is reached, and by how much it is missed."""
    if goal is None:
        return ""
    ((kind, bound),) = goal.items()
    missed = value - bound if kind == "at_most" else bound - value
    text = f"{SIGNS[kind]} {_shown(metric, bound)}"
    if missed < 0 or (missed == 0 and kind != "above"):
        return f"{text}: reached"
    by = f"{100 * missed:.3g} points" if metric.endswith("accuracy") else f"{missed:.3g}"
    return f"{text}: **missed by {by}**"


if __name__ == "__main__":
    main()
