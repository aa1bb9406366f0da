"""export: the chosen distilled student in the formats in which it is shipped, each checked in its own runtime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import write_json
from distillery.data.prepared import Split, load_info, load_split
from distillery.data.random_streams import Purpose, generator
from distillery.export.check import Loss, format_metrics, loss
from distillery.export.formats import FORMATS
from distillery.export.preprocessing import described
from distillery.export.student import ExportedStudent
from distillery.learning.prediction import predict_in_batches
from distillery.learning.resizing import resized_info, resized_split
from distillery.learning.saving import load_model
from distillery.students.choice import load_students

PREPARED = Path("data/prepared")
DISTILLED = Path("models/distilled")
EXPORTED = Path("models/exported")
METRICS = Path("metrics")


def main(params, run) -> None:
    """Write the student in each format, and the metrics of each format on the test set."""
    settings = params.export
    info = load_info(PREPARED)
    train, validation, test = (load_split(PREPARED, part) for part in ("train", "validation", "test"))
    run.dataset(info, context="export")
    students = load_students(DISTILLED)
    seed, model = students.chosen_seed, load_model(students.chosen)
    size = model.input_shape[1:3]
    train, validation, test = (resized_split(split, size) for split in (train, validation, test))
    student = ExportedStudent(students.chosen, model, sample(train, settings.calibration_images, params.prepare.seed))

    paths = {name: EXPORTED / format.FILE for name, format in FORMATS.items()}
    print(f"the student of seed {seed} as {', '.join(path.name for path in paths.values())}", flush=True)
    for name, format in FORMATS.items():
        format.write(student, paths[name])
    classes = EXPORTED / "classes.txt"
    classes.write_text("\n".join(info.classes) + "\n", encoding="utf-8")
    preprocessing = EXPORTED / "preprocessing.json"
    write_json(preprocessing, described(resized_info(info, size)))
    predict = {name: format.load(paths[name]) for name, format in FORMATS.items()}

    # Whether the int8 student is good enough is decided on validation images, as every choice is.
    lost = loss(
        np.asarray(validation.labels),
        *(predict_in_batches(predict[name], validation.images) for name in ("keras", "litert_int8")),
    )
    check_int8(paths["litert_int8"], lost, settings)

    print(f"each format over {len(test.labels):,} test images, in its own runtime", flush=True)
    logits = {name: predict_in_batches(predict[name], test.images) for name in FORMATS}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    metrics = format_metrics(np.asarray(test.labels), logits, sizes)
    metrics["keras"]["parameters"] = student.model.count_params()
    metrics["litert_int8"]["val_points_lost"] = lost.points
    write_json(METRICS / "export.json", metrics)
    run.metrics(metrics)
    for path in (*paths.values(), classes, preprocessing):
        run.artifact(path, "exported")
    print_table(metrics)


def check_int8(path: Path, lost: Loss, settings) -> None:
    """Refuse an int8 student that surely loses too much, and warn of one that only seems to: an image may be points."""
    if lost.points <= settings.int8_max_loss:
        return
    advice = (
        f"accepted: {settings.int8_max_loss:g} (export.int8_max_loss); more export.calibration_images than"
        f" {settings.calibration_images} may help"
    )
    if lost.lower_bound > settings.int8_max_loss:
        raise InputError(f"{path}: {lost}, surely more than {lost.lower_bound:.2f}; {advice}")
    print(f"warning: {path}: {lost}, which may be chance; {advice}", flush=True)


def sample(split: Split, count: int, seed: int) -> np.ndarray:
    """Return some images, drawn at random: the first images of a data set may all show one class."""
    images = len(split.labels)
    random = generator(Purpose.CALIBRATION_IMAGES, seed)
    return split.images[np.sort(random.choice(images, min(count, images), replace=False))]


def print_table(metrics: Mapping) -> None:
    """Print one line per format."""
    print(f"{'':>12}{'kB':>10}{'accuracy':>10}{'as Keras':>10}")
    for name, values in metrics.items():
        print(
            f"{name:>12}{values['bytes'] / 1000:>10,.1f}{100 * values['accuracy']:>8.2f} %"
            f"{100 * values['agreement_with_keras']:>8.2f} %",
            flush=True,
        )
