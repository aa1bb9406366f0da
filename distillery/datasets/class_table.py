"""The images of each class: how many, how large, how many twice or unreadable."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from distillery.datasets.dataset import Dataset


def class_table(dataset: Dataset, repeated: Sequence[int]) -> pd.DataFrame:
    """Return a row for each class.

    Args:
        dataset: with its parts.
        repeated: of each class how many images had the pixels of another one.

    Returns:
        `class`; `train`, `validation`, `test`: images; `repeated`; `unreadable`: files that were left out; and, in
        pixels as they came, `height_min`, `height_median`, `height_max` and the same of `width`.
    """
    table = pd.DataFrame({"class": dataset.classes})
    labels, sizes = [], []
    for part, (images, of_part) in dataset.parts().items():
        table[part] = np.bincount(of_part, minlength=len(table))
        labels.append(of_part)
        sizes.append(dataset.original_sizes.get(part, np.broadcast_to(images.shape[1:3], (len(of_part), 2))))
    table["repeated"] = repeated
    table["unreadable"] = [dataset.unreadable.get(name, 0) for name in dataset.classes]
    of_class = pd.DataFrame(np.concatenate(sizes), columns=["height", "width"]).groupby(np.concatenate(labels))
    for (side, measure), values in of_class.agg(["min", "median", "max"]).items():
        table[f"{side}_{measure}"] = values.reindex(table.index).to_numpy()
    return table
