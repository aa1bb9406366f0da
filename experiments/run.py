r"""Run presets as the README says, each in a clone, and keep metrics and answers in `results/<name>/`.

    python -m experiments.run hinton cifar10
    python -m experiments.run hinton_no_threes --as hinton_only_7_8 --set 'student.omit_classes=[0,1,2,3,4,5,6,9]' \
        --set 'student.seeds=[0,1,2,3,4]'

The clones share this repository's DVC cache, so that a stage that ran once for the same code, parameters and data is
restored and not run again. Commit first: a clone has what is committed.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from distillery.data.files import read_json, write_json
from distillery.timing import processor
from pipeline.machine import facts
from pipeline.presets import preset_names, preset_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
STARTED = re.compile(r"^Running stage '(\w+)'")
NOT_RUN = re.compile(r"^Stage '(\w+)' (?:is cached|didn't change)")


def environment() -> dict[str, str]:
    """Return this process's environment, with this Python's programs first: `dvc`, and the `python` that DVC runs."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_program(folder: Path, *command: str, stdout: int | None = None) -> str | None:
    """Run a program in a folder, and return what it prints where that is asked for.

    Raises:
        SystemExit: where it fails, which it has said.
    """
    answer = subprocess.run(command, cwd=folder, env=environment(), stdout=stdout, text=True, check=False)
    if answer.returncode:
        sys.exit(f"{shlex.join(command)} ended with {answer.returncode}")
    return answer.stdout


def clone(folder: Path) -> None:
    """Clone this repository's last commit; the clone shares its DVC cache."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    cache = subprocess.run(
        ["dvc", "cache", "dir"], cwd=ROOT, capture_output=True, text=True, check=True, env=environment()
    )
    place = str((ROOT / cache.stdout.strip()).resolve())
    subprocess.run(["dvc", "cache", "dir", "--local", place], cwd=folder, check=True, env=environment())
    for key, value in (("user.name", "experiments"), ("user.email", "experiments@localhost")):
        subprocess.run(["git", "config", key, value], cwd=folder, check=True)


def stage_times(lines: Iterable[str], clock=time.monotonic) -> tuple[dict[str, float], list[str]]:
    """Return the seconds of each stage that DVC ran, and the stages that it did not run, from what it prints.

    DVC itself keeps no times.

    Args:
        lines: DVC's output, as it comes.
        clock: gives seconds.
    """
    seconds, not_run, stage, began = {}, [], None, clock()
    for line in lines:
        started, skipped = STARTED.match(line), NOT_RUN.match(line)
        if started or skipped:
            if stage:
                seconds[stage] = clock() - began
            stage, began = started[1] if started else None, clock()
        if skipped:
            not_run.append(skipped[1])
    if stage:
        seconds[stage] = clock() - began
    return seconds, not_run


def preset_arguments(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a script that goes on in a clone where a preset ran.

    Args:
        name: of the script, `grid`.
        description: its docstring.
    """
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=description, formatter_class=plain
    )
    parser.add_argument("preset", choices=preset_names())
    parser.add_argument("--folder", type=_clone_there, required=True, help="clone where the preset ran")
    return parser


def _clone_there(text: str) -> Path:
    if not (Path(text) / "params.yaml").is_file():
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: a clone, made by `python -m experiments.run`")
    return Path(text)


