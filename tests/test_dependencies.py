"""What `dvc.yaml` says is what the code reads, and an edit re-runs what it affects and nothing else."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, STAGES, change_params
from dvc.repo import Repo
from ruamel.yaml import YAML

DVC = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
ROOMS = ("distillery", "pipeline", "stages")
NAMES_ONLY = {ROOT / room / "__init__.py" for room in ROOMS}  # they compute nothing


def imported(path: Path) -> set[Path]:
    """Return the project's modules that a module imports itself, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] in ROOMS:
                module = ROOT / name.replace(".", "/")
                found |= {file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()}
    return found - NAMES_ONLY


def import_closure(stage: str) -> set[str]:
    found, waiting = set(), {ROOT / "stages" / f"{stage}.py"}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported(module) - found
    return {str(path.relative_to(ROOT)) for path in found}


def code_deps(stage: str) -> list[str]:
    return [dep for dep in DVC[stage]["deps"] if dep.startswith(("stages/", "distillery/"))]


def covers(dep: str, module: str) -> bool:
    return module == dep or module.startswith(f"{dep}/")


def test_stages_holds_exactly_the_scripts_of_the_pipeline():
    assert list(DVC) == STAGES
    assert sorted(path.stem for path in (ROOT / "stages").glob("*.py")) == sorted(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_import_closure_lies_under_the_deps(stage):
    deps = code_deps(stage)
    left = [module for module in import_closure(stage) if not any(covers(dep, module) for dep in deps)]
    assert [module for module in left if (ROOT / module).name != "__init__.py"] == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dep_is_imported(stage):
    closure = import_closure(stage)
    deps = [dep for dep in code_deps(stage) if not dep.endswith(".jinja")]  # the model card's template is read
    assert [dep for dep in deps if not any(covers(dep, module) for module in closure)] == []


def test_library_imports_neither_stages_nor_pipeline():
    for module in (ROOT / "distillery").rglob("*.py"):
        known = {str(path.relative_to(ROOT)) for path in imported(module)}
        assert all(name.startswith("distillery/") for name in known), module


def test_library_knows_no_tool_of_the_pipeline():
    for module in (ROOT / "distillery").rglob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not {name.split(".")[0] for name in names} & {"mlflow", "dvc", "ruamel"}, module


@pytest.mark.parametrize("stage", STAGES)
def test_stages_import_the_library_alone(stage):
    known = {str(path.relative_to(ROOT)) for path in imported(ROOT / "stages" / f"{stage}.py")}
    assert all(name.startswith("distillery/") for name in known)


def test_pipeline_names_no_folder_of_the_data():
    for module in (ROOT / "pipeline").rglob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert not re.findall(r'"(?:models|data|metrics|plots)/', text), module


@pytest.mark.parametrize("stage", STAGES[:7])
def test_what_was_computed_once_comes_from_the_run_cache(stage):
    """DVC shares a stage's run with other machines only where all outputs are in its cache, metrics and plots too."""
    outs = [out for kind in ("outs", "metrics", "plots") for out in DVC[stage].get(kind, [])]
    assert not any("cache" in options for out in outs if isinstance(out, dict) for options in out.values())


def test_prepare_imports_no_keras():
    assert not any(module.startswith("distillery/learning/") for module in import_closure("prepare"))


def test_nothing_imports_the_demo():
    for room in (*ROOMS, "experiments"):
        for module in (ROOT / room).rglob("*.py"):
            assert not re.search(r"^\s*(import|from) app\b", module.read_text(encoding="utf-8"), re.MULTILINE), module


EDITS = {  # a file to edit or add, or a parameter to change: the stages that `dvc status` names
    "architectures/example.py": [],
    "datasets/example.py": [],
    "methods/example.py": [],
    "architectures/cnn_16_32.py": [],
    "datasets/cifar10.py": [],
    "methods/dkd.py": [],
    "distill.dkd.beta": [],
    "distill.dist.gamma": [],
    "pipeline/params.py": [],
    "pipeline/__main__.py": [],
    "pipeline/resume.py": [],
    "pipeline/tracking/run_log.py": [],
    "presets/hinton.yaml": [],
    "methods/kd.py": ["distill"],
    "distillery/distillation/distiller.py": ["distill"],
    "distillery/distillation/stored_logits.py": ["distill", "transfer"],
    "transfer.top_classes": ["register", "transfer"],
    "distill.temperature": ["distill", "register"],  # the model card names the parameters
    "architectures/dense_800_800.py": ["distill", "train_scratch"],
    "architectures/cnn.py": ["train_teacher"],
    "distillery/students/train.py": ["distill", "train_scratch"],
    "distillery/figures/style.py": ["evaluate"],
    "distillery/evaluation/calibration.py": ["evaluate", "register"],
    "distillery/export/litert.py": ["export", "timing"],
    "distillery/model_card.py": ["register"],
    "distillery/datasets/sources.py": ["prepare"],
    "distillery/learning/training.py": [
        "distill",
        "evaluate",
        "export",
        "timing",
        "train_scratch",
        "train_teacher",
        "transfer",
    ],
    "stages/transfer.py": ["transfer"],
}


@pytest.fixture(scope="module")
def unchanged(pipeline, tmp_path_factory) -> Path:
    """A copy of the clone in which the pipeline ran."""
    folder = tmp_path_factory.mktemp("edits") / "clone"
    shutil.copytree(pipeline, folder, symlinks=True, ignore=shutil.ignore_patterns("mlartifacts"))
    return folder


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_re_runs_what_it_affects(unchanged, edit):
    if "/" in edit:
        path = unchanged / edit
        former = path.read_text(encoding="utf-8") if path.is_file() else ""
        path.write_text(former + "\n# an edit\n", encoding="utf-8")
    else:
        *sections, key = edit.split(".")
        change = {key: 7.0}
        for section in reversed(sections):
            change = {section: change}
        change_params(unchanged, change)
    with Repo(unchanged) as repo:
        named = [stage.rpartition(":")[2] for stage in repo.status()]
    subprocess.run(["git", "stash", "--quiet", "--include-untracked"], cwd=unchanged, check=True)
    subprocess.run(["git", "stash", "drop", "--quiet"], cwd=unchanged, check=True)
    assert sorted(named) == EDITS[edit]
