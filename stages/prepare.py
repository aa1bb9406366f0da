"""prepare: the raw data set in; train, validation and test arrays out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from distillery.data.prepared import save_prepared
from distillery.datasets.load import dataset_name, load_dataset
from distillery.datasets.splits import stratified_split

SAMPLE_IMAGES = 40


def main(params, run) -> None:
    """Write `data/prepared/`."""
    settings = params.prepare
    name = dataset_name(settings.dataset)
    dataset = load_dataset(settings.dataset, settings.image_size, settings.test_fraction)
    print(f"{name}: from {dataset.retrieved_from}", flush=True)

    images, labels = dataset.train_images, dataset.train_labels
    train, validation = stratified_split(labels, settings.validation_fraction, settings.seed)
    splits = {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": (dataset.test_images, dataset.test_labels),
    }
    info = save_prepared(Path("data/prepared"), name, dataset.classes, dataset.source, splits)
    print(", ".join(f"{part} {size:,}" for part, size in info.sizes.items()) + " images", flush=True)

    run.dataset(info, context="preparation")
    run.tags({"distillery.retrieved_from": dataset.retrieved_from})
    run.metrics({f"images/{part}": size for part, size in info.sizes.items()} | {"classes": len(info.classes)})
    run.table("dataset.json", asdict(info))
    counts = {part: list(images_of.values()) for part, images_of in info.class_counts.items()}
    run.figure("class_balance", "class_balance", counts=counts, classes=info.classes)
    random = np.random.default_rng(settings.seed)
    sample = train[np.sort(random.choice(len(train), min(SAMPLE_IMAGES, len(train)), replace=False))]
    run.figure(
        "sample_sheet",
        "samples",
        images=images[sample],
        labels=labels[sample],
        classes=info.classes,
        title=f"{name}: training images",
    )
