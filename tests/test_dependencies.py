"""`dvc.yaml` names exactly what each stage reads, and the rooms know each other in one direction only."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.params import TRAINED

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["prepare", "train_teacher", "transfer", "distill", "train_scratch", "evaluate", "export", "register"]


def imported(path: Path) -> set[Path]:
    """The project's modules that a module imports itself, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] in ("stages", "distillery", "pipeline"):
                module = ROOT / name.replace(".", "/")
                candidates = [module.with_suffix(".py"), module / "__init__.py"]
                # importing a module runs the __init__ of its package, too
                candidates += [parent / "__init__.py" for parent in module.parents if ROOT in parent.parents]
                found |= {candidate for candidate in candidates if candidate.is_file() and candidate.stat().st_size}
                found -= {
                    ROOT / "distillery" / "__init__.py",
                    ROOT / "pipeline" / "__init__.py",
                    ROOT / "stages" / "__init__.py",
                }
    return found


def imported_by_stage(stage: str) -> set[str]:
    found, waiting = set(), {ROOT / "stages" / f"{stage}.py"}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported(module) - found
    return {str(path.relative_to(ROOT)) for path in found}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_exactly_the_imported_modules(stage):
    declared = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"][stage]["deps"]
    if stage == "train_teacher":  # what the teacher comes from: this file, unless the user brings another
        declared = [TRAINED if dep == "${train_teacher.model}" else dep for dep in declared]
    assert sorted(dep for dep in declared if dep.endswith(".py")) == sorted(imported_by_stage(stage))


@pytest.mark.parametrize("stage", ["prepare", "train_teacher", "transfer", "distill", "train_scratch"])
def test_only_evaluate_draws_and_only_delivery_knows_mlflow(stage):
    modules = imported_by_stage(stage)
    assert "distillery/figures.py" not in modules
    assert "pipeline/tracking/delivery.py" not in modules
    for module in modules:
        text = (ROOT / module).read_text(encoding="utf-8")
        assert "import mlflow" not in text
        assert "from mlflow" not in text


def test_prepare_imports_no_tensorflow():
    assert not any(module.startswith("distillery/learning/") for module in imported_by_stage("prepare"))


def test_nothing_knows_the_demo():
    for room in ("stages", "distillery", "pipeline", "experiments"):
        for module in (ROOT / room).rglob("*.py"):
            assert not re.search(r"^\s*(import|from) app\b", module.read_text(encoding="utf-8"), re.MULTILINE), module
