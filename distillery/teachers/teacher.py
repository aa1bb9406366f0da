"""The teacher in its folder: a classifier whose named outputs students learn from, and with which they are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest, read_json, write_json
from distillery.data.progress import Progress
from distillery.learning.onnx_model import OnnxModel, load_onnx
from distillery.learning.prediction import ATTENTION, EMBEDDING, Predict, images_at_once, inner_kind, predict_in_batches
from distillery.teachers.classes import own_logits
from distillery.teachers.ensemble import MEAN_LOSS, MEMBERS, Ensemble, mean_logits
from distillery.teachers.inner_tensors import embedding_tensor, feature_maps
from distillery.teachers.onnx_runtime import OnnxRuntime
from distillery.teachers.outputs import MEMBER_LOGITS, logits_of, width_of
from distillery.teachers.pixels import Pixels, pixels_from
from distillery.teachers.table import TableOutputs
from distillery.teachers.tensors import Takes, batch_size, tensor

if TYPE_CHECKING:  # a process that runs no Keras model need not wait for it
    import keras

KERAS_FILE, ONNX_FILE, DESCRIPTION = "teacher.keras", "teacher.onnx", "teacher.json"
GPU = Path("/proc/driver/nvidia/version")  # of the driver's module: found without TensorFlow, which takes seconds


Outputs = Callable[[np.ndarray], dict[str, np.ndarray]]


class TrainedTeacher:
    """A classifier that was trained here: its Keras file and, where ONNX has such a model, its ONNX file.

    It is run by ONNX Runtime, which starts in a fraction of a second; by Keras where there is no ONNX file, or a GPU
    that many images are worth waiting for.

    Args:
        folder: where `save_teacher` wrote it.

    Attributes:
        digest: SHA-256 of the Keras file.
        bytes: size of the Keras file.
        parameters: number of weights.
        multiply_adds: of one image; None where ONNX has no such model.
        precision: that it was trained in.
        predict: from a few images, uint8, (n, height, width, channels), to their logits, in one call.
        runtime: in which it is timed.
        logged: the file, or the folder, that MLflow keeps as the model; None where there is none.
        timed: a function, and the path from which it loads `predict` in another process; None where this one does it.

    Raises:
        InputError: when a file is missing or damaged.
    """

    def __init__(self, folder: Path):
        self._folder, self._inner = folder, {}
        path, as_onnx = folder / KERAS_FILE, folder / ONNX_FILE
        onnx = OnnxModel(as_onnx) if as_onnx.is_file() else None
        self.multiply_adds = onnx and onnx.multiply_adds
        self.runtime: str | None = "ONNX Runtime" if onnx else "Keras"
        self.logged: Path | None = path
        self.timed: tuple[Callable[[Path], Predict], Path] | None = (load_onnx, as_onnx) if onnx else None
        if onnx and not GPU.exists():
            self.parameters, self.predict = onnx.parameters, onnx.predict
        else:
            from distillery.learning.saving import load_model  # imports Keras, which takes seconds

            model = load_model(path)
            self.parameters, self.predict = model.count_params(), model.predict_on_batch
        try:
            self.digest, self.bytes = file_digest(path), path.stat().st_size
            self.precision: str | None = read_json(folder / DESCRIPTION)["precision"]
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; run `dvc repro` first") from None

    def outputs(self, images: np.ndarray, inner: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Return the outputs by name: `logits`, float32, (n, classes), and others that are asked for.

        Args:
            images: uint8, (n, height, width, channels).
            inner: of `embedding` and `attention`, as `with_inner_outputs` gives them.

        Raises:
            InputError: when it has none.
        """
        if not inner:
            return {"logits": predict_in_batches(self.predict, images)}
        if inner not in self._inner:
            self._inner[inner] = self._load_inner(inner, images.shape[1:])
        batch = images_at_once(images.shape[1:])
        starts = range(0, len(images), batch)
        found = [self._inner[inner](np.ascontiguousarray(images[start : start + batch])) for start in starts]
        return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}

    def _load_inner(self, inner: tuple[str, ...], image_shape: tuple[int, ...]) -> Outputs:
        path = self._folder / ONNX_FILE
        if path.is_file() and not GPU.exists():
            runtime, names = with_inner_tensors(path, "logits", inner, (1, *image_shape))
            return lambda batch: named_outputs(["logits", *names], runtime.run(batch, ["logits", *names.values()]))
        from distillery.learning.inner_outputs import with_inner_outputs  # imports Keras, which takes seconds
        from distillery.learning.saving import load_model

        path = self._folder / KERAS_FILE
        return with_inner_outputs(load_model(path), inner, str(path)).predict_on_batch


