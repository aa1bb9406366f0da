"""prepare: the raw data set in; train, validation and test arrays out."""

import numpy as np

from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

SAMPLE_IMAGES = 40


def prepare(params: Params, run: Journal) -> None:
    """Write the prepared data."""
    from distillery.data.prepared import save_prepared
    from distillery.datasets import datasets
    from distillery.datasets.splits import stratified_split

    settings = params.prepare
    own = (settings.folder, settings.image_size, settings.test_fraction) if settings.dataset == "folder" else ()
    dataset = getattr(datasets, settings.dataset)(*own)
    print(f"{settings.dataset}: from {dataset.obtained}", flush=True)
    train, validation = stratified_split(dataset.train_labels, settings.validation_fraction, settings.seed)
    images, labels = dataset.train_images, dataset.train_labels
    about = save_prepared(
        settings.dataset,
        dataset.classes,
        dataset.source,
        {
            "train": (images[train], labels[train]),
            "validation": (images[validation], labels[validation]),
            "test": (dataset.test_images, dataset.test_labels),
        },
    )

    run.dataset(about, context="preparation")
    run.tags({"distillery.obtained_from": dataset.obtained})
    run.metrics({f"images/{part}": size for part, size in about["sizes"].items()} | {"classes": len(about["classes"])})
    run.table("dataset.json", about)
    run.figure(
        "class_balance",
        "class_balance",
        counts={part: list(counts.values()) for part, counts in about["class_counts"].items()},
        classes=about["classes"],
    )
    sample = np.sort(np.random.default_rng(settings.seed).choice(len(train), min(SAMPLE_IMAGES, len(train)), False))
    run.figure(
        "sample_sheet",
        "samples",
        images=images[train][sample],
        labels=labels[train][sample],
        classes=about["classes"],
        title=f"{settings.dataset}: images to train on",
    )
    print(", ".join(f"{part} {size:,}" for part, size in about["sizes"].items()) + " images", flush=True)


if __name__ == "__main__":
    run_stage("prepare", prepare, sections=["prepare"])
