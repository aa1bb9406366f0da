"""The recipes of docs/extending.md: each is applied to a clone, and its commands are run."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, environment, run

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FILE = re.compile(r'^```python title="(.+?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^\$ (.+)$", re.MULTILINE)
RUNS = {  # the stages that a recipe's commands run
    "A method of distillation": ["distill"],
    "An architecture": ["distill"],
    "A data set": ["prepare"],
    "A method that looks at embeddings": ["transfer", "distill"],
    "A teacher with its own preprocessing": ["train_teacher", "transfer"],
    "An augmentation": ["train_teacher", "transfer", "distill"],
    "A metric of `evaluate`": ["evaluate"],
    "An export format": ["export"],
    "Another tracker": [],
    "Experiments on several machines": ["distill"],
    "A stage": ["hardest"],
}

ADDED = (  # they run nothing again
    "A method of distillation",
    "An architecture",
    "A data set",
    "A method that looks at embeddings",
    "Another tracker",
)


def applied(recipe: str, pipeline: Path, folder: Path) -> Path:
    """Return a copy of the pipeline with the recipe's files and edits in it, committed."""
    shutil.copytree(pipeline, folder, symlinks=True)
    for name, text in FILE.findall(RECIPES[recipe]):
        (folder / name).write_text(text, encoding="utf-8")
    for diff in DIFF.findall(RECIPES[recipe]):
        subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True)
    for command in (["git", "add", "--all"], ["git", "commit", "--quiet", "--allow-empty", "--message=a recipe"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def test_every_recipe_is_checked():
    assert list(RECIPES) == list(RUNS)


@pytest.mark.parametrize("recipe", RUNS)
def test_diffs_of_a_recipe_apply(recipe):
    for diff in DIFF.findall(RECIPES[recipe]):
        subprocess.run(["git", "apply", "--check", "-"], cwd=ROOT, input=diff, text=True, check=True)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RUNS)
def test_recipe_works(recipe, pipeline, tmp_path):
    folder = applied(recipe, pipeline, tmp_path / "clone")
    if recipe in ADDED:
        assert run(folder, "dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    ran = []
    for command in CONSOLE.findall(RECIPES[recipe]):
        answer = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, f"{command}\n{answer.stdout}\n{answer.stderr}"
        ran += re.findall(r"Running stage '(\w+)'", answer.stdout + answer.stderr)
    assert ran == RUNS[recipe]
    CHECKS.get(recipe, lambda _: None)(folder)


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def check_embeddings(folder: Path) -> None:
    assert set(read(folder, "data/transfer/transfer.json")["outputs"]) == {"logits", "embedding"}
    assert read(folder, "metrics/distill.json")["val_accuracy"] > 0.2


def check_wrapped_teacher(folder: Path) -> None:
    assert read(folder, "metrics/train_teacher.json")["val_accuracy"] > 0.8


def check_augmentation(folder: Path) -> None:
    assert read(folder, "data/transfer/transfer.json")["views"]["invert"] == 0.3


def check_metric(folder: Path) -> None:
    headline = read(folder, "metrics/evaluate.json")
    assert headline["teacher"]["accuracy"] <= headline["teacher"]["top_2"] <= 1


def check_format(folder: Path) -> None:
    formats = read(folder, "metrics/export.json")
    assert formats["litert_float16"]["bytes"] < 0.6 * formats["litert"]["bytes"]
    assert formats["litert_float16"]["agreement_with_keras"] > 0.98


def check_tracker(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (lines[0]["event"], lines[-1]["event"], lines[-1]["status"]) == ("parameters", "end", "FINISHED")


def check_workers(folder: Path) -> None:
    assert "warm" in run(folder, "dvc", "exp", "list", "--all-commits").stdout


def check_stage(folder: Path) -> None:
    hardest = read(folder, "metrics/hardest.json")
    assert len(hardest["first"]) == min(hardest["count"], 12)


CHECKS = {
    "A method that looks at embeddings": check_embeddings,
    "A teacher with its own preprocessing": check_wrapped_teacher,
    "An augmentation": check_augmentation,
    "A metric of `evaluate`": check_metric,
    "An export format": check_format,
    "Another tracker": check_tracker,
    "Experiments on several machines": check_workers,
    "A stage": check_stage,
}
