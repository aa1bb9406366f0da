"""Presets: `presets/mnist.yaml` has every parameter, the others what differs from it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from distillery.data.errors import InputError
from distillery.data.files import atomic_write
from distillery.data.progress import duration
from pipeline.catalogue import ROOT
from pipeline.params import load_params

FOLDER, RESULTS = ROOT / "presets", ROOT / "results"
DEFAULT = "mnist"


def preset_names() -> list[str]:
    """Return the names of the presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset_costs() -> str:
    """Return a line per preset: how long its stages took from nothing, and on what, from `results/`."""
    width = max(map(len, preset_names()), default=0)
    return "\n".join(f"  {name:{width}}  {preset_cost(name)}" for name in preset_names())


def preset_cost(name: str) -> str:
    """Return how long a preset took, all its stages together, and on what; of a stage that was cached, when it ran."""
    try:
        stages = json.loads((RESULTS / name / "run.json").read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError):  # never run, or a damaged record: no reason to stop a stage
        return "not measured"
    ran = [made for made in stages.values() if made]
    took = duration(sum(made["seconds"] for made in ran))
    least = "" if len(ran) == len(stages) else "at least "  # nobody knows what the others took
    machines = sorted({f"{made['cores']} cores of {made['processor']}" for made in ran})
    return f"{least}{took}; {', '.join(machines)}"


def preset_text(name: str) -> str:
    """Return the complete `params.yaml` of a preset, with its comments.

    Raises:
        InputError: when there is no such preset, or it names a parameter that there is not.
    """
    if name not in preset_names():
        raise InputError(f"found {name!r}; accepted: {', '.join(preset_names())}")
    text = (FOLDER / f"{DEFAULT}.yaml").read_text(encoding="utf-8")
    if name == DEFAULT:
        return text
    yaml = YAML()
    yaml.width = 120
    params = yaml.load(text)
    _override(params, YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")), name)
    written = io.StringIO()
    yaml.dump(params, written)
    return written.getvalue()


def _override(params: dict, changes: Mapping, name: str, prefix: str = "") -> None:
    for key, value in changes.items():
        if key not in params:
            raise InputError(f"presets/{name}.yaml: {prefix}{key}: unknown parameter; accepted: {', '.join(params)}")
        if isinstance(value, Mapping):
            _override(params[key], value, name, f"{prefix}{key}.")
        else:
            params[key] = value


def write_preset(name: str, path: str | Path = "params.yaml") -> None:
    """Write the complete parameters of a preset, checked.

    Raises:
        InputError: when there is no such preset, or the images or the teacher that it takes are not there.
    """
    text = preset_text(name)
    tree = YAML(typ="safe").load(text)
    for section, key in (("prepare", "dataset"), ("train_teacher", "model")):
        if not Path(tree[section][key]).exists():
            raise InputError(
                f"{section}.{key}: found {tree[section][key]!r}; presets/{name}.yaml says in its first lines how it is"
                " made"
            )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        load_params(temporary)
    print(f"{path}: the parameters of preset {name}")
