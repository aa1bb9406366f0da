"""train_teacher: the large model, trained on labels, and its logits over the training images."""

from pathlib import Path

from stages.command import run_stage
from stages.params import Params
from stages.tracking.journal import Journal

MODEL = Path("models/teacher.keras")


def train_teacher(params: Params, run: Journal) -> None:
    """Write the teacher and its logits."""
    from stages.data.prepared import load_description, load_split
    from stages.files import file_digest
    from stages.learning.batches import Batches
    from stages.learning.models import build_model, save_model, served_copy
    from stages.learning.training import compile_model, fit, predict_logits
    from stages.learning.transfer import save_transfer
    from stages.tracking.teacher import TeacherRecord

    about, train, validation = load_description(), load_split("train"), load_split("validation")
    run.dataset(about, context="training")
    settings = params.train_teacher
    build = {
        "architecture": settings.architecture,
        "image_shape": train.images.shape[1:],
        "classes": len(about["classes"]),
        "dropout": settings.dropout,
        "seed": settings.seed,
    }

    model = build_model(**build, precision=settings.precision)
    batches = Batches(train.images, train.labels, settings.batch_size, settings.seed, jitter_pixels=settings.jitter)
    compile_model(model, settings, batches.num_batches, label_smoothing=0.0)
    record = TeacherRecord(run, validation.labels, about)
    fitted = fit(model, batches, validation.images, validation.labels, settings.epochs, record.on_epoch)
    teacher = served_copy(model, **build)
    save_model(teacher, MODEL)

    print("the teacher's logits over the training images", flush=True)
    save_transfer(predict_logits(teacher, train.images), file_digest(MODEL), train.digest)
    record.finish(fitted, predict_logits(teacher, validation.images), teacher.count_params(), MODEL)


if __name__ == "__main__":
    run_stage("train_teacher", train_teacher, sections=["prepare", "train_teacher"])
