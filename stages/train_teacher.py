"""train_teacher: the large model, trained on the labels, or taken from a file of the user's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from distillery.data.files import write_json
from distillery.data.prepared import DatasetInfo, Split, load_info, load_split
from distillery.data.tables import write_table
from distillery.learning.augmentation import policy_of
from distillery.learning.batches import Batches, Examples
from distillery.learning.checkpoint import Checkpoint
from distillery.learning.devices import check_devices, own_part
from distillery.learning.metrics import (
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    negative_log_likelihood,
)
from distillery.learning.models import ModelSpec, build_model, float32_copy, student_spec
from distillery.learning.precision import resolve_precision
from distillery.learning.prediction import predict_logits
from distillery.learning.training import TrainingResult, compile_model, fit, taken_result, training_sample
from distillery.teachers.calibration import calibrating_temperature
from distillery.teachers.check import doubts
from distillery.teachers.ensemble import mean_logits
from distillery.teachers.take import take_teacher
from distillery.teachers.taken import Taken
from distillery.teachers.teacher import TakenTeacher, load_teacher, save_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
METRICS, CURVES = Path("metrics/train_teacher.json"), Path("plots/train_teacher/curves.csv")
CALIBRATION_BINS = 15  # Guo et al. 2017
TAKEN_SAMPLE = 2000  # training images on which overfitting is measured: a teacher from elsewhere may be slow


@dataclass(frozen=True)
class Answers:
    """The teacher's logits, (n, classes), and the labels, on validation images and on some training images.

    Of an ensemble also those of each member, by name, on validation images.
    """

    labels: np.ndarray
    logits: np.ndarray
    learned_labels: np.ndarray
    learned: np.ndarray
    members: Mapping[str, np.ndarray] = field(default_factory=dict)


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write the teacher, its metrics and its curves."""
    settings = params.train_teacher
    info, train, validation = load_info(PREPARED), load_split(PREPARED, "train"), load_split(PREPARED, "validation")
    if settings.model.endswith(".py"):
        info.check_augmentation("train_teacher", settings)
    check_students(params, info)
    run.dataset(info, context="training")

    def on_epoch_end(epoch) -> None:
        confusion = confusion_matrix(validation.labels, epoch.predictions, len(info.classes))
        run.epoch(epoch.number, epoch.ended, epoch.metrics, confusion, info.classes)

    if settings.model.endswith(".py"):
        checkpoint = resume_folder and Checkpoint(resume_folder, "teacher")
        precision = resolve_precision("train_teacher.precision", settings.precision)
        run.tags({"distillery.precision": precision})
        model, result = train_on_labels(settings, precision, info, train, validation, on_epoch_end, checkpoint)
        save_teacher(model, TEACHER, validation.images[:100], precision)
        predict, parameters = partial(predict_logits, model), model.count_params()
        logits, members = predict(validation.images), {}
    else:
        teacher = take(params, info, {"train": train, "validation": validation}, run)
        predict, parameters, result = teacher.predict, teacher.parameters, None
        logits, members = together_and_apart(teacher, validation.images)
    images = len(validation.labels) if settings.model.endswith(".py") else min(len(validation.labels), TAKEN_SAMPLE)
    sample = training_sample(Examples(train.images, train.labels), images)
    found = Answers(
        labels=np.asarray(validation.labels),
        logits=logits,
        learned_labels=np.asarray(train.labels[sample]),
        learned=predict(train.images[sample]),
        members=members,
    )
    result = result or taken_result(found.learned, found.learned_labels, found.logits, found.labels)
    report(settings, info, found, result, parameters, run)


def take(params, info: DatasetInfo, parts: dict[str, Split], run) -> TakenTeacher:
    """Write the teacher that the user named, say what was found out of it, and return it."""
    settings = params.train_teacher
    print(f"the teacher is {settings.model}; it is not trained", flush=True)
    parts |= {part: load_split(PREPARED, part) for part in info.sizes if part not in parts}  # of a table the rows
    taken = take_teacher(settings, info, parts, TEACHER, params.prepare.dataset)
    for found in (*taken.members.values(), taken):
        say(found)
    if taken.comparison:
        run.table("teacher_preprocessing.json", taken.comparison.table())
    elif taken.members:
        tables = {name: found.comparison.table() for name, found in taken.members.items()}
        run.table("teacher_preprocessing.json", tables)
    return load_teacher(TEACHER)


def say(taken: Taken) -> None:
    """Print what was found out of a teacher, or of a member of an ensemble."""
    if taken.comparison:
        print(taken.comparison.text(), flush=True)
    for note in taken.notes:
        print(note, flush=True)


