"""The results of the last run, read from files: the models, and the evaluation. Nothing here needs Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML, YAMLError

from distillery.data.errors import InputError
from distillery.data.files import read_json
from distillery.data.tables import read_table
from distillery.evaluation.results import Evaluation
from distillery.evaluation.roles import ROLES

PREPARED = Path("data/prepared")
CURVES = {
    "teacher": Path("plots/train_teacher/curves.csv"),
    "distilled": Path("plots/distill/curves.csv"),
    "scratch": Path("plots/train_scratch/curves.csv"),
}
HEADLINE, PER_CLASS, TIMING = (Path(f"metrics/{name}.json") for name in ("evaluate", "per_class", "timing"))
PREDICTIONS = Path("plots/evaluate/predictions.csv")
EVALUATED = (HEADLINE, PER_CLASS, TIMING, PREDICTIONS, *CURVES.values())
TRAINED_TEACHER, TAKEN_TEACHER = Path("models/teacher/teacher.keras"), Path("models/teacher/teacher.json")
REPRO = "run `dvc repro`"


@dataclass(frozen=True)
class ModelFile:
    """A trained model's file.

    Attributes:
        path: the file.
        seed: of the student that was best on validation; None for the teacher.
        omitted_classes: names of the classes that a student never saw.
        seeds: of how many students it was the best on validation; 1 for the teacher.
        prepared_size: height and width of the images that a student of another size learned from; None for its own.
    """

    path: Path
    seed: int | None
    omitted_classes: tuple[str, ...]
    seeds: int = 1
    prepared_size: tuple[int, int] | None = None


def find_models() -> tuple[dict[str, ModelFile], list[str]]:
    """Return the models of the last run, and what is missing.

    Returns:
        By role, in the order of `ROLES`, the models whose files are there; and one line for each missing model.
    """
    found, missing = {}, []
    for role in ROLES:
        try:
            file = _teacher() if role == "teacher" else _chosen_student(role)
            if not file.path.is_file():
                raise InputError(f"{file.path}: no such file; {REPRO}")
            found[role] = file
        except InputError as error:
            missing.append(str(error))
    return found, missing


def _teacher() -> ModelFile:
    """Return the teacher's file; of one from elsewhere that is what describes it.

    Raises:
        InputError: when it is a table of outputs, which predicts nothing new.
    """
    taken = TAKEN_TEACHER.is_file() and "kind" in (described := read_json(TAKEN_TEACHER))
    if taken and described["kind"] == "table":
        raise InputError(f"the teacher is a table of outputs, {described['source']}, which predicts no other images")
    return ModelFile(TAKEN_TEACHER if taken else TRAINED_TEACHER, None, ())


def _chosen_student(role: str) -> ModelFile:
    path = Path("models") / role / "students.json"
    choice = read_json(path)
    try:
        seed = int(choice["chosen_seed"])
        size = choice.get("prepared_size")
        omitted = tuple(choice["omitted_classes"])
        file = path.parent / f"seed_{seed}.keras"
        return ModelFile(file, seed, omitted, len(choice["by_seed"]), size and tuple(size))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not as the pipeline writes it ({error!r}); {REPRO}") from None


@dataclass(frozen=True)
class TimedEvaluation(Evaluation):
    """An evaluation with what `timing` measured.

    Attributes:
        timing: the content of `metrics/timing.json`, of teacher and distilled student; the scratch student has the
            same architecture. Empty where other models were timed.
    """

    timing: Mapping = field(default_factory=dict)


def read_evaluation(classes: list[str] | None) -> TimedEvaluation:
    """Return the last evaluation.

    Args:
        classes: the names in their order; None without a data set, and the order is that of `per_class.json`.

    Raises:
        InputError: when a file is missing, damaged or of another run than the others.
    """
    headline, timing, per_class = read_json(HEADLINE), _timing(), read_json(PER_CLASS)
    table = read_table(PREDICTIONS, text=True)
    curves = {role: read_table(path) for role, path in CURVES.items()}
    try:
        if classes is None:
            classes = list(dict.fromkeys([*per_class["teacher"], *sorted(set(table.to_numpy().ravel()))]))
        numbers = {name: number for number, name in enumerate(classes)}
        labels, *predicted = (np.array([numbers[name] for name in table[column]]) for column in ("actual", *ROLES))
        return TimedEvaluation(
            classes=classes,
            labels=labels,
            predicted=dict(zip(ROLES, predicted, strict=True)),
            class_accuracy={role: np.array([per_class[role].get(name, np.nan) for name in classes]) for role in ROLES},
            curves=curves,
            headline=headline,
            timing=timing,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"metrics/ and plots/ are not all of one run of `evaluate` on this data set ({error!r}); {REPRO}"
        ) from None


def _timing() -> Mapping:
    """Return what `timing` measured; nothing where that were other models than those of `evaluate`, by `dvc.lock`."""
    try:
        evaluated, timed = (
            {dep["path"]: dep["md5"] for dep in _lock()[stage]["deps"]} for stage in ("evaluate", "timing")
        )
        if any(evaluated[models] != timed[models] for models in ("models/teacher", "models/distilled")):
            return {}
    except NO_LOCK:
        pass
    return read_json(TIMING)


def stages_since_evaluation() -> list[str]:
    """Return the stages that ran again after the last `evaluate`, by `dvc.lock`: its numbers are not of their models.

    Returns:
        Their names; none, too, without a `dvc.lock`.
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


def distillation_temperature() -> float | None:
    """Return the temperature with which the student was distilled, by `dvc.lock`; None where it does not say."""
    try:
        return float(_lock()["distill"]["params"]["params.yaml"]["distill.temperature"])
    except NO_LOCK:
        return None


NO_LOCK = (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError)  # what a missing or damaged dvc.lock leads to


def _lock() -> dict:
    return YAML(typ="safe", pure=True).load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
