"""A logged model as MLflow serves it: pixels in; names of classes and logits out.

Each logged model has a copy of this file as its code, which runs where there is no Distillery.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd


class ServedModel:
    """A Keras classifier and the names of its classes.

    Args:
        folder: with `model.keras` and `classes.txt`.
    """

    def __init__(self, folder: Path):
        self._model = keras.models.load_model(folder / "model.keras", compile=False)
        self._classes = (folder / "classes.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")

    def predict(self, images: dict[str, np.ndarray], params: dict | None = None) -> pd.DataFrame:
        """Return a row per image: the name of its class, and the logits.

        Args:
            images: `pixels`, uint8, (n, height, width, channels), by the model's signature.
            params: MLflow's; not used.
        """
        logits = self._model.predict(images["pixels"], batch_size=256, verbose=0)
        names = [self._classes[number] for number in logits.argmax(axis=1)]
        return pd.DataFrame({"class": names, "logits": logits.tolist()})


def _load_pyfunc(path: str) -> ServedModel:
    """Return the model; MLflow's pyfunc looks for this function."""
    return ServedModel(Path(path))
