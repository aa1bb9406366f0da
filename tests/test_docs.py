"""README and docs: what they name exists."""

import ast
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, STAGES
from ruamel.yaml import YAML

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_readme_has_at_most_200_lines_and_no_generated_block():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert "<!--" not in text


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@PAGE
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        target, _, anchor = next(filter(None, link)).partition("#")
        if target.startswith("http"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@PAGE
def test_every_command_names_what_exists(page):
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([\w.]+)", text):
        if module in ("venv", "benchmarks", "pipeline"):
            continue
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file(), module
    for stage in re.findall(r"python -m pipeline (\w+)", text):
        assert stage in (*STAGES, "preset", "recover", "hardest"), stage  # the last is a recipe
    for preset in re.findall(r"python -m pipeline preset (\w+)", text):
        assert (ROOT / f"presets/{preset}.yaml").is_file(), preset
    for name in re.findall(r"-r (requirements[\w/.-]+\.txt)", text):
        assert (ROOT / name).is_file(), name
    if page.name != "reliability.md":
        return
    for words in re.findall(r"pytest -?[^`]*-k (\w+|\"[\w ]+\")", text):
        names = [
            node.name
            for path in (ROOT / "tests").glob("test_*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef)
        ]
        for word in words.strip('"').split(" or "):
            assert any(word in name for name in names), word


@PAGE
def test_every_parameter_that_is_named_exists(page):
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    allowed = {"logits", "norms", "mse", "NAME", "min_scale"}  # what a reader adds
    for section, key in re.findall(r"-S '?\+?(\w+)\.(\w+)", page.read_text(encoding="utf-8")):
        assert key in params[section] or key in allowed, f"{section}.{key}"


def test_committed_results_are_those_of_the_lock():
    """`dvc status` would tell it too, but only where the models are. All other outputs are in DVC's cache alone."""
    stages = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    in_git = ["MODEL_CARD.md", "metrics/headline.json", "metrics/timing.json", "plots/headline.png"]
    committed = subprocess.check_output(["git", "ls-files", "metrics", "plots", "MODEL_CARD.md"], cwd=ROOT, text=True)
    assert committed.splitlines() == in_git
    assert [path for path in in_git if hashlib.md5((ROOT / path).read_bytes()).hexdigest() != outs[path]] == []


@pytest.mark.parametrize(
    ("page", "folder"), [("methods.md", "methods"), ("architectures.md", "architectures"), ("data.md", "datasets")]
)
def test_every_file_of_a_catalogue_has_its_row(page, folder):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for path in (ROOT / folder).glob("*.py"):
        assert path.name in text, path


def test_code_is_within_the_limits_of_the_style():
    """No function over 60 lines or with more than 7 parameters; no test file over 450 lines."""
    rooms = (
        "stages",
        "distillery",
        "pipeline",
        "datasets",
        "architectures",
        "methods",
        "app",
        "experiments",
        "benchmarks",
    )
    for path in (path for room in rooms for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                given = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
                assert len(given) <= 7, f"{path}: {node.name}"
    for path in (ROOT / "tests").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path
