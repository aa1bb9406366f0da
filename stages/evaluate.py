"""evaluate: teacher and students on the test set: metrics, figures, and whether distilling is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from distillery import figures
from distillery.data.errors import InputError
from distillery.data.files import atomic_write, file_digest, write_json
from distillery.data.prepared import load_info, load_split
from distillery.data.tables import read_table, write_table
from distillery.evaluation.instructive import instructive_images
from distillery.evaluation.results import Evaluation, compare_roles
from distillery.evaluation.roles import ROLES, RoleOutputs
from distillery.evaluation.unseen import Unseen, corrected_predictions
from distillery.learning.metrics import by_class_name
from distillery.learning.onnx_model import OnnxModel
from distillery.students.choice import Students, load_students, onnx_models, predict_students
from distillery.teachers.teacher import Teacher, load_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
STUDENTS = {role: Path("models") / role for role in ("distilled", "scratch", "same_recipe")}
CURVES = {
    "teacher": Path("plots/train_teacher/curves.csv"),
    "distilled": Path("plots/distill/curves.csv"),
    "scratch": Path("plots/train_scratch/curves.csv"),
}
METRICS, TABLES, FIGURES = Path("metrics"), Path("plots/evaluate"), Path("plots/figures")
# `dvc plots diff` draws these. They are outputs of their own: DVC cannot save an experiment where it looks for a plot
# in a folder whose content is not there, as in a fresh clone, which has dvc.lock alone.
COMPARED = ("comparison", "per_class_gain")
ANSWERS = Path("models/answers.npz")
SUMMARY = ("accuracy", "balanced_accuracy", "macro_f1", "errors")
OVER = {
    "gain": "plain training with its own recipe",
    "gain_over_same_recipe": "the same recipe without a teacher",
}


@dataclass(frozen=True)
class Models:
    """The teacher, and the students by role, each by seed."""

    teacher: Teacher
    students: Mapping[str, Students]
    onnx: Mapping[str, Mapping[int, OnnxModel]]

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the teacher's file and of the chosen students' files, by role."""
        chosen = {role: file_digest(students.chosen) for role, students in self.students.items()}
        return {"teacher": self.teacher.digest} | chosen


def main(params, run) -> None:
    """Write metrics, tables and figures."""
    settings = params.evaluate
    info, test = load_info(PREPARED), load_split(PREPARED, "test")
    labels = np.asarray(test.labels)
    run.dataset(info, context="evaluation")
    models = load_models()

    count = 1 + sum(len(students) for students in models.onnx.values())
    print(f"logits of {count} models over {len(labels):,} test images", flush=True)
    roles = predict(models, test.images)
    unseen = unseen_classes(models, info.classes)
    evaluation = compare_roles(info.classes, labels, roles, settings.calibration_bins, unseen)
    write_and_log(evaluation, run)
    write_answers(labels, roles, unseen)

    print("figures", flush=True)
    cost = costs(roles, evaluation.headline)
    sheet = instructive_images(test.images, labels, roles, settings.sheet_images)
    for name, figure in figures.evaluation_figures(evaluation, cost, sheet):
        path = (TABLES if name in COMPARED else FIGURES) / f"{name}.png"
        figures.save_figure(figure, path)
        run.artifact(path, "figures")
    digests = models.digests()
    run.made_by({role: digests[role] for role in ROLES})
    print_summary(evaluation.headline, len(roles["distilled"].logits))
    if unlabelled := info.sizes.get("unlabelled"):
        print(f"  learned: {unlabelled:,} images without a label taught the distilled students alone", flush=True)
    warn_of_constant_predictors(evaluation.quality, roles, run)


def load_models() -> Models:
    """Return the models that the training stages made."""
    teacher, students = load_teacher(TEACHER), {role: load_students(folder) for role, folder in STUDENTS.items()}
    if any(of_role.start != students["distilled"].start for of_role in students.values()):
        raise InputError(
            f"{STUDENTS['scratch']} started otherwise than {STUDENTS['distilled']}; run `dvc repro --force"
            " --single-item distill train_scratch`"
        )
    if students["distilled"].teacher_digest != teacher.digest:
        raise InputError(f"{STUDENTS['distilled']} learned from another teacher than {TEACHER}; run `dvc repro`")
    return Models(teacher, students, {role: onnx_models(of_role) for role, of_role in students.items()})


def predict(models: Models, images: np.ndarray) -> dict[str, RoleOutputs]:
    """Return what the models of each role give on images, and what they cost."""
    curves = {role: read_table(path) for role, path in CURVES.items()}
    teacher = models.teacher
    logits = teacher.outputs(images)["logits"][np.newaxis]
    cost = teacher.parameters, teacher.bytes, teacher.multiply_adds
    roles = {"teacher": RoleOutputs(logits, 0, *cost, curves["teacher"])}
    for role, students in models.students.items():
        seed = students.chosen_seed
        chosen = models.onnx[role][seed]
        roles[role] = RoleOutputs(
            logits=predict_students(models.onnx[role], images),
            chosen=list(students.paths).index(seed),
            parameters=chosen.parameters,
            bytes=students.chosen.stat().st_size,
            multiply_adds=chosen.multiply_adds,
            curves=curves.get(role, {}),
        )
    return roles


def unseen_classes(models: Models, classes: Sequence[str]) -> Unseen | None:
    """Return the classes that the students never saw, with the validation logits; None where they saw all."""
    if not (omitted := models.students["distilled"].omitted_classes):
        return None
    validation = load_split(PREPARED, "validation")
    return Unseen(
        [classes.index(name) for name in omitted],
        np.asarray(validation.labels),
        {role: predict_students(of_role, validation.images) for role, of_role in models.onnx.items()},
    )


