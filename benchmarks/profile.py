"""Where the seconds of each stage go that has next to nothing to compute: digits, an epoch everywhere.

python -m benchmarks profile
"""

import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pipeline import DIGITS, timed_run
from benchmarks.record import tell
from experiments.run import clone, environment

STAGES = ("prepare", "train_teacher", "transfer", "distill", "train_scratch", "evaluate", "export", "register")
PARTS = {  # none of these functions calls another of them
    "Keras and TensorFlow, imported": ["_import_keras_quietly"],
    "models built, loaded, saved": ["build_model", "load_model", "save_model"],
    "training and validation": ["fit"],
    "LiteRT and ONNX files made": ["write_litert", "write_litert_int8", "write_onnx"],
    "latency measured": ["latency_and_throughput"],
    "figures": ["_draw"],
    "waiting for MLflow": ["_wait_for_delivery"],
}


def main() -> dict:
    """Seconds of each part of each stage, as Python's own profiler counts them: what is Python gets slower by it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        timed_run(folder, "dvc", "exp", "run", *DIGITS)
        return {"stages": {stage: _parts(folder, stage) for stage in STAGES}}


def _parts(folder: Path, stage: str) -> dict[str, float]:
    tell(stage)
    found = folder / f"{stage}.profile"
    subprocess.run(
        [sys.executable, "-m", "cProfile", "-o", str(found), "-m", f"stages.{stage}"],
        cwd=folder,
        env=environment() | {"DVC_STAGE": stage},  # with this, one delivery serves them all, as under DVC
        check=True,
        capture_output=True,
    )
    measured = pstats.Stats(str(found))
    own = {}
    for (file, _, function), (_, _, _, seconds, _) in measured.stats.items():
        if file.startswith(str(folder.resolve() / "stages")):
            own[function] = own.get(function, 0.0) + seconds
    parts = {part: sum(own.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    return parts | {"the rest": measured.total_tt - sum(parts.values())}
