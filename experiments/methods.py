"""Compare the methods of distillation on validation images, and keep the table in `results/methods_<preset>.json`.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.methods mnist --folder CLONE --alphas 0.1,0.5

Each is trained with the preset's seeds at each weight of the labels. With alpha 0.5 labels and soft loss weigh the
same, as in the papers of `dkd` and `dist`. The test set is not touched.
"""

import argparse
import json
from pathlib import Path

from experiments.run import RESULTS, experiment
from pipeline import catalogue


def main() -> None:
    """Train students by each method in a clone where the preset ran, and keep their metrics."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m experiments.methods", description=__doc__, formatter_class=plain)
    parser.add_argument("preset")
    parser.add_argument("--folder", type=Path, required=True, help="clone where the preset ran")
    parser.add_argument("--alphas", required=True, metavar="A,A,…")
    arguments = parser.parse_args()
    rows = []
    for method in (Path(path).stem for path in catalogue.files("methods")):
        for alpha in map(float, arguments.alphas.split(",")):
            overrides = [f"distill.method={method}", f"distill.alpha={alpha}"]
            metrics = experiment(arguments.folder, arguments.preset, "distill", overrides)["distill"]
            rows.append({"method": method, "alpha": alpha} | metrics)
    path = RESULTS / f"methods_{arguments.preset}.json"
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
