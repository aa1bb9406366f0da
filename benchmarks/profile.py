"""Where the seconds of a stage go that has next to nothing to compute: digits, one epoch everywhere.

python -m benchmarks profile
"""

import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pipeline import DIGITS, timed_run
from benchmarks.record import report
from experiments.run import clone, environment
from pipeline.stages import stage_names

PARTS = {  # where and which functions; none of them calls another of them, but for imports on demand
    "modules imported": ("/importlib/", ["import_module"]),
    "models built, loaded, saved": ("/distillery/learning/", ["build_model", "load_model", "save_model"]),
    "training and validation": ("/distillery/learning/", ["fit"]),
    "LiteRT and ONNX files made": ("/distillery/export/", ["write"]),
    "latency measured": ("/distillery/", ["latency_and_throughput"]),
    "figures": ("/distillery/", ["evaluation_figures", "save_figure"]),
}


def main() -> dict:
    """Return the seconds of each part of each stage by Python's own profiler, which slows what is Python down."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        clone(folder)
        timed_run(folder, "dvc", "exp", "run", *DIGITS)
        return {"stages": {stage: _parts(folder, stage) for stage in stage_names()}}


def _parts(folder: Path, stage: str) -> dict[str, float]:
    report(stage)
    profile = folder / f"{stage}.profile"
    profiled = [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "pipeline", stage]
    subprocess.run(profiled, cwd=folder, env=environment(), check=True, capture_output=True)
    return parts_of(profile)


def parts_of(profile: Path) -> dict[str, float]:
    """Return the seconds of each part in a file of Python's profiler, and of the rest."""
    measured = pstats.Stats(str(profile))
    parts = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), (_, _, _, seconds, _) in measured.stats.items():
        for part, (place, functions) in PARTS.items():
            if place in file and function in functions:
                parts[part] += seconds
    return parts | {"the rest": measured.total_tt - sum(parts.values())}
