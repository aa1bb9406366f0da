"""Repeat a preset with other teachers, and keep in `results/<preset>/teachers.json` how much of the gain is their luck.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.teachers mnist --folder CLONE --seeds 0,1,2,3,4

A teacher of another seed has other weights and another order of the images; students, their seeds and the test images
stay, and the students that learn from the labels alone are not trained again.
"""

from distillery.data.files import write_json
from experiments.run import RESULTS, experiment, numbers, preset_arguments


def main() -> None:
    """Run the preset with each teacher, one after the other."""
    parser = preset_arguments("teachers", __doc__)
    parser.add_argument("--seeds", type=numbers, required=True, metavar="N,N,…")
    arguments = parser.parse_args()
    if not all(isinstance(seed, int) for seed in arguments.seeds):
        parser.error("--seeds: accepted: whole numbers")
    teachers = []
    for seed in arguments.seeds:
        headline = experiment(arguments.folder, arguments.preset, "evaluate", [f"train_teacher.seed={seed}"])[
            "evaluate"
        ]
        names = ("teacher", "distilled", "gain", "gain_over_same_recipe")
        teachers.append({"seed": seed} | {name: headline[name] for name in names})
    write_json(RESULTS / arguments.preset / "teachers.json", teachers)


if __name__ == "__main__":
    main()