class Classifier:
    """A classifier from elsewhere, with what its pixels and its outputs mean.

    Args:
        runtime: an `OnnxRuntime` or a `KerasRuntime`.
        input_: what it takes.
        pixels: what is done to an image.
        output: name of the output that counts.
        kind: what its numbers are, one of `outputs.KINDS`.
        classes: the numbers of the outputs of each class; None where they are the classes.
        inner: the names by which the runtime gives inner outputs, by their own.
    """

    inner: Mapping[str, str] = {}

    def __init__(self, runtime, input_: Takes, pixels: Pixels, output: str, kind: str, classes: list[list[int]] | None):
        self.runtime, self.input_, self.pixels = runtime, input_, pixels
        self.output, self.kind, self.classes = output, kind, classes

    def values(self, images: np.ndarray) -> np.ndarray:
        """Return what it gives for some images as it gives it, float32, (n, outputs).

        Args:
            images: uint8, (n, height, width, channels).
        """
        (found,) = self._values(images, [self.output])
        return found

    def _values(self, images: np.ndarray, names: list[str]) -> list[np.ndarray]:
        size = batch_size(self.input_, images.shape[1:], self.pixels)
        progress, found = Progress("predicting", len(images)), []
        for batch in self._tensors(images, size):
            short = size - len(batch) if self.input_.batch else 0
            whole = np.concatenate([batch, np.repeat(batch[-1:], short, axis=0)]) if short else batch
            arrays = self.runtime.run(whole, names)
            rows = [_rows(arrays[0], len(whole), self.runtime.path)]
            rows += [_one_each(values, len(whole), self.runtime.path) for values in arrays[1:]]
            found.append([values[: len(batch)].astype(np.float32) for values in rows])
            progress.update(sum(len(first) for first, *_ in found))
        progress.close()
        return [np.concatenate(batches) for batches in zip(*found, strict=True)]

    def _tensors(self, images: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield what it takes, batch by batch; a thread makes the next one meanwhile."""
        with ThreadPoolExecutor(max_workers=1) as ahead:
            batches = (images[start : start + size] for start in range(0, len(images), size))
            coming = ahead.submit(tensor, next(batches), self.pixels, self.input_)
            while coming:
                batch, following = coming.result(), next(batches, None)
                coming = following is not None and ahead.submit(tensor, following, self.pixels, self.input_)
                yield batch

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of the data set's classes, float32, (n, classes).

        Args:
            images: uint8, (n, height, width, channels).

        Raises:
            InputError: when the classifier gives values that are not finite.
        """
        return self._logits(self.values(images))

    def inner_outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return `logits`, as `predict` does, and the inner outputs, by name.

        Args:
            images: uint8, (n, height, width, channels).

        Raises:
            InputError: when the classifier gives values that are not finite.
        """
        logits, *others = self._values(images, [self.output, *self.inner.values()])
        return {"logits": self._logits(logits)} | named_outputs(list(self.inner), others)

    def _logits(self, found: np.ndarray) -> np.ndarray:
        if not np.isfinite(found).all():
            raise InputError(f"{self.runtime.path}: it gives values that are not finite; accepted: numbers")
        return self.own(logits_of(found, self.kind))

    def own(self, logits: np.ndarray) -> np.ndarray:
        """Return the logits of the data set's classes, given those of all outputs."""
        return own_logits(logits, self.classes)


def _rows(values: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Return outputs as (n, outputs).

    Raises:
        InputError: when they have other axes.
    """
    values = np.asarray(values)
    if width_of(values, count) is None:
        raise InputError(f"{path}: it gives an array of shape {values.shape}; accepted: ({count}, classes)")
    return values.reshape(count, -1)


def _one_each(values: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Return inner outputs.

    Raises:
        InputError: when they are not one an image.
    """
    if not np.ndim(values) or len(values) != count:
        raise InputError(
            f"{path}: its embedding has the shape {np.shape(values)}; accepted: ({count}, units);"
            " train_teacher.embedding names another tensor"
        )
    return np.asarray(values)


def named_outputs(names: Sequence[str], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return outputs by name: an embedding flat, (n, units), attention with norm 1, (n, height, width)."""
    found = {}
    for name, values in zip(names, arrays, strict=True):
        if inner_kind(name) == EMBEDDING:
            values = values.reshape(len(values), -1)
        elif inner_kind(name) == ATTENTION:
            values = values / (np.sqrt(np.square(values).sum(axis=(1, 2), keepdims=True)) + 1e-12)
        found[name] = values
    return found


class TakenTeacher:
    """A teacher from elsewhere, in the folder where `take_teacher` wrote it.

    Args:
        folder: the folder.

    Attributes:
        digest: SHA-256 over the model's files and what its pixels and outputs mean.
        ensemble: what is run, where it is one; None otherwise.
        members: names of the ensemble's members.
        bytes, parameters, multiply_adds, precision, predict, runtime, logged, timed: as of a `TrainedTeacher`; what is
            not known is None.

    Raises:
        InputError: when a file is missing, damaged or changed.
    """

    precision = None
    ensemble: Ensemble | None = None
    members: Sequence[str] = ()

    def __init__(self, folder: Path):
        self._folder, self._inner = folder, {}
        self.described = described = read_json(folder / DESCRIPTION)
        check_unchanged(described, folder)
        self.digest = description_digest(described)
        self.bytes, self.parameters = described["bytes"], described["parameters"]
        self.multiply_adds = described["multiply_adds"]
        self.runtime: str | None = described["runtime"]
        self.logged: Path | None = folder if self.runtime else None
        self.timed: tuple[Callable[[Path], Predict], Path] | None = None
        if described["kind"] == "table":
            table = TableOutputs(folder, described)
            self.predict = table.predict
            return
        classifier = load_classifier(folder, described)
        self.predict = classifier.predict
        if isinstance(classifier, Ensemble):
            self.ensemble, self.members = classifier, [member["name"] for member in described["members"]]
        if self.runtime == OnnxRuntime.name:
            self.timed = load_predict, folder

    def outputs(self, images: np.ndarray, inner: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Return the outputs by name, as `TrainedTeacher.outputs` does.

        Of an ensemble from whose members students learn by the mean of their losses also `member_logits`, float32,
        (n, members, classes).

        Args:
            images: uint8, (n, height, width, channels).
            inner: of `embedding` and `attention`.

        Raises:
            InputError: when it has none: a table of outputs, or a network in which they are not found.
        """
        if inner and self.described["kind"] in ("table", "ensemble"):
            raise InputError(
                f"transfer.{inner[0]}: found true; a teacher of the kind {self.described['kind']} has none;"
                " accepted: false"
            )
        if inner:
            if inner not in self._inner:
                self._inner[inner] = load_classifier(self._folder, self.described, inner, images[:1]).inner_outputs
            return self._inner[inner](images)
        if self.ensemble and self.described["ensemble"] == MEAN_LOSS:
            members = self.ensemble.member_logits(images)
            return {"logits": mean_logits(members), MEMBER_LOGITS: members}
        return {"logits": self.predict(images)}


def load_classifier(
    folder: Path, described: Mapping[str, Any], inner: tuple[str, ...] = (), image: np.ndarray | None = None
) -> Classifier | Ensemble:
    """Return the classifier in a teacher's folder.

    Args:
        folder: the folder.
        described: what its `teacher.json` says.
        inner: of `embedding` and `attention`, what it is to give besides, of images like
        image: uint8, (1, height, width, channels).

    Raises:
        InputError: when it has no such outputs.
    """
    if described["kind"] == "ensemble":
        members = described["members"]
        return Ensemble([load_classifier(folder / MEMBERS / one["name"], one).predict for one in members])
    path, names = folder / described["run"], {}
    input_, pixels = Takes(**described["takes"]), pixels_from(described["pixels"], folder / DESCRIPTION)
    if described["runtime"] == OnnxRuntime.name:
        if inner:
            taken = tensor(image, pixels, input_).shape
            runtime, names = with_inner_tensors(path, described["output"], inner, taken, described.get("embedding"))
        else:
            runtime = OnnxRuntime(path)
    else:
        from distillery.teachers.keras_runtime import KerasRuntime  # imports Keras, which takes seconds

        runtime = KerasRuntime(path, inner)
        names = {name: name for name in runtime.inner}
    classifier = Classifier(
        runtime, input_, pixels, described["output"], described["outputs_are"], described["classes"]
    )
    classifier.inner = names
    return classifier


def with_inner_tensors(
    path: Path, output: str, inner: tuple[str, ...], shape: tuple[int, ...], embedding: str | None = None
) -> tuple[OnnxRuntime, dict[str, str]]:
    """Return what runs an ONNX file with inner outputs, and the names by which it gives them, by their own.

    Args:
        path: the file.
        output: its output with the classes.
        inner: of `embedding` and `attention`.
        shape: of what it takes for one image, with the batch.
        embedding: the tensor that the user names.

    Raises:
        InputError: when it has none.
    """
    names, maps = {}, {}
    if EMBEDDING in inner:
        names[EMBEDDING] = embedding_tensor(path, output, embedding)
    if ATTENTION in inner:
        maps = feature_maps(path, shape)
    runtime = OnnxRuntime(path, list(names.values()), maps)
    return runtime, names | {f"{ATTENTION}_{number}": f"{name}/attention" for number, name in enumerate(maps, start=1)}


def load_predict(folder: Path) -> Predict:
    """Return the prediction of a teacher from elsewhere, from its folder."""
    return load_classifier(folder, read_json(folder / DESCRIPTION)).predict


def description_digest(described: Mapping[str, Any]) -> str:
    """Return the SHA-256 over what a teacher's outputs depend on."""
    names = ("files", "pixels", "takes", "output", "outputs_are", "classes", "images")
    tree = {name: described.get(name) for name in names}
    tree |= {name: described[name] for name in ["embedding"] if name in described}
    if described["kind"] == "ensemble":
        tree = [described["ensemble"], *map(description_digest, described["members"])]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def check_unchanged(described: Mapping[str, Any], folder: Path) -> None:
    """Check that files outside of DVC's sight, which the teacher was taken with, are still what they were.

    DVC sees a change of `train_teacher.model` alone: of a configuration or of weights beside a model it sees none.

    Raises:
        InputError: when one has changed.
    """
    for path, digest in described["beside"].items():
        if Path(path).is_file() and file_digest(path) != digest:
            raise InputError(
                f"{path}: changed since the teacher in {folder} was taken with it; run `dvc repro --force"
                " train_teacher`"
            )


Teacher = TrainedTeacher | TakenTeacher


def save_teacher(model: keras.Model, folder: Path, images: np.ndarray, precision: str) -> None:
    """Write a trained teacher as Keras file and as ONNX file; where ONNX has no such model, say so and leave it out.

    Args:
        model: from raw pixels, uint8, (batch, height, width, channels), to logits (batch, classes).
        folder: where to.
        images: some of the data set, uint8, (n, height, width, channels), on which both are compared.
        precision: that it was trained in.
    """
    from distillery.learning.onnx_writer import write_onnx
    from distillery.learning.saving import save_model

    save_model(model, folder / KERAS_FILE)
    write_json(folder / DESCRIPTION, {"precision": precision})
    try:
        write_onnx(model, folder / ONNX_FILE, images)
    except InputError as error:
        print(f"note: {error}; so Keras runs the teacher, which takes seconds longer to start", flush=True)


def load_teacher(folder: str | Path) -> Teacher:
    """Return the teacher in a folder, trained here or taken.

    Raises:
        InputError: when a file is missing or damaged.
    """
    folder = Path(folder)
    taken = (folder / DESCRIPTION).is_file() and "kind" in read_json(folder / DESCRIPTION)
    return TakenTeacher(folder) if taken else TrainedTeacher(folder)
