"""ONNX files with float32 weights, by tf2onnx through Keras's own `export`. The same weights give the same bytes."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx

from distillery.data.errors import InputError, reason
from distillery.data.files import atomic_write
from distillery.learning.conversion import quiet
from distillery.learning.onnx_cost import multiply_adds
from distillery.learning.onnx_model import MULTIPLY_ADDS, PARAMETERS, OnnxModel
from distillery.learning.saving import load_model, save_model

TOLERANCE = 1e-3  # of the logits: float32 sums in another order differ by less


def write_onnx(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Write an `.onnx` file, and check that ONNX Runtime gives what Keras does.

    Its input is called `pixels`, its output `logits`. The numbers of parameters and of multiply-adds stand in its
    metadata.

    Args:
        model: from uint8 pixels (batch, height, width, channels) to logits (batch, classes).
        path: where to.
        images: some of the data set, uint8, (n, height, width, channels), to compare the logits.

    Raises:
        InputError: when ONNX has no such model, or gives other logits.
    """
    write = _write if keras.backend.backend() == "tensorflow" else _write_by_tensorflow
    try:
        with atomic_write(path) as temporary:
            write(model, temporary)
            logits, found = model.predict_on_batch(images), OnnxModel(temporary).predict(images)
            if not np.allclose(found, logits, rtol=TOLERANCE, atol=TOLERANCE):
                raise ValueError(f"ONNX Runtime gives logits that differ by up to {np.abs(found - logits).max():.2g}")
    except Exception as error:  # tf2onnx and ONNX Runtime raise whatever they raise
        raise InputError(f"{path}: cannot be written as ONNX ({reason(error)})") from error


def _write(model: keras.Model, path: Path) -> None:
    model(
        keras.ops.zeros((1, *model.input_shape[1:]), model.inputs[0].dtype)
    )  # Keras exports no model that was never called
    with tempfile.TemporaryDirectory() as folder, quiet():
        as_keras_writes = Path(folder) / "model.onnx"
        model.export(as_keras_writes, format="onnx", verbose=False)
        exported = onnx.load(as_keras_writes)
    _name_by_order(exported.graph)
    numbers = {PARAMETERS: model.count_params(), MULTIPLY_ADDS: multiply_adds(exported)}
    onnx.helper.set_model_props(exported, {name: str(value) for name, value in numbers.items()})
    onnx.save(exported, path)


def _write_by_tensorflow(model: keras.Model, path: Path) -> None:
    """Have another process write the file: Keras exports to ONNX by the TensorFlow backend alone, as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model.keras"
        save_model(model, saved)
        command = [sys.executable, "-m", "distillery.learning.onnx_writer", str(saved), str(path)]
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(finished.stderr.strip().splitlines()[-1])


def _name_by_order(graph: onnx.GraphProto) -> None:
    """Name the parts of an ONNX graph by their operation and their order in it.

    Note: tf2onnx's and TensorFlow's own names hold numbers that grow with all that a process ever did, so that the same
    model would not have the same bytes twice.
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


if __name__ == "__main__":
    _write(load_model(sys.argv[1]), Path(sys.argv[2]))
