"""Repeat a preset with other teachers, and keep in `results/<preset>/teachers.json` how much of the gain is their luck.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.teachers mnist --folder CLONE --seeds 0,1,2,3,4

A teacher of another seed has other weights and another order of the images; students, their seeds and the test images
stay, and the students that learn from the labels alone are not trained again.
"""

import argparse
import json
from pathlib import Path

from experiments.run import RESULTS, experiment


def main() -> None:
    """Run the preset with each teacher, one after the other."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m experiments.teachers", description=__doc__, formatter_class=plain)
    parser.add_argument("preset")
    parser.add_argument("--folder", type=Path, required=True, help="clone where the preset ran")
    parser.add_argument("--seeds", required=True, metavar="N,N,…")
    arguments = parser.parse_args()
    teachers = []
    for seed in arguments.seeds.split(","):
        headline = experiment(arguments.folder, arguments.preset, "evaluate", [f"train_teacher.seed={int(seed)}"])[
            "evaluate"
        ]
        names = ("teacher", "distilled", "gain", "gain_over_same_recipe")
        teachers.append({"seed": int(seed)} | {name: headline[name] for name in names})
    target = RESULTS / arguments.preset / "teachers.json"
    target.write_text(json.dumps(teachers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