def write_and_log(evaluation: Evaluation, run) -> None:
    """Write the metrics and the tables, and log the metrics."""
    classes = evaluation.classes
    per_class = {role: by_class_name(values, classes) for role, values in evaluation.class_accuracy.items()}
    write_json(METRICS / "evaluate.json", evaluation.headline)
    write_json(METRICS / "quality.json", evaluation.quality)
    write_json(METRICS / "per_class.json", per_class)
    numbers = {name: number for number, name in enumerate(classes)}  # figures write `#7` where no font has the name
    images = by_class_name(np.bincount(evaluation.labels, minlength=len(classes)), classes)
    rows = [
        (numbers[name], name, role, value, *evaluation.class_intervals[role][:, numbers[name]], images[name])
        for role, values in per_class.items()
        for name, value in values.items()
    ]
    columns = ["number", "class", "model", "accuracy", "interval_low", "interval_high", "images"]
    write_table(TABLES / "per_class.csv", pd.DataFrame(rows, columns=columns))
    columns = {"actual": evaluation.labels, **evaluation.predicted}
    names = {column: np.asarray(classes, dtype=object)[values] for column, values in columns.items()}
    write_table(TABLES / "predictions.csv", pd.DataFrame(names))
    run.metrics({"distilled": evaluation.headline["distilled"]} | evaluation.headline)  # first in MLflow's Compare
    run.metrics(evaluation.quality)
    run.table("per_class_accuracy.json", per_class)


def write_answers(labels: np.ndarray, roles: Mapping[str, RoleOutputs], unseen: Unseen | None) -> None:
    """Write the labels (n,) and each role's predicted classes (models, n), from which all errors and gains follow.

    Of students that did not see all classes also what they predict with their bias corrected, `<role>_corrected`, and
    which classes these are, `omitted`.
    """
    answers = {"labels": labels} | {role: outputs.predicted for role, outputs in roles.items()}
    if unseen:
        answers |= {f"{role}_corrected": classes for role, classes in corrected_predictions(unseen, roles).items()}
        answers["omitted"] = np.array(unseen.classes)
    with atomic_write(ANSWERS) as temporary:
        np.savez_compressed(temporary, **{name: values.astype(np.uint16) for name, values in answers.items()})


def costs(roles: Mapping[str, RoleOutputs], headline: Mapping) -> dict[str, dict[str, float]]:
    """Return the numbers of the figure `comparison`, which weighs accuracy against size."""
    return {
        "accuracy": {role: headline[role]["accuracy"] for role in ROLES},
        "accuracy_std": {role: headline[role]["accuracy_std"] for role in ROLES if role != "teacher"},
        "parameters": {role: roles[role].parameters for role in ROLES if roles[role].parameters},
        "kilobytes": {role: roles[role].bytes / 1000 for role in ROLES if roles[role].bytes},
    }


def print_summary(headline: Mapping, seeds: int) -> None:
    """Print accuracy, gain and compression."""
    for role in ROLES:
        accuracy, balanced, f1, errors = (headline[role][name] for name in SUMMARY)
        print(
            f"{role:>10}: accuracy {100 * accuracy:.2f} %, balanced {100 * balanced:.2f} %, macro F1 {100 * f1:.2f} %,"
            f" {errors:.1f} errors"
        )
    for role, omitted in headline.get("omitted", {}).items():
        print(
            f"{role:>10}: accuracy {100 * omitted['accuracy']:.2f} % on the classes it never saw; with a bias tuned on "
            f"validation {100 * omitted['accuracy_corrected']:.2f} %, "
            f"then {omitted['errors_in_all_corrected']:.1f} errors in all"
        )
    for title, (name, over) in zip(("gain", ""), OVER.items(), strict=True):
        gain = headline[name]
        print(
            f"{title:>10}{':' if title else ' '} {gain['points']:+.2f} points over {over} "
            f"(95 % interval {gain['ci_low']:+.2f} to {gain['ci_high']:+.2f}, p = {gain['p']:.2g})"
        )
    print(f"            {varied(seeds)}", flush=True)
    words = {"parameters": "parameters", "bytes": "bytes", "multiply_adds": "multiply-adds"}
    compression = {name: headline["compression"].get(name) for name in words}
    if known := [f"{fewer(ratio)} {words[name]}" for name, ratio in compression.items() if ratio]:
        print(f"   student: {', '.join(known)}", flush=True)


def varied(seeds: int) -> str:
    """Return in words what the intervals of the gains are over, and what they hold for."""
    return "for these models: one seed" if seeds == 1 else f"over test images and {seeds} seeds, for this teacher"


def fewer(ratio: float) -> str:
    """Return a ratio in words, plain also where the student is larger than its teacher."""
    return f"{ratio:.1f}x fewer" if ratio >= 1 else f"{1 / ratio:.1f}x MORE"


def warn_of_constant_predictors(quality: Mapping, roles: Mapping[str, RoleOutputs], run) -> None:
    """Print and tag the roles with models that learned nothing."""
    for role, outputs in roles.items():
        if count := quality[role]["constant_predictors"]:
            where = CURVES.get(role, METRICS / "train_scratch.json")  # the control has no curves
            warning = (
                f"{count} of {len(outputs.logits)} models of role {role} predict the same class for every test image:"
                f" they learned nothing; look at learning_rate and epochs, and at {where}"
            )
            print(f"warning: {warning}", flush=True)
            run.tags({f"distillery.warning.{role}": warning})
