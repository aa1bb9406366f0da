"""What pages show, read from files and cached until the files change: a new `dvc repro` shows without a restart."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from app import experiments, predictions, results, uploads
from app.results import PREPARED, ModelFile, TimedEvaluation
from app.uploads import ModelInput
from distillery.data.errors import InputError
from distillery.data.prepared import DatasetInfo, Split, load_info, load_split
from distillery.learning.metrics import confusion_matrix
from distillery.learning.resizing import resized

FileVersion = tuple[str, int, int]  # path, time of the last change, size
IMPORTING = threading.Lock()
DECODING = threading.Lock()  # a photograph takes hundreds of megabytes for a moment
DRAWING = threading.Lock()  # Matplotlib's settings are those of the whole process


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict.

    Attributes:
        model: from raw uint8 pixels to logits.
        file: the model's file.
        parameters: number of weights.
        bytes: size of the file.
        version: of the file.
    """

    model: object
    file: ModelFile
    parameters: int
    bytes: int
    version: FileVersion

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of the images that it takes: (height, width, channels)."""
        return self.model.image_shape if self.wrapped else tuple(self.model.inputs[0].shape[1:])

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.model.classes if self.wrapped else self.model.outputs[0].shape[-1]

    @property
    def taken(self) -> bool:
        """Whether it is a teacher from elsewhere."""
        return isinstance(self.model, TakenModel)

    @property
    def wrapped(self) -> bool:
        """Whether it is no Keras model of the data set's images."""
        return isinstance(self.model, TakenModel | ResizingModel)


class TakenModel:
    """A teacher from elsewhere, with what pages ask of a Keras model.

    Args:
        folder: the teacher's.
    """

    def __init__(self, folder: Path):
        from distillery.teachers.teacher import TakenTeacher  # imports ONNX Runtime

        teacher, info = TakenTeacher(folder), load_info(PREPARED)
        self.image_shape, self.classes, self.bytes = info.image_shape, len(info.classes), teacher.bytes
        self.predict_on_batch, self.count_params = teacher.predict, lambda: teacher.parameters


class ResizingModel:
    """A student that takes images of another size than the data set's, with what pages ask of a Keras model.

    Args:
        model: the student.
        size: height and width of the data set's images.
    """

    def __init__(self, model, size: tuple[int, int]):
        *own, channels = model.inputs[0].shape[1:]
        self._model, self._own = model, tuple(own)
        self.image_shape, self.classes = (*size, channels), model.outputs[0].shape[-1]
        self.count_params = model.count_params

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of the data set's images, uint8, (n, height, width, channels)."""
        return self._model.predict_on_batch(resized(images, self._own))


def file_version(path: Path) -> FileVersion:
    """Return what changes when a file is written anew; zeros for a missing file."""
    try:
        stat = path.stat()
        return str(path.resolve()), stat.st_mtime_ns, stat.st_size
    except FileNotFoundError:
        return str(path.resolve()), 0, 0


def models() -> tuple[dict[str, LoadedModel], list[str]]:
    """Return the models of the last run.

    Returns:
        By role the models that can be used, and one line for each that is missing or damaged or of another run.
    """
    files, problems = results.find_models()
    loaded = {}
    for role, file in files.items():
        version = file_version(file.path)
        try:
            model = _model(str(file.path), version, file.prepared_size)
        except InputError as error:
            problems.append(f"{error}; {results.REPRO}" if "dvc repro" not in str(error) else str(error))
            continue
        size = model.bytes if isinstance(model, TakenModel) else version[2]
        loaded[role] = LoadedModel(model, file, model.count_params(), size, version)
    if len({(model.image_shape, model.classes) for model in loaded.values()}) > 1:
        problems.append(f"the models in models/ are not of one run: they take different images; {results.REPRO}")
        loaded = {}
    return loaded, problems


@st.cache_resource(show_spinner="Loading the models…", max_entries=6)
def _model(path: str, version: FileVersion, prepared_size: tuple[int, int] | None):
    from pipeline.imports import quiet_import

    if Path(path).name == results.TAKEN_TEACHER.name:
        return TakenModel(Path(path).parent)
    # Keras takes seconds, and without models no page needs it. Two visitors may not redirect the terminal at once.
    with IMPORTING, quiet_import():
        from distillery.learning.saving import load_model
    model = load_model(path)
    return ResizingModel(model, prepared_size) if prepared_size else model


