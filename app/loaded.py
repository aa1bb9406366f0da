"""What pages show, read from files and kept until the files change: a new `dvc repro` shows without a restart."""

import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from app import predictions, recorded, results, uploads
from app.results import Evaluation, ModelFile
from app.uploads import ModelInput
from distillery.data import prepared
from distillery.data.errors import InputError
from distillery.data.prepared import Split

Identity = tuple[str, int, int]
DECODING = threading.Lock()  # a photograph takes hundreds of megabytes for a moment
DRAWING = threading.Lock()  # matplotlib's pyplot is not made for several visitors at once


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer.

    Attributes:
        model: from raw uint8 pixels to logits.
        file: where it is from.
        parameters: how many it has.
        bytes: of the file.
        identity: of the file.
    """

    model: object
    file: ModelFile
    parameters: int
    bytes: int
    identity: Identity

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that it takes."""
        return tuple(self.model.inputs[0].shape[1:])

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self.model.outputs[0].shape[-1]


def identity(path: Path) -> Identity:
    """What tells a file from another, and from itself after it was written anew; of a missing file, zeros."""
    try:
        stat = path.stat()
        return str(path.resolve()), stat.st_mtime_ns, stat.st_size
    except FileNotFoundError:
        return str(path.resolve()), 0, 0


def models() -> tuple[dict[str, LoadedModel], list[str]]:
    """The models of the last run.

    Returns:
        By kind those that can be used, and a line for each that is missing or damaged or of another run.
    """
    files, problems = results.find_models()
    loaded = {}
    for kind, file in files.items():
        who = identity(file.path)
        try:
            model = _model(str(file.path), who)
        except InputError as error:
            problems.append(f"{error}; {results.REPRO}" if "dvc repro" not in str(error) else str(error))
            continue
        loaded[kind] = LoadedModel(model, file, model.count_params(), who[2], who)
    if len({(one.image_shape, one.classes) for one in loaded.values()}) > 1:
        problems.append(f"the models in models/ are not of one run: they take different images; {results.REPRO}")
        loaded = {}
    return loaded, problems


@st.cache_resource(show_spinner="Loading the models…", max_entries=6)
def _model(path: str, who: Identity):
    from distillery.learning.models import (
        load_model,  # TensorFlow: seconds, and no page needs it before there are models
    )

    return load_model(path)


def description() -> tuple[dict | None, str | None]:
    """What `data/prepared/dataset.json` says; or None, and why."""
    return _description(identity(prepared.FOLDER / "dataset.json"))


@st.cache_data(show_spinner=False, max_entries=4)
def _description(who: Identity) -> tuple[dict | None, str | None]:
    try:
        about = prepared.load_description()
        str(about["name"]), list(about["classes"]), tuple(about["image_shape"]), int(about["sizes"]["test"])
        return about, None
    except InputError as error:
        return None, str(error)
    except (KeyError, TypeError) as error:
        return None, f"{prepared.FOLDER}/dataset.json: not as the pipeline writes it ({error!r}); {results.REPRO}"


def test_split() -> tuple[Split | None, str | None]:
    """The test images and labels, mapped from their files; or None, and why."""
    try:
        return prepared.load_split("test"), None
    except InputError as error:
        return None, str(error)
    except (KeyError, TypeError) as error:
        return None, f"{prepared.FOLDER}/dataset.json: not as the pipeline writes it ({error!r}); {results.REPRO}"


def evaluation() -> tuple[Evaluation | None, str | None]:
    """What `evaluate` found; or None, and why."""
    return _evaluation(_evaluated())


def _evaluated() -> tuple[Identity, ...]:
    return tuple(identity(path) for path in (*results.EVALUATED, prepared.FOLDER / "dataset.json"))


@st.cache_data(show_spinner=False, max_entries=4)
def _evaluation(who: tuple[Identity, ...]) -> tuple[Evaluation | None, str | None]:
    about, _ = description()
    try:
        return results.read_evaluation(about and about["classes"]), None
    except InputError as error:
        return None, str(error)


def figure(name: str) -> bytes:
    """A figure of `distillery.figures` over the evaluation, as PNG.

    Args:
        name: `training_curves`, `confusion_matrices`, `per_class_accuracy` or `per_class_gain`.
    """
    return _figure(name, _evaluated())


@st.cache_data(show_spinner="Drawing…", max_entries=16)
def _figure(name: str, who: tuple[Identity, ...]) -> bytes:
    from distillery import figures
    from distillery.learning.metrics import confusion_matrix

    found, _ = evaluation()
    accuracy, classes = found.class_accuracy, found.classes
    with DRAWING:
        if name == "training_curves":
            drawn = figures.training_curves(found.curves)
        elif name == "confusion_matrices":
            confusions = {
                kind: confusion_matrix(found.labels, predicted, len(classes))
                for kind, predicted in found.predicted.items()
            }
            drawn = figures.confusion_matrices(confusions, classes)
        elif name == "per_class_accuracy":
            drawn = figures.per_class_accuracy(accuracy, classes)
        else:
            drawn = figures.per_class_gain(100 * (accuracy["distilled"] - accuracy["scratch"]), classes)
        picture = io.BytesIO()
        drawn.savefig(picture, format="png", dpi=figures.DPI)
        figures.plt.close(drawn)
    return picture.getvalue()


def answers(loaded: Mapping[str, LoadedModel], image: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """`predictions.answers`, measured once an image, so that moving a slider does not measure again."""
    return _answers(tuple((kind, one.identity) for kind, one in loaded.items()), image.tobytes(), image.shape, loaded)


@st.cache_data(show_spinner=False, max_entries=64)
def _answers(who: tuple, pixels: bytes, shape: tuple[int, ...], _loaded: Mapping[str, LoadedModel]):
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    return predictions.answers({kind: one.model for kind, one in _loaded.items()}, image)


@st.cache_data(show_spinner=False, max_entries=8)
def picture(content: bytes, name: str, dataset: str, shape: tuple[int, int, int]) -> ModelInput:
    """`uploads.picture_input`, decoded once an upload, so that moving a slider does not decode again."""
    with DECODING:
        return uploads.picture_input(content, name, dataset, shape)


def experiments(folder: str) -> tuple[list[recorded.Row], list[str]]:
    """Rows of `recorded.merged` for the project in `folder`, and a line for each source that cannot tell."""
    files = [*results.EVALUATED, Path("params.yaml"), Path("dvc.lock"), Path("mlflow.db"), Path(".git/logs/HEAD")]
    return _experiments(folder, tuple(identity(path) for path in files))


@st.cache_data(show_spinner="Asking DVC and MLflow for their experiments…", ttl="10m", max_entries=2)
def _experiments(folder: str, who: tuple[Identity, ...]) -> tuple[list[recorded.Row], list[str]]:
    rows, problems = {"dvc": [], "mlflow": []}, []
    for source, read in (("dvc", recorded.dvc_experiments), ("mlflow", recorded.mlflow_experiments)):
        try:
            rows[source] = read()
        except InputError as error:
            problems.append(str(error))
    return recorded.merged(**rows), problems
