"""Choose the recipe of plain training for a preset, on validation images, with as many trials as distillation had.

    python -m experiments.run mnist --folder CLONE
    python -m experiments.plain_recipe mnist --folder CLONE --trials 20

It trains in the clone, writes the trials to `results/<preset>/plain_recipe.json`, and prints what to put into the
preset's section `train_scratch`. The first trial is the students' own recipe. The test set is not touched.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from distillery.data.files import write_json
from distillery.data.prepared import load_info
from distillery.learning.augmentation import Policy
from distillery.students.plain_recipe import plain_recipe
from distillery.students.training_set import load_training_set
from experiments.run import RESULTS, count, preset_arguments, write_preset
from pipeline.params import Params, load_params

PREPARED = Path("data/prepared")
FACTORS = (0.33, 0.5, 1.0, 1.0, 2.0)  # of the students' learning rate
SMOOTHINGS = (0.0, 0.05, 0.1, 0.2)
DECAYS = (0.0, 1e-4, 1e-3, 1e-2, 5e-2, 0.1)
DROPOUTS = (0.0, 0.0, 0.2, 0.4)
SHIFTS = (0, 1, 2, 4)  # pixels; those of the students and smaller ones than a twelfth of the image
SEED = 0  # of the draws


def main() -> None:
    """Train the trials of a preset and keep them."""
    parser = preset_arguments("plain_recipe", __doc__)
    parser.add_argument("--trials", type=count, required=True, help="as many as distillation had")
    parser.add_argument("--seeds", type=count, default=2, help="students of each trial")
    arguments = parser.parse_args()
    write_preset(arguments.folder, arguments.preset)
    os.chdir(arguments.folder)
    params = load_params()
    trials = []
    for number, recipe in enumerate(recipes(params, arguments.trials), start=1):
        trials.append(recipe | scores(params, recipe, params.student.seeds[: arguments.seeds]))
        print(f"trial {number} of {arguments.trials}: {trials[-1]}", flush=True)
    metric = "val_accuracy" if params.student.class_weights == "none" else "val_balanced_accuracy"
    best = max(trials, key=lambda trial: (trial[metric], -trial["val_loss"]))
    kept = {"seeds": params.student.seeds[: arguments.seeds], "trials": trials, "best": trials.index(best) + 1}
    write_json(RESULTS / arguments.preset / "plain_recipe.json", kept)
    print("train_scratch:")
    for name, value in best.items():
        if not name.startswith("val_"):
            print(f"  {name}: {json.dumps(None if getattr(params.student, name, None) == value else value)}")


def recipes(params: Params, count: int) -> Iterator[dict[str, Any]]:
    """Yield sections `train_scratch`: first the students' own recipe, then others, drawn at random."""
    info, student = load_info(PREPARED), params.student
    random = np.random.default_rng(SEED)
    reach = max(student.max_shift, min(info.image_shape[:2]) // 12)
    own = {
        "label_smoothing": 0.0,
        "learning_rate": student.learning_rate,
        "weight_decay": student.weight_decay,
        "dropout": student.dropout,
        "max_shift": student.max_shift,
        "horizontal_flip": student.horizontal_flip,
    }
    yield own
    for _ in range(count - 1):
        yield own | {
            "label_smoothing": float(random.choice(SMOOTHINGS)),
            "learning_rate": float(f"{student.learning_rate * random.choice(FACTORS):.2g}"),
            "weight_decay": float(random.choice(DECAYS)),
            "dropout": float(random.choice(DROPOUTS)),
            "max_shift": int(random.choice([shift for shift in SHIFTS if shift <= reach])),
        }


def scores(params: Params, recipe: Mapping[str, Any], seeds: list[int]) -> dict[str, float]:
    """Return accuracy, balanced accuracy and loss on validation images of students with a recipe, means over seeds.

    Args:
        params: of the preset.
        recipe: what to set otherwise in its section `train_scratch`.
        seeds: one student each.
    """
    # These import Keras, for which nobody waits who asks for help.
    from distillery.learning.models import student_spec
    from distillery.students.results import students_result
    from distillery.students.train import SeedTrainer, train_students

    student, info = params.student, load_info(PREPARED)
    plain = plain_recipe(student, params.train_scratch.model_copy(update=recipe))
    spec = student_spec(student, info, plain.dropout)
    data = load_training_set(PREPARED, Policy(), 1, student.omit_classes, spec.size)
    fresh = replace(data, examples=replace(data.examples, views=None, augmentation=plain.augmentation))
    weights = data.class_weights(student.class_weights)
    images = len(fresh.examples.indices)
    trainer = SeedTrainer(spec, plain.training, seeds[0], images, None, plain.label_smoothing, weights)
    with TemporaryDirectory() as folder:
        students = train_students(trainer, seeds, fresh, Path(folder), lambda *_: None)
    metrics = students_result(students, data.validation.labels, len(info.classes), trainer.chosen_by).metrics
    return {name: metrics[name] for name in ("val_accuracy", "val_balanced_accuracy", "val_loss")}


if __name__ == "__main__":
    main()
