"""What `dvc.yaml` says of the stages: their names, deps and parameters."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from distillery.data.errors import InputError


@cache
def _stages() -> dict[str, dict]:
    path = Path("dvc.yaml")
    if not path.is_file():
        raise InputError(f"{path}: no such file in {Path.cwd()}; run from the project's folder")
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["stages"]


def stage_names() -> list[str]:
    """Return the names of the stages, in the order of the pipeline."""
    return list(_stages())


def description(stage: str) -> str:
    """Return what a stage makes, in a line."""
    return _stages()[stage].get("desc", stage)


def stage_deps(stage: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return the paths on which a stage depends.

    Args:
        stage: its name.
        parameters: all parameters, flat, `{"distill.temperature": 4.0}`, for `${distill.method}`.
    """
    return [_resolved(dep, parameters) for dep in _stages()[stage]["deps"]]


def stage_parameters(stage: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters on which a stage depends, flat."""
    named = [_resolved(name, parameters) for name in _stages()[stage]["params"]]
    return {
        key: value
        for key, value in parameters.items()
        if any(key == name or key.startswith(f"{name}.") for name in named)
    }


def upstream(stage: str) -> list[str]:
    """Return the stages on which a stage's result depends, itself the last one, in the order of the pipeline."""
    found, waiting = {stage}, [stage]
    while waiting:
        deps = set(_stages()[waiting.pop()]["deps"])
        waiting += [other for other in _stages() if other not in found and _made_by(other) & deps]
        found.update(waiting)
    return [one for one in _stages() if one in found]


def sections(stage: str) -> set[str]:
    """Return the sections of `params.yaml` on which a stage's result depends: its own, and those of stages before."""
    return {name.split(".")[0] for one in upstream(stage) for name in _stages()[one]["params"]}


def out_folders() -> set[str]:
    """Return the folders in which the stages' outputs lie."""
    return {str(Path(out).parent) for stage in _stages() for out in outs(stage)}


def out_named(name: str) -> Path:
    """Return the path of the output with this file name."""
    return next(Path(out) for stage in _stages() for out in outs(stage) if Path(out).name == name)


def outs(stage: str) -> set[str]:
    """Return the paths that a stage makes, metrics and plots among them."""
    return {
        next(iter(out)) if isinstance(out, dict) else out
        for kind in ("outs", "metrics", "plots")
        for out in _stages()[stage].get(kind, [])
    }


@cache
def _made_by(stage: str) -> set[str]:
    """Return the paths that a stage makes, and those that lie in them."""
    made = outs(stage)
    deps = {dep for other in _stages().values() for dep in other["deps"]}
    return made | {dep for dep in deps if any(dep.startswith(f"{path}/") for path in made)}


def _resolved(text: str, parameters: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{(.+?)\}", lambda key: str(parameters[key[1]]), text)
