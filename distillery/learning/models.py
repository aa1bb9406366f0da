"""Models: built, written to files and read back."""

import json
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import written_whole
from distillery.learning import architectures

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP archive can hold


def build_model(
    architecture: str,
    image_shape: tuple[int, ...],
    classes: int,
    *,
    dropout: float,
    seed: int,
    softmax_temperature: float = 1.0,
    max_norm: float = 0.0,
    precision: str = "float32",
    devices: int = 1,
) -> keras.Model:
    """A model from raw uint8 pixels to logits, freshly initialised.

    Keras's global state (layer names, random numbers) is reset first, so that the same arguments always give the same
    model, weights and names included, whatever was built before.

    Args:
        architecture: name of a function in `architectures`.
        image_shape: (height, width, channels).
        classes: number of logits.
        dropout: dropout rate where the architecture has dropout.
        seed: draws the initial weights and, while training, the dropout.
        softmax_temperature: the logits are divided by it.
        max_norm: bound of the norm of each unit's incoming weights in hidden dense layers, kept while training (Hinton
            et al. 2012, arXiv 1207.0580); 0 for none.
        precision: Keras dtype policy of the hidden layers. Weights and logits are float32 in any case.
        devices: of this host, that hold a copy of the weights each and share every batch.

    Returns:
        uint8 (batch, height, width, channels) → float32 (batch, classes).

    Raises:
        InputError: when the images are too small for the architecture.
    """
    keras.utils.clear_session()
    keras.distribution.set_distribution(_shared_by(devices))
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    pixels = keras.Input(image_shape, dtype="uint8", name="pixels")
    images = keras.layers.Rescaling(1 / 255, name="rescaling")(pixels)
    try:
        features = getattr(architectures, architecture)(images, dropout)
    except ValueError as error:
        raise InputError(
            f"architecture {architecture} does not fit images of {' x '.join(map(str, image_shape))}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
    if softmax_temperature != 1:
        logits = keras.layers.Rescaling(1 / softmax_temperature, dtype="float32", name="softmax_temperature")(logits)
    model = keras.Model(pixels, logits, name=architecture)
    if max_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dense) and layer.name != "logits":
                layer.kernel.constraint = keras.constraints.MaxNorm(max_norm, axis=0)
    return _on_fastest_path(model)


def check_devices(name: str, devices: int) -> None:
    """Whether a model can be trained on so many devices.

    Args:
        name: of the parameter, for messages.
        devices: its value.

    Raises:
        InputError: when there are not so many, or Keras's backend trains on one only.
    """
    if devices == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(
            f"params.yaml: {name}: found {devices}; accepted: 1 under {keras.backend.backend()}, or several with the"
            " environment variable KERAS_BACKEND=jax"
        )
    found = keras.distribution.list_devices()
    if devices > len(found):
        raise InputError(f"params.yaml: {name}: found {devices}; this host has {len(found)}: {', '.join(found)}")


def _shared_by(devices: int) -> keras.distribution.DataParallel | None:
    """How the models that are built from now on are distributed; None on one device."""
    if devices == 1:
        return None
    return keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:devices])


def on_several_cpus() -> bool:
    """Whether the model that was built last shares its batches among devices that are processors."""
    distribution = keras.distribution.distribution()
    return distribution is not None and keras.distribution.list_devices()[0].startswith("cpu")


def xla() -> bool:
    """Whether XLA is faster: under TensorFlow on a CPU it is slower (`python -m benchmarks precision`)."""
    return keras.backend.backend() != "tensorflow" or keras.distribution.list_devices()[0].startswith("gpu")


def _on_fastest_path(model: keras.Model) -> keras.Model:
    model.jit_compile = xla()
    return model


def served_copy(model: keras.Model, **build) -> keras.Model:
    """The same weights in float32, never compiled: what is saved, evaluated and shipped, whatever it was trained in.

    Args:
        model: a trained model.
        build: the arguments of `build_model` that made it, without those that matter in training alone.
    """
    weights = model.get_weights()
    copy = build_model(**build)
    copy.set_weights(weights)
    return copy


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a `.keras` file whose bytes depend on nothing but configuration and weights.

    Keras's own writer puts the date, and addresses of objects in memory, into the file, so that it never has the same
    hash twice. Here the dates are fixed and the objects numbered; plain `keras.models.load_model` opens the file.
    """
    with tempfile.TemporaryDirectory() as folder, written_whole(path) as temporary:
        as_keras_writes = Path(folder) / "model.keras"
        model.save(as_keras_writes)
        with zipfile.ZipFile(as_keras_writes) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in sorted(source.namelist()):
                target.writestr(zipfile.ZipInfo(name, _ZIP_DATE), _canonical(name, source.read(name)))


def _canonical(name: str, content: bytes) -> bytes:
    if not name.endswith(".json"):
        return content
    tree = json.loads(content)
    tree.pop("date_saved", None)
    numbers: dict[int, int] = {}

    def number_shared_objects(node):
        if isinstance(node, dict):
            if "shared_object_id" in node:
                node["shared_object_id"] = numbers.setdefault(node["shared_object_id"], len(numbers) + 1)
            for child in node.values():
                number_shared_objects(child)
        elif isinstance(node, list):
            for child in node:
                number_shared_objects(child)

    number_shared_objects(tree)
    return json.dumps(tree, indent=1, sort_keys=True).encode()


def load_model(path: str | Path) -> keras.Model:
    """Read a `.keras` file in Keras's safe mode: no code from the file is run.

    Raises:
        InputError: when the file is missing or is not a whole model.
    """
    try:
        return _on_fastest_path(keras.models.load_model(path, compile=False, safe_mode=True))
    except Exception as error:  # Keras raises whatever its readers of ZIP, JSON and HDF5 raise
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; run `dvc repro` first") from None
        raise InputError(
            f"{path}: not a Keras model that can be read ({' '.join(str(error).split())[:200]})"
        ) from error


def as_teacher(model: keras.Model, images: np.ndarray, classes: int, path: str | Path) -> keras.Model:
    """A user's own model as a teacher: checked, and giving logits even where it gives probabilities.

    Args:
        model: from raw pixels, 0 to 255, (batch, height, width, channels), to logits or probabilities.
        images: some of the data set, uint8, (n, height, width, channels).
        classes: number of classes of the data set.
        path: the model's file, for messages.

    Raises:
        InputError: when the model takes other images, gives other classes, or has several inputs or outputs.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(f"{path}: it has {len(model.inputs)} inputs, {len(model.outputs)} outputs; accepted: one each")
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    image_shape = images.shape[1:]
    if len(takes) != len(image_shape) or any(
        mine not in (None, size) for mine, size in zip(takes, image_shape, strict=True)
    ):
        raise InputError(f"{path}: it takes images of shape {takes}, the data set's are {image_shape}")
    if gives != (classes,):
        raise InputError(f"{path}: it gives outputs of shape {gives}, the data set has {classes} classes: ({classes},)")
    pixels = keras.Input(image_shape, dtype="uint8", name="pixels")
    outputs = keras.ops.cast(model(keras.ops.cast(pixels, model.inputs[0].dtype), training=False), "float32")
    found = np.asarray(model.predict_on_batch(images), np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{path}: it gives values that are not finite; accepted: logits or probabilities")
    if found.min() >= 0 and np.allclose(found.sum(axis=1), 1, atol=2e-2):  # bfloat16 is no closer
        # Probabilities; their logarithms are logits of them: the softmax gives them back.
        outputs = keras.ops.log(keras.ops.maximum(outputs, 1e-30))
    return _on_fastest_path(keras.Model(pixels, outputs, name="teacher"))
