"""export: the chosen distilled student in the formats in which it is shipped, each checked in its own runtime."""

import shutil
from pathlib import Path

from distillery.data.errors import InputError
from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

DISTILLED = Path("models/distilled")
EXPORTED = Path("models/exported")
FILES = {
    "keras": "student.keras",
    "litert": "student.tflite",
    "litert_int8": "student_int8.tflite",
    "onnx": "student.onnx",
}


def export(params: Params, run: Journal) -> None:
    """Write the student in each format, and how each does on the test set."""
    import numpy as np

    import distillery.learning  # noqa: F401, first, since it imports Keras without TensorFlow's announcements
    from distillery.data.files import write_json
    from distillery.data.prepared import load_description, load_split
    from distillery.export import formats, runtimes
    from distillery.export.check import format_metrics, points_lost
    from distillery.learning.prediction import predict_logits
    from distillery.students.train import load_students
    from distillery.timing import latency_and_throughput

    settings = params.export
    about, train, validation, test = load_description(), *map(load_split, ("train", "validation", "test"))
    run.dataset(about, context="export")
    students = load_students(DISTILLED)
    student = students.models[students.chosen_seed]

    paths = {name: EXPORTED / file for name, file in FILES.items()}
    EXPORTED.mkdir(parents=True, exist_ok=True)
    print(f"the student of seed {students.chosen_seed} as {', '.join(FILES.values())}", flush=True)
    shutil.copyfile(DISTILLED / f"seed_{students.chosen_seed}.keras", paths["keras"])
    formats.write_litert(student, paths["litert"])
    formats.write_litert_int8(student, paths["litert_int8"], _calibration_images(train, settings, params.prepare.seed))
    formats.write_onnx(student, paths["onnx"])
    (EXPORTED / "classes.txt").write_text("\n".join(about["classes"]) + "\n", encoding="utf-8")

    predict = {
        "keras": student.predict_on_batch,
        "litert": runtimes.litert(paths["litert"]),
        "litert_int8": runtimes.litert(paths["litert_int8"]),
        "onnx": runtimes.onnx(paths["onnx"]),
    }
    # Whether the int8 student is good enough is decided on validation, as everything is that is decided.
    lost = points_lost(
        np.asarray(validation.labels),
        predict_logits(student, validation.images),
        runtimes.in_batches(predict["litert_int8"], validation.images),
    )
    if lost > settings.int8_max_loss:
        raise InputError(
            f"models/exported/student_int8.tflite: on validation images it has {lost:.2f} points fewer right than the"
            f" Keras student, accepted: {settings.int8_max_loss:g} (export.int8_max_loss); more"
            f" export.calibration_images than {settings.calibration_images} may help"
        )

    print(f"each format over {len(test.labels):,} test images, in its own runtime", flush=True)
    logits = {
        name: predict_logits(student, test.images) if name == "keras" else runtimes.in_batches(one, test.images)
        for name, one in predict.items()
    }
    metrics = format_metrics(
        np.asarray(test.labels), logits, {name: path.stat().st_size for name, path in paths.items()}
    )
    metrics["keras"]["parameters"] = student.count_params()
    metrics["litert_int8"]["val_points_lost"] = lost
    write_json("metrics/export.json", metrics)
    timing = latency_and_throughput(
        predict, np.asarray(test.images[: params.evaluate.timing_batch]), params.evaluate.timing_rounds
    )
    write_json("metrics/export_timing.json", timing)
    run.metrics(metrics)
    run.metrics(timing)
    for path in (*paths.values(), EXPORTED / "classes.txt"):
        run.artifact(path, "exported")
    _print_table(metrics, timing)


def _calibration_images(train, settings, seed: int):
    """Some training images, drawn at random: the first ones of a data set may be all of one kind."""
    import numpy as np

    count = min(settings.calibration_images, len(train.labels))
    return train.images[np.sort(np.random.default_rng(seed).choice(len(train.labels), count, replace=False))]


def _print_table(metrics: dict, timing: dict) -> None:
    print(f"{'':>12}{'kB':>10}{'right':>10}{'as Keras':>10}{'ms an image':>13}{'images/s':>12}")
    for name, one in metrics.items():
        print(
            f"{name:>12}{one['bytes'] / 1000:>10,.1f}{100 * one['accuracy']:>8.2f} %"
            f"{100 * one['agreement_with_keras']:>8.2f} %{timing[name]['latency_ms']['median']:>13.3f}"
            f"{timing[name]['images_per_second']['median']:>12,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    run_stage("export", export, sections=["prepare", "student", "train_teacher", "distill", "evaluate", "export"])
