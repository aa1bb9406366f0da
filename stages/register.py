"""register: the student's card, and the student with it into MLflow's model registry."""

import json
from pathlib import Path

from distillery.data.errors import InputError
from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

STUDENT = Path("models/exported/student.keras")
CARD = Path("MODEL_CARD.md")
RECEIPT = Path("models/registered.json")  # not in Git: a fresh clone has no registry yet, and registers


def register(params: Params, run: Journal) -> None:
    """Write the card and hand the student over to the registry."""
    import numpy as np

    from distillery.data.files import file_digest, write_json, written_whole
    from distillery.data.prepared import load_description
    from distillery.data.tables import read_text_columns
    from distillery.model_card import Facts, model_card

    about = load_description()
    metrics = {name: _read(f"metrics/{name}.json") for name in ("evaluate", "quality", "export")}
    choice = _read("models/distilled/students.json")
    answers = read_text_columns("plots/evaluate/predictions.csv")
    numbers = {name: number for number, name in enumerate(about["classes"])}
    labels, predicted = (np.array([numbers[name] for name in answers[column]]) for column in ("actual", "distilled"))

    name, digest = f"{about['name']}-student", file_digest(STUDENT)
    sections = model_card(
        Facts(
            name=name,
            about=about,
            parameters=params.flat(),
            labels=labels,
            predicted=predicted,
            omitted_classes=choice["omitted_classes"],
            digests={"student": digest, "teacher": choice["teacher_sha256"]},
            headline=metrics["evaluate"],
            quality=metrics["quality"],
            exported=metrics["export"],
        )
    )
    with written_whole(CARD) as temporary:
        temporary.write_text("\n".join(sections), encoding="utf-8")
    run.dataset(about, context="evaluation")
    run.artifact(CARD)
    run.registration(
        STUDENT,
        name,
        digest,
        card=sections,
        right=labels == predicted,
        test_digest=about["digests"]["test"],
        image_shape=about["image_shape"],
        classes=len(numbers),
    )
    write_json(RECEIPT, {"name": name, "student_sha256": digest})
    print(f"{CARD} written; the student is handed over to MLflow's registry as {name}", flush=True)


def _read(path: str) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run `dvc repro` first") from None


if __name__ == "__main__":
    run_stage(
        "register",
        register,
        sections=["prepare", "student", "train_teacher", "distill", "train_scratch", "evaluate", "export"],
    )