def count(text: str) -> int:
    """Return a number of things, from the command line: 1 and more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: 1 and more")
    return int(text)


def numbers(text: str) -> list[float | int]:
    """Return the numbers of a word of the command line, `0,0.5,2`."""
    try:
        found = [int(one) if re.fullmatch(r"-?\d+", one) else float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: different numbers with commas between them")
    return found


def write_preset(folder: Path, preset: str) -> list[str]:
    """Write a preset's parameters in a clone, over what an experiment left there, and return the command.

    The images and the teacher from elsewhere that it takes are copied into the clone: Git does not keep them.
    """
    params = yaml.safe_load(preset_text(preset))
    for taken in (params["prepare"]["dataset"], params["train_teacher"]["model"]):
        if (ROOT / taken).is_dir() and not (folder / taken).exists():
            shutil.copytree(ROOT / taken, folder / taken)
    command = ["python", "-m", "pipeline", "preset", preset]
    run_program(folder, *command)
    return command


def repro(preset: str, overrides: list[str], folder: Path) -> tuple[str, dict[str, float], list[str]]:
    """Run a preset.

    Args:
        preset: its name.
        overrides: `section.key=value`, as `dvc exp run -S` takes them.
        folder: a clone.

    Returns:
        The command; the seconds of each stage that ran; the stages that did not run.
    """
    written = write_preset(folder, preset)
    command = ["dvc", "repro"]
    if overrides:
        command = ["dvc", "exp", "run", *(word for override in overrides for word in ("-S", override))]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        seconds, not_run = stage_times(_shown(process.stdout))
    if process.returncode:
        sys.exit(f"{preset}: {' '.join(command)} ended with {process.returncode}")
    return f"{shlex.join(written)} && {shlex.join(command)}", seconds, not_run


def experiment(folder: Path, preset: str, stage: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Run a preset with overrides as a DVC experiment in a clone, up to a stage.

    Args:
        folder: the clone.
        preset: its name; what an earlier experiment left in the clone's parameters is gone.
        stage: the last one to run.
        overrides: `section.key=value`.

    Returns:
        The content of `metrics/<name>.json`, by name.
    """
    write_preset(folder, preset)
    words = [word for override in overrides for word in ("-S", override)]
    run_program(folder, "dvc", "exp", "run", *words, stage)
    return {path.stem: read_json(path) for path in (folder / "metrics").glob("*.json")}


def _shown(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        print(line, end="", flush=True)
        yield line


def keep(name: str, folder: Path, command: str, seconds: dict[str, float], not_run: list[str]) -> None:
    """Copy metrics and answers of a clone to `results/<name>/` and write beside them how they were made.

    Each stage keeps where and when it really ran: a stage that DVC restored from its cache keeps what an earlier
    `run.json` here has of the run that made the same outputs.
    """
    target = RESULTS / name
    target.mkdir(parents=True, exist_ok=True)
    earlier = read_json(target / "run.json") if (target / "run.json").is_file() else {}
    for path in sorted((folder / "metrics").glob("*.json")):
        if path.name != "headline.json":  # what it has stands in evaluate.json
            shutil.copy(path, target / path.name)
    for path in (folder / "params.yaml", folder / "models/answers.npz"):
        shutil.copy(path, target / path.name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    made = {
        "commit": commit.stdout.strip(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "environment": facts()["environment"],
        "versions": {package: version(package) for package in ("keras", "tensorflow", "numpy")},
    }
    locks = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    outs = {stage: _digest(lock["outs"]) for stage, lock in locks.items()}
    before = {stage: ran for stage, ran in earlier.get("stages", {}).items() if ran and ran.get("outs") == outs[stage]}
    stages = {stage: before.get(stage) for stage in not_run}
    stages |= {stage: {"seconds": round(value, 1), "outs": outs[stage]} | made for stage, value in seconds.items()}
    write_json(target / "run.json", {"command": command, "stages": stages})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Run the presets that the command line names."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m experiments.run", description=__doc__, formatter_class=plain)
    parser.add_argument("presets", nargs="+", choices=preset_names())
    parser.add_argument("--as", dest="name", help="name of the folder in results/; only with a single preset")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--folder", type=Path, help="clone to run in; it is made where it is missing, and kept")
    arguments = parser.parse_args()
    if (arguments.name or arguments.folder) and len(arguments.presets) > 1:
        parser.error("--as and --folder take a single preset")
    if arguments.overrides and not arguments.name:
        parser.error("--set needs --as: what comes out is not the preset's result")
    with tempfile.TemporaryDirectory() as temporary:
        for preset in arguments.presets:
            folder = arguments.folder or Path(temporary) / preset
            if not folder.exists():
                clone(folder)
            keep(arguments.name or preset, folder, *repro(preset, arguments.overrides, folder))


if __name__ == "__main__":
    main()
