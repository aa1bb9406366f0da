"""Repeat a preset with other teachers, and keep in `results/<preset>/teachers.json` how much of the gain is their luck.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.teachers mnist --folder CLONE --seeds 0,1,2,3,4

A teacher of another seed has other weights and another order of the images; students, their seeds and the test images
stay, and the students that learn from the labels alone are not trained again.
"""

from distillery.data.files import write_json
from experiments.run import RESULTS, experiment, preset_arguments


def main() -> None:
    """Run the preset with each teacher, one after the other."""
    parser = preset_arguments("teachers", __doc__)
    parser.add_argument("--seeds", required=True, metavar="N,N,…")
    arguments = parser.parse_args()
    teachers = []
    for seed in arguments.seeds.split(","):
        headline = experiment(arguments.folder, arguments.preset, "evaluate", [f"train_teacher.seed={int(seed)}"])[
            "evaluate"
        ]
        names = ("teacher", "distilled", "gain", "gain_over_same_recipe")
        teachers.append({"seed": int(seed)} | {name: headline[name] for name in names})
    write_json(RESULTS / arguments.preset / "teachers.json", teachers)


if __name__ == "__main__":
    main()
