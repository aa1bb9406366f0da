"""Compare the methods of distillation on validation images, and keep the table in `results/methods_<preset>.json`.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.methods mnist --folder CLONE --alphas 0.1,0.5

Each is trained with the preset's seeds at each weight of the labels. With alpha 0.5 labels and soft loss weigh the
same, as in the papers of `dkd` and `dist`. The test set is not touched.
"""

from pathlib import Path

from distillery.data.files import write_json
from experiments.run import RESULTS, experiment, preset_arguments
from pipeline import catalogue

STORED = ("transfer.embedding=true", "transfer.attention=true")  # for all, so that `transfer` runs once


def main() -> None:
    """Train students by each method in a clone where the preset ran, and keep their metrics."""
    parser = preset_arguments("methods", __doc__)
    parser.add_argument("--alphas", required=True, metavar="A,A,…")
    arguments = parser.parse_args()
    rows = []
    for method in (Path(path).stem for path in catalogue.files("methods")):
        for alpha in map(float, arguments.alphas.split(",")):
            overrides = [*STORED, f"distill.method={method}", f"distill.alpha={alpha}"]
            metrics = experiment(arguments.folder, arguments.preset, "distill", overrides)["distill"]
            rows.append({"method": method, "alpha": alpha} | metrics)
    write_json(RESULTS / f"methods_{arguments.preset}.json", rows)


if __name__ == "__main__":
    main()
