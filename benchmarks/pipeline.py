"""The whole pipeline: the default from nothing, the next experiment, and the fixed cost on digits with an epoch each.

The fixed cost is measured at an earlier commit, too: a clone that has the history is needed.

python -m benchmarks pipeline
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import tell
from experiments.run import clone, environment, stage_times

NEXT = ["-S", "distill.temperature=5"]
DIGITS = ["-S", "prepare.dataset=digits", "-S", "train_teacher.jitter=0"]
DIGITS += ["-S", "train_teacher.epochs=1", "-S", "student.epochs=1"]
BEFORE = "0fdc868"  # the last commit before costs were looked into
ROUNDS = 3
IMPORTS = {  # what a stage imports, and cannot do without
    "Keras with TensorFlow": "import distillery.learning",
    "MLflow's client": "import mlflow; mlflow.MlflowClient('sqlite://')",
    "matplotlib and the figures": "import distillery.figures",
    "scikit-learn": "import sklearn.model_selection",
    "a stage's own checks (params, journal)": "import pipeline.command",
    "Python itself": "pass",
}


def main() -> dict:
    """Seconds of each stage, from what DVC prints, in a clone with an empty cache."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, before = Path(temporary) / "clone", Path(temporary) / "before"
        for one in (folder, before):
            clone(one)
            (one / ".dvc/config.local").unlink()  # nor does it share this repository's cache
        subprocess.run(["git", "checkout", "--quiet", BEFORE], cwd=before, check=True)
        cold = timed_run(folder, "dvc", "repro")
        after = timed_run(folder, "dvc", "exp", "run", *NEXT)
        nothing = timed_run(folder, "dvc", "repro")
        digits_before, digits = (timed_run(one, "dvc", "exp", "run", *DIGITS) for one in (before, folder))
        imports = {name: _shortest(folder, code) for name, code in IMPORTS.items()}
    return {
        "cold": cold,
        "next": after,
        "nothing": nothing,
        "before": BEFORE,
        "digits_before": digits_before,
        "digits": digits,
        "imports": imports,
    }


def timed_run(folder: Path, *command: str) -> dict:
    """The seconds of a command, and those of each stage that it ran."""
    tell(" ".join(command))
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        seconds, _ = stage_times(process.stdout)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    whole = time.perf_counter() - began
    tell(f"{whole:.1f} s: " + ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items()))
    return {"seconds": whole, "stages": seconds}


def _shortest(folder: Path, code: str) -> float:
    """Seconds of a Python that does nothing else."""

    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=True, capture_output=True)
        return time.perf_counter() - began

    return min(seconds() for _ in range(ROUNDS))
