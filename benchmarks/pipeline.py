"""The whole pipeline: the default from nothing, the next experiment, and the fixed cost on digits with an epoch each.

python -m benchmarks pipeline
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.record import report
from experiments.run import clone, environment, stage_times

NEXT = ["-S", "distill.temperature=5"]
DIGITS = ["-S", "prepare.dataset=datasets/digits.py", "-S", "train_teacher.max_shift=0"]
DIGITS += ["-S", "train_teacher.epochs=1", "-S", "student.epochs=1"]
EPOCH = re.compile(r"^([\d.]+) s: ")  # what a training prints after each epoch, with its validation and checkpoint
ROUNDS = 3
IMPORTS = {  # what a stage imports, and cannot do without
    "Keras with TensorFlow": "import keras",
    "MLflow's client": "import mlflow; mlflow.MlflowClient('sqlite://')",
    "matplotlib and the figures": "import distillery.figures",
    "scikit-learn": "import sklearn.model_selection",
    "the launcher and its checks": "import pipeline.__main__",
    "Python itself": "pass",
}


def main() -> dict:
    """Return the seconds of each stage, from what DVC prints, in a clone with an empty cache."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        (folder / ".dvc/config.local").unlink()  # it does not share this repository's cache
        return {
            "cold": timed_run(folder, "dvc", "repro"),
            "next": timed_run(folder, "dvc", "exp", "run", *NEXT),
            "nothing": timed_run(folder, "dvc", "repro"),
            "digits": timed_run(folder, "dvc", "exp", "run", *DIGITS),
            "imports": {name: _shortest(folder, code) for name, code in IMPORTS.items()},
        }


def timed_run(folder: Path, *command: str, **variables: str) -> dict:
    """Return the seconds of a command, under environment variables, of each stage that it ran, and of all epochs."""
    report(" ".join(command))
    epochs: list[float] = []
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment() | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        seconds, _ = stage_times(epochs_noted(process.stdout, epochs))
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    whole = time.perf_counter() - began
    report(f"{whole:.1f} s: " + ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items()))
    return {"seconds": whole, "stages": seconds, "training": sum(epochs)}


def epochs_noted(lines: Iterable[str], seconds: list[float]) -> Iterator[str]:
    """Yield a command's lines, and gather the seconds of each epoch that they tell of."""
    for line in lines:
        if found := EPOCH.match(line):
            seconds.append(float(found[1]))
        yield line


def _shortest(folder: Path, code: str) -> float:
    """Return the seconds of a Python process that does nothing else."""

    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=True, capture_output=True)
        return time.perf_counter() - began

    return min(seconds() for _ in range(ROUNDS))
