"""What the last run left in files: which models there are, and what `evaluate` found. Nothing of it needs Keras."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML, YAMLError

from distillery.data.errors import InputError
from distillery.data.tables import read_columns, read_text_columns

KINDS = ("teacher", "distilled", "scratch")
CURVES = {
    "teacher": Path("plots/train_teacher/curves.csv"),
    "distilled": Path("plots/distill/curves.csv"),
    "scratch": Path("plots/train_scratch/curves.csv"),
}
HEADLINE, PER_CLASS, TIMING = (Path(f"metrics/{name}.json") for name in ("evaluate", "per_class", "timing"))
PREDICTIONS = Path("plots/evaluate/predictions.csv")
EVALUATED = (HEADLINE, PER_CLASS, TIMING, PREDICTIONS, *CURVES.values())
REPRO = "run `dvc repro`"


@dataclass(frozen=True)
class ModelFile:
    """A trained model's file.

    Attributes:
        path: the file.
        seed: of the student that was best on validation; None for the teacher.
        omitted_classes: names of the classes that a student never saw.
    """

    path: Path
    seed: int | None
    omitted_classes: tuple[str, ...]


def find_models() -> tuple[dict[str, ModelFile], list[str]]:
    """The models that the last run left, and what is missing.

    Returns:
        By kind, in the order of `KINDS`, those whose files are there; and a line for each that is not.
    """
    found, missing = {}, []
    for kind in KINDS:
        try:
            file = ModelFile(Path("models/teacher.keras"), None, ()) if kind == "teacher" else _chosen_student(kind)
            if not file.path.is_file():
                raise InputError(f"{file.path}: no such file; {REPRO}")
            found[kind] = file
        except InputError as error:
            missing.append(str(error))
    return found, missing


def _chosen_student(kind: str) -> ModelFile:
    path = Path("models") / kind / "students.json"
    choice = _json(path)
    try:
        seed = int(choice["chosen_seed"])
        return ModelFile(path.parent / f"seed_{seed}.keras", seed, tuple(choice["omitted_classes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not as the pipeline writes it ({error!r}); {REPRO}") from None


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found on the test set.

    Attributes:
        headline: `metrics/evaluate.json`.
        timing: `metrics/timing.json`; of teacher and distilled student, whose architecture the other student shares.
        classes: names.
        labels: int, (n,).
        predicted: by kind, int, (n,), of the teacher and of the students that were best on validation.
        class_accuracy: by kind, float, (classes,), means over the seeds; NaN for a class without test images.
        curves: by kind, columns of one value an epoch, means over the seeds.
    """

    headline: Mapping
    timing: Mapping
    classes: list[str]
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    class_accuracy: Mapping[str, np.ndarray]
    curves: Mapping[str, Mapping]


def read_evaluation(classes: list[str] | None) -> Evaluation:
    """Read it.

    Args:
        classes: the names in their order; None where there is no data set, and the order that of `per_class.json`.

    Raises:
        InputError: when a file is missing, damaged or of another run than the others.
    """
    headline, timing, per_class = _json(HEADLINE), _json(TIMING), _json(PER_CLASS)
    columns = read_text_columns(PREDICTIONS)
    curves = {kind: read_columns(path) for kind, path in CURVES.items()}
    try:
        if classes is None:
            named = {name for values in columns.values() for name in values}
            classes = [*per_class["teacher"], *sorted(named - set(per_class["teacher"]))]
        number = {name: position for position, name in enumerate(classes)}
        labels, *predicted = (np.array([number[name] for name in columns[key]]) for key in ("actual", *KINDS))
        evaluation = Evaluation(
            headline,
            timing,
            classes,
            labels,
            dict(zip(KINDS, predicted, strict=True)),
            {kind: np.array([per_class[kind].get(name, np.nan) for name in classes]) for kind in KINDS},
            curves,
        )
        _check_form(evaluation)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"metrics/ and plots/ are not all of one run of `evaluate` on this data set ({error!r}); {REPRO}"
        ) from None
    return evaluation


def _check_form(evaluation: Evaluation) -> None:
    """Touch all that pages show, so that a file of another form is told here, once."""
    for kind in KINDS:
        float(evaluation.headline[kind]["accuracy"])
        for column in ("accuracy", "val_accuracy", "loss", "val_loss"):
            float(evaluation.curves[kind][column][0])
    for name in ("points", "ci_low", "ci_high", "mcnemar_p"):
        float(evaluation.headline["gain"][name])
    for kind in ("teacher", "distilled"):
        for quantity in ("latency_ms", "images_per_second"):
            float(evaluation.timing[kind][quantity]["median"])
    for name in ("latency", "throughput"):
        float(evaluation.timing["speedup"][name])
    float(evaluation.headline["compression"]["parameters"])


def stages_since_evaluation() -> list[str]:
    """The stages that ran again after the last `evaluate`, as `dvc.lock` tells: its numbers are not of their models.

    Returns:
        Their names; none, too, where there is no `dvc.lock` to tell.
    """
    try:
        stages = _lock()
        evaluated = {dep["path"]: dep["md5"] for dep in stages["evaluate"]["deps"]}
        return [
            name
            for name in ("prepare", "train_teacher", "distill", "train_scratch")
            if any(evaluated.get(out["path"], out["md5"]) != out["md5"] for out in stages[name]["outs"])
        ]
    except NO_LOCK:
        return []


def temperature_of_run() -> float | None:
    """The temperature with which the student was distilled, as `dvc.lock` tells; None where it does not."""
    try:
        return float(_lock()["distill"]["params"]["params.yaml"]["distill"]["temperature"])
    except NO_LOCK:
        return None


NO_LOCK = (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError)  # what a missing or damaged dvc.lock leads to


def _lock() -> dict:
    return YAML(typ="safe", pure=True).load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {REPRO}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {REPRO}") from None
