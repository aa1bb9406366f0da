"""prepare: the raw data set in; train, validation and test arrays out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from distillery.data.files import write_json
from distillery.data.prepared import save_prepared
from distillery.data.random_streams import Purpose, generator
from distillery.data.tables import write_table
from distillery.datasets.class_table import class_table
from distillery.datasets.duplicates import near_duplicates, without_duplicates
from distillery.datasets.load import dataset_name, load_dataset
from distillery.datasets.splits import draw_validation

PREPARED = Path("data/prepared")
METRICS, CLASSES = Path("metrics/prepare.json"), Path("plots/prepare/classes.csv")
SAMPLE_IMAGES = 40


def main(params, run) -> None:
    """Write `data/prepared/`."""
    settings = params.prepare
    name = dataset_name(settings.dataset)
    dataset = load_dataset(settings.dataset, settings.image_size, settings.test_fraction, settings.unreadable)
    print(f"{name}: from {dataset.retrieved_from}", flush=True)

    dataset, pictures, repeated = without_duplicates(dataset, settings.duplicates)
    if dataset.validation_images is None:
        dataset = draw_validation(dataset, settings.validation_fraction, settings.seed, pictures)
    if dataset.preprocessing and (line := near_duplicates(dataset)):
        print(line, flush=True)
    preprocessing = dataset.preprocessing and asdict(dataset.preprocessing)
    parts = dataset.parts()
    if dataset.unlabelled_images is not None:
        parts["unlabelled"] = (dataset.unlabelled_images, np.full(len(dataset.unlabelled_images), -1, np.int32))
    files = {part: dataset.files[part] for part in parts} if dataset.preprocessing else None
    info = save_prepared(PREPARED, name, dataset.classes, dataset.source, parts, preprocessing, files)
    info.check_augmentation("student", params.student)  # the stages that train check it, too
    info.check_augmentation("train_scratch", params.train_scratch)
    info.check_top_classes(params.transfer.top_classes)
    if params.train_teacher.model.endswith(".py"):
        info.check_augmentation("train_teacher", params.train_teacher)
    print(", ".join(f"{part} {size:,}" for part, size in info.sizes.items()) + " images", flush=True)

    table = class_table(dataset, repeated)
    write_table(CLASSES, table)
    totals = info.sizes | {name: int(table[name].sum()) for name in ("repeated", "unreadable")}
    write_json(METRICS, totals | {"classes": len(table)})

    run.dataset(info, context="preparation")
    run.artifact(CLASSES)
    run.tags({"distillery.retrieved_from": dataset.retrieved_from})
    run.metrics({f"images/{part}": size for part, size in info.sizes.items()} | {"classes": len(info.classes)})
    run.table("dataset.json", info.tree())
    counts = {part: list(images_of.values()) for part, images_of in info.class_counts.items()}
    run.figure("class_balance", "class_balance", counts=counts, classes=info.classes)
    random = generator(Purpose.SAMPLE_SHEET, settings.seed)
    images = len(dataset.train_labels)
    sample = np.sort(random.choice(images, min(SAMPLE_IMAGES, images), replace=False))
    run.figure(
        "sample_sheet",
        "samples",
        images=dataset.train_images[sample],
        labels=dataset.train_labels[sample],
        classes=info.classes,
        title=f"{name}: training images",
    )
