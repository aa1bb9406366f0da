"""A Keras model in the formats of other runtimes: raw uint8 pixels in, float32 logits out, any number of images.

Conversion is the work of libraries: LiteRT's converter, which comes with TensorFlow, and tf2onnx through Keras's own
`export`. The same weights always give the same bytes.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import written_whole


def write_litert(model: keras.Model, path: str | Path) -> None:
    """Write a `.tflite` file with float32 weights.

    Args:
        model: from uint8 (batch, height, width, channels) to logits (batch, classes).
        path: where to.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    _write_litert(model, path, calibration_images=None)


def write_litert_int8(model: keras.Model, path: str | Path, calibration_images: np.ndarray) -> None:
    """Write a `.tflite` file whose weights and activations are 8-bit integers (Jacob et al. 2018, arXiv 1712.05877).

    Args:
        model: from uint8 (batch, height, width, channels) to logits (batch, classes).
        path: where to.
        calibration_images: uint8, (n, height, width, channels): images like those to come; the range that each
            activation takes on them is what its 8 bits stand for.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    _write_litert(model, path, calibration_images)


def _write_litert(model: keras.Model, path: str | Path, calibration_images: np.ndarray | None) -> None:
    _needs_tensorflow()
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration_images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration_images)
    with _quiet():
        content = converter.convert()
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_onnx(model: keras.Model, path: str | Path) -> None:
    """Write an `.onnx` file with float32 weights; its input is called `pixels`, its output `logits`.

    Args:
        model: from uint8 (batch, height, width, channels) to logits (batch, classes).
        path: where to.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    _needs_tensorflow()
    import onnx

    model(keras.ops.zeros((1, *model.input_shape[1:]), "uint8"))  # Keras exports none that was never called
    with tempfile.TemporaryDirectory() as folder, _quiet():
        as_keras_writes = Path(folder) / "model.onnx"
        model.export(as_keras_writes, format="onnx", verbose=False)
        exported = onnx.load(as_keras_writes)
    _name_by_order(exported.graph)
    with written_whole(path) as temporary:
        onnx.save(exported, temporary)


def _name_by_order(graph) -> None:
    """Name what stands in an ONNX graph by its operation and its order there.

    tf2onnx's and TensorFlow's own names hold numbers that grow with all that a process ever did, so that the same model
    does not have the same bytes twice.
    """
    (pixels,), (logits,) = graph.input, graph.output
    names = {pixels.name: "pixels", logits.name: "logits"}
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        for position, name in enumerate(node.input):
            if name:  # an input that is left out has none
                node.input[position] = names.setdefault(name, f"constant_{number}_{position}")
        for position, name in enumerate(node.output):
            node.output[position] = names.setdefault(name, f"{node.op_type}_{number}_{position}")
    for value in (pixels, logits, *graph.initializer):
        value.name = names[value.name]
    for value in (pixels, logits):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    initializers = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:], graph.value_info[:]  # the latter are shapes that a runtime finds by itself
    graph.initializer.extend(initializers)
    graph.doc_string = ""


def _needs_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"KERAS_BACKEND: found {keras.backend.backend()}; models are exported by TensorFlow alone: "
            "`KERAS_BACKEND=tensorflow dvc repro` goes on with the models that another backend trained"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the converters log, which is many lines of no use to anyone, unless they fail."""
    sys.stdout.flush()
    sys.stderr.flush()
    terminals = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as caught:
        for descriptor in (1, 2):
            os.dup2(caught.fileno(), descriptor)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException:
            caught.seek(0)
            os.write(terminals[1], caught.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, terminal in enumerate(terminals, start=1):
                os.dup2(terminal, descriptor)
                os.close(terminal)
