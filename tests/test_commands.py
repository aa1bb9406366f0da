"""Every command answers `--help` and a wrong word, and does nothing then."""

import json
import runpy
import sys

import pytest
from conftest import ROOT, STAGES

from pipeline import params, presets

COMMANDS = [
    *(["pipeline", *words] for words in ([], ["preset"], ["recover"], *([stage] for stage in STAGES))),
    ["pipeline.params"],
    ["experiments.run"],
    ["experiments.grid"],
    ["experiments.methods"],
    ["experiments.plain_recipe"],
    ["experiments.teachers"],
    ["experiments.page"],
    ["experiments.search"],
    ["benchmarks"],
]


@pytest.fixture
def said(monkeypatch, capsys):
    """Return a function that runs a command and returns its exit code and what it prints."""

    def run(module: str, *words: str) -> tuple[object, str, str]:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [module, *words])
        monkeypatch.delitem(sys.modules, module, raising=False)  # runpy warns of a module that is imported already
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_tells_the_use_and_runs_nothing(said, command):
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "params.yaml", ROOT / "RESULTS.md")}
    code, out, _ = said(*command, "--help")
    assert code == 0
    assert out.startswith(f"usage: python -m {' '.join(command)}")
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_wrong_word_ends_the_command(said, command):
    code, _, err = said(*command, "--no-such-option")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"python -m {command[0]}")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("teachers mnits --folder {here} --seeds 0,1", "argument preset: invalid choice: 'mnits'"),
        ("teachers mnist --folder {here}/no --seeds 0", "/no'; accepted: a clone, made by `python -m experiments.run`"),
        ("teachers mnist --folder {here} --seeds 0,1,x", "found '0,1,x'; accepted: different numbers with commas"),
        ("teachers mnist --folder {here} --seeds 0,1.5", "--seeds: accepted: whole numbers"),
        ("grid mnist --folder {here} --temperatures 1,1.0 --alphas 0.1", "found '1,1.0'; accepted: different numbers"),
        ("methods mnist --folder {here} --trials 0", "found '0'; accepted: 1 and more"),
        (
            "methods mnist --folder {here} --trials 4 --without kd,att",
            "found att, kd; accepted: at, crd, dist, dkd",
        ),
        ("plain_recipe mnist --folder {here} --trials 2 --seeds 0", "found '0'; accepted: 1 and more"),
        ("grid mnist --folder {here} --temperatures 1,x --alphas 0.1", "found '1,x'; accepted: different numbers"),
        ("grid mnist --folder {here} --temperatures 1 --alphas 0.1 --jobs x", "found 'x'; accepted: 1 and more"),
    ],
)
def test_mistake_in_the_words_of_an_experiment_is_found_before_any_work(said, command, message):
    module, *words = command.format(here=ROOT).split()
    code, out, err = said(f"experiments.{module}", *words)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "took"), [((100, 6680), "1 h 53 min"), ((20, 160), "3 min"), ((None, 160), "at least 3 min")]
)
def test_presets_are_listed_with_what_they_cost(said, tmp_path, monkeypatch, seconds, took):
    machine = {"cores": 2, "processor": "A Processor"}
    names = zip(("prepare", "distill"), seconds, strict=True)
    stages = {name: taken and {"seconds": taken, **machine} for name, taken in names}
    (tmp_path / "hinton").mkdir()
    (tmp_path / "hinton/run.json").write_text(json.dumps({"stages": stages}))
    monkeypatch.setattr(presets, "RESULTS", tmp_path)
    _, out, _ = said("pipeline", "preset", "--help")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"hinton {took}; 2 cores of A Processor" in lines
    assert "cifar10 not measured" in lines


def test_params_are_checked_by_a_command(said, tmp_path, monkeypatch):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("validation_fraction: 0.1", "validation_fraction: 0.9"))
    for name in ("architectures", "datasets", "methods"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["params"])
    with pytest.raises(SystemExit, match=r"params\.yaml: prepare\.validation_fraction: found 0\.9; "):
        params.main()
