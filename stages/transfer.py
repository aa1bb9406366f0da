"""transfer: the teacher's logits over the training images, and over each augmented view that students will be shown."""

from pathlib import Path

from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

TEACHER = Path("models/teacher.keras")


def transfer(params: Params, run: Journal) -> None:
    """Write the teacher's logits."""
    from collections.abc import Iterator

    import numpy as np

    from distillery.data.files import file_digest
    from distillery.data.prepared import load_description, load_split
    from distillery.distillation.transfer_set import save_transfer
    from distillery.learning.augmentation import stored_offsets
    from distillery.learning.models import load_model
    from distillery.learning.prediction import predict_logits

    about, train = load_description(), load_split("train")
    run.dataset(about, context="transfer")
    teacher = load_model(TEACHER)
    settings = params.student
    offsets = stored_offsets(len(train.labels), settings.views, settings.jitter, settings.flip)

    def logits_of_views() -> Iterator[np.ndarray]:
        for view, offset in enumerate(offsets, start=1):
            logits = predict_logits(teacher, train.images, offset)
            accuracy = float(np.mean(logits.argmax(axis=1) == train.labels))
            print(f"view {view} of {len(offsets)}: the teacher has {100 * accuracy:.2f} % right", flush=True)
            run.metrics({"accuracy": accuracy}, step=view)
            yield logits

    save_transfer(logits_of_views(), len(about["classes"]), file_digest(TEACHER), train.digest, offsets)


if __name__ == "__main__":
    run_stage("transfer", transfer, sections=["prepare", "train_teacher", "student"])
