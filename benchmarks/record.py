"""What every measurement shares: how it reports its progress, and where its numbers are kept."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from distillery.timing import processor
from experiments.run import ROOT

NUMBERS = ROOT / "benchmarks" / "measured"
PACKAGES = ("keras", "tensorflow", "torch", "numpy", "dvc", "mlflow", "ray")


def report(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def part_arguments(name: str, count: int) -> list[str]:
    """Return the arguments of a process that measures a part of a measurement.

    Args:
        name: of the measurement, which is what people type.
        count: of the arguments.
    """
    parser = argparse.ArgumentParser(usage=f"python -m benchmarks {name}")
    parser.add_argument("parts", nargs=count, help=argparse.SUPPRESS)
    return parser.parse_args().parts


def part_of(name: str, *arguments: str) -> dict:
    """Return the numbers that a part of a measurement prints last, in a process of its own."""
    child = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    finished = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])  # after the lines of training's progress


def resident_bytes(name: str) -> float:
    """Return this process's resident memory: `RssAnon`, its own, or `RssFile`, mapped from files (proc(5))."""
    return 1024.0 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def shortest(seconds: list[float]) -> float:
    """Return the shortest but for the first, in which there is something to compile: what disturbs only ever adds."""
    return min(seconds[1:])


def keep(name: str, numbers: Mapping) -> None:
    """Write `benchmarks/measured/<name>.json`: the numbers, and the machine, commit and versions of the measurement."""
    NUMBERS.mkdir(exist_ok=True)
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }
    text = json.dumps({"machine": machine, **numbers}, indent=1)
    (NUMBERS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def kept(name: str) -> dict | None:
    """Return what `keep` wrote last; None where it never did."""
    path: Path = NUMBERS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _commit() -> str:
    words = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