def together_and_apart(teacher: TakenTeacher, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the teacher's logits, (n, classes), and those of each member of an ensemble by name."""
    if not teacher.members:
        return teacher.predict(images), {}
    members = teacher.ensemble.member_logits(images)
    return mean_logits(members), {name: members[:, number] for number, name in enumerate(teacher.members)}


def report(settings, info: DatasetInfo, found: Answers, result: TrainingResult, parameters: int | None, run) -> None:
    """Write and log the metrics, and say how good the teacher's probabilities are."""
    labels, logits = found.labels, found.logits
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    confusion = confusion_matrix(labels, logits.argmax(axis=1), len(info.classes))
    metrics = {
        "val_accuracy": accuracy,
        "val_balanced_accuracy": balanced_accuracy(confusion),
        "val_macro_f1": macro_f1(confusion),
        "val_loss": negative_log_likelihood(labels, logits),
        "overfitting_points": 100 * (float((found.learned.argmax(axis=1) == found.learned_labels).mean()) - accuracy),
        "best_epoch": result.best_epoch,
    }
    calibration = {
        "calibration_error": expected_calibration_error(labels, logits, CALIBRATION_BINS),
        "calibrating_temperature": calibrating_temperature(labels, logits),
    }
    print(
        f"on {len(labels):,} validation images {100 * accuracy:.2f} % correct, log loss {metrics['val_loss']:.4f},"
        f" calibration error {100 * calibration['calibration_error']:.1f} points; divided by"
        f" {calibration['calibrating_temperature']:.2g} its logits are calibrated",
        flush=True,
    )
    if not settings.model.endswith(".py"):
        metrics |= calibration
        warn(settings.model, found, info)
    members = score_members(found, metrics) if found.members else {}
    if members:
        run.table("teacher_members.json", members)  # by names that are none of metrics in MLflow
    write_json(METRICS, metrics | ({"members": members} if members else {}))
    write_table(CURVES, result.curves)
    known = {} if parameters is None else {"parameters": parameters}  # a table of outputs has none
    run.metrics({"best": metrics} | known, time=result.epochs[-1].ended)
    teacher = load_teacher(TEACHER)
    run.training_result("teacher", confusion, info, CURVES, teacher.logged, teacher.digest)


def warn(model: str, found: Answers, info: DatasetInfo) -> None:
    """Say what speaks against a teacher that was taken, and against each member of an ensemble."""
    taken = {model: found.logits} | {f"{model}/{name}": logits for name, logits in found.members.items()}
    for name, logits in taken.items():
        for doubt in doubts(found.labels, logits, info.classes):
            print(f"warning: {name}: {doubt}", flush=True)


def score_members(found: Answers, together: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return how good each member of an ensemble is on validation images; print it beside the ensemble.

    Args:
        found: the members' logits.
        together: the ensemble's `val_accuracy` and `val_loss`.
    """
    labels = found.labels
    scores = {
        name: {
            "val_accuracy": float((logits.argmax(axis=1) == labels).mean()),
            "val_loss": negative_log_likelihood(labels, logits),
        }
        for name, logits in found.members.items()
    }
    width = max(len(name) for name in [*scores, "together"])
    print(f"{'member':{width}}  correct  log loss", flush=True)
    for name, score in [*scores.items(), ("together", together)]:
        print(f"{name:{width}}  {100 * score['val_accuracy']:5.2f} %  {score['val_loss']:8.4f}", flush=True)
    accuracy = max(score["val_accuracy"] for score in scores.values())
    loss = min(score["val_loss"] for score in scores.values())
    points, nats = 100 * (together["val_accuracy"] - accuracy), together["val_loss"] - loss
    warning = "warning: no better than its best member: " if points <= 0 and nats >= 0 else ""
    print(
        f"{warning}the ensemble has {points:+.2f} points of accuracy and {nats:+.4f} of log loss, compared with the"
        " best of its members in each",
        flush=True,
    )
    return scores


def train_on_labels(
    settings, precision: str, info: DatasetInfo, train: Split, validation: Split, on_epoch_end, checkpoint
):
    """Return the trained teacher in float32, and how its training went."""
    spec = ModelSpec(
        settings.model,
        info.image_shape,
        len(info.classes),
        settings.dropout,
        softmax_temperature=settings.softmax_temperature,
        max_norm=settings.max_norm,
    )
    check_devices("train_teacher.devices", settings.devices)
    model = build_model(spec, settings.seed, precision, settings.devices)
    policy, classes = policy_of(settings), len(info.classes)
    examples = Examples(train.images, train.labels, augmentation=policy, classes=classes)
    batches = Batches(examples, settings.batch_size, settings.seed, settings.devices, part=own_part())
    compile_model(model, settings, len(batches), label_smoothing=0.0)
    result = fit(model, batches, validation, settings.epochs, on_epoch_end, checkpoint)
    return float32_copy(model, spec, settings.seed), result


def check_students(params, info: DatasetInfo) -> None:
    """Check what would stop the students before the teacher is trained, which may take hours."""
    student = params.student
    check_devices("student.devices", student.devices)
    info.check_augmentation("student", student)
    info.check_augmentation("train_scratch", params.train_scratch)
    info.check_top_classes(params.transfer.top_classes)
    info.labels_of(student.omit_classes)
    info.check_folds(params.distill.folds, student.omit_classes)
    build_model(student_spec(student, info, dropout=0.0), seed=0)
