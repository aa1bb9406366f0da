"""register: the student's model card and headline, and the student with them into MLflow's model registry."""

import shutil
from pathlib import Path

import numpy as np

from distillery.data.files import atomic_write, file_digest, read_json, write_json
from distillery.data.prepared import load_info
from distillery.data.tables import read_table
from distillery.learning.resizing import resized_info
from distillery.model_card import CardData, model_card, student_name

PREPARED = Path("data/prepared")
STUDENT = Path("models/exported/student.keras")
PREPROCESSING = Path("models/exported/preprocessing.json")
CHOICE = Path("models/distilled/students.json")
METRICS = Path("metrics")
PREDICTIONS = Path("plots/evaluate/predictions.csv")
CARD = Path("MODEL_CARD.md")
# In Git, where anyone can read them who has no cache: what the card says, as numbers and as a picture.
COPIES = {
    METRICS / "evaluate.json": METRICS / "headline.json",
    Path("plots/evaluate/comparison.png"): Path("plots/headline.png"),
}
RECEIPT = Path("models/registered.json")  # not in Git: a fresh clone has no registry yet, and registers


def main(params, run) -> None:
    """Write the card and register the student."""
    info, choice, predictions = load_info(PREPARED), read_json(CHOICE), read_table(PREDICTIONS, text=True)
    seen = resized_info(info, tuple(read_json(PREPROCESSING)["size"]))
    number = {name: position for position, name in enumerate(info.classes)}
    labels, predicted = (predictions[column].map(number).to_numpy() for column in ("actual", "distilled"))

    name, digest = student_name(info.name), file_digest(STUDENT)
    sections = model_card(
        CardData(
            name=name,
            info=seen,
            parameters=params.flat(),
            labels=labels,
            predicted=predicted,
            omitted_classes=choice["omitted_classes"],
            digests={"student": digest, "teacher": choice["teacher_sha256"]},
            headline=read_json(METRICS / "evaluate.json"),
            quality=read_json(METRICS / "quality.json"),
            exported=read_json(METRICS / "export.json"),
        )
    )
    with atomic_write(CARD) as temporary:
        temporary.write_text("\n".join(sections), encoding="utf-8")
    for made, copy in COPIES.items():
        with atomic_write(copy) as temporary:
            shutil.copyfile(made, temporary)
    run.dataset(info, context="evaluation")
    run.artifact(CARD)
    run.register(STUDENT, name, digest, card=sections, correct=np.equal(labels, predicted), info=seen)
    write_json(RECEIPT, {"name": name, "student_sha256": digest})
    print(f"{CARD} written; the student is registered as {name}", flush=True)