def dataset_info() -> tuple[DatasetInfo | None, str | None]:
    """Return what `data/prepared/dataset.json` says; or None, and the reason."""
    return _dataset_info(file_version(PREPARED / "dataset.json"))


@st.cache_data(show_spinner=False, max_entries=4)
def _dataset_info(version: FileVersion) -> tuple[DatasetInfo | None, str | None]:
    try:
        return load_info(PREPARED), None
    except InputError as error:
        return None, str(error)


def test_split() -> tuple[Split | None, str | None]:
    """Return the test images and labels, mapped from their files; or None, and the reason."""
    try:
        return load_split(PREPARED, "test"), None
    except InputError as error:
        return None, str(error)


def evaluation() -> tuple[TimedEvaluation | None, str | None]:
    """Return the last evaluation; or None, and the reason."""
    return _evaluation(_evaluation_version())


def _evaluation_version() -> tuple[FileVersion, ...]:
    return tuple(file_version(path) for path in (*results.EVALUATED, PREPARED / "dataset.json"))


@st.cache_data(show_spinner=False, max_entries=4)
def _evaluation(version: tuple[FileVersion, ...]) -> tuple[TimedEvaluation | None, str | None]:
    info, _ = dataset_info()
    try:
        return results.read_evaluation(info and info.classes), None
    except InputError as error:
        return None, str(error)


def figure(name: str) -> bytes:
    """Return a figure of the evaluation as PNG.

    Args:
        name: of a function of `distillery.figures`: `training_curves`, `confusion_matrices`, `per_class_accuracy` or
            `per_class_gain`.
    """
    return _figure(name, _evaluation_version())


@st.cache_data(show_spinner="Drawing…", max_entries=16)
def _figure(name: str, version: tuple[FileVersion, ...]) -> bytes:
    from distillery import figures  # Matplotlib: a second, and the first section does without

    found, _ = evaluation()
    accuracy, classes = found.class_accuracy, found.classes
    with DRAWING:
        if name == "training_curves":
            drawn = figures.training_curves(found.curves)
        elif name == "confusion_matrices":
            confusions = {
                role: confusion_matrix(found.labels, predicted, len(classes))
                for role, predicted in found.predicted.items()
            }
            drawn = figures.confusion_matrices(confusions, classes)
        elif name == "per_class_accuracy":
            drawn = figures.per_class_accuracy(accuracy, classes)
        else:
            drawn = figures.per_class_gain(100 * (accuracy["distilled"] - accuracy["scratch"]), classes)
        return figures.png(drawn)


def predict(loaded: Mapping[str, LoadedModel], image: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Return `predictions.predict`, measured once per image, so that moving a slider does not measure again."""
    versions = tuple((role, model.version) for role, model in loaded.items())
    return _predict(versions, image.tobytes(), image.shape, loaded)


@st.cache_data(show_spinner=False, max_entries=64)
def _predict(versions: tuple, pixels: bytes, shape: tuple[int, ...], _loaded: Mapping[str, LoadedModel]):
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    return predictions.predict({role: model.model for role, model in _loaded.items()}, image)


@st.cache_data(show_spinner=False, max_entries=8)
def picture(
    content: bytes, name: str, dataset: str, shape: tuple[int, int, int], preprocessing: Mapping | None
) -> ModelInput:
    """Return `uploads.picture_input`, decoded once per upload, so that moving a slider does not decode again."""
    with DECODING:
        return uploads.picture_input(content, name, dataset, shape, preprocessing)


def experiment_table(folder: Path) -> tuple[list[experiments.Row], str | None]:
    """Return the rows of `experiments.read_experiments` for the project in a folder; or none, and the reason."""
    files = [*results.EVALUATED, Path("params.yaml"), Path("dvc.lock"), Path(".git/logs/HEAD")]
    return _experiment_table(str(folder), tuple(file_version(path) for path in files))


@st.cache_data(show_spinner="Asking DVC for the experiments…", ttl="10m", max_entries=2)
def _experiment_table(folder: str, version: tuple[FileVersion, ...]) -> tuple[list[experiments.Row], str | None]:
    try:
        return experiments.read_experiments(), None
    except InputError as error:
        return [], str(error)


def clear_experiment_table() -> None:
    """Ask DVC again when the table is shown next."""
    _experiment_table.clear()
