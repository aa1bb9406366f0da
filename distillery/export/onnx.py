"""ONNX with float32 weights, by tf2onnx through Keras's own `export`. The same weights give the same bytes."""

import os
import tempfile
from pathlib import Path

import keras
import onnx
import onnxruntime

from distillery.data.files import atomic_write
from distillery.export.conversion import quiet, require_tensorflow
from distillery.export.student import ExportedStudent, Predict

FILE = "student.onnx"


def write(student: ExportedStudent, path: Path) -> None:
    """Write an `.onnx` file; its input is called `pixels`, its output `logits`.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    require_tensorflow()
    model = student.model
    model(keras.ops.zeros((1, *model.input_shape[1:]), "uint8"))  # Keras exports no model that was never called
    with tempfile.TemporaryDirectory() as folder, quiet():
        as_keras_writes = Path(folder) / "model.onnx"
        model.export(as_keras_writes, format="onnx", verbose=False)
        exported = onnx.load(as_keras_writes)
    _name_by_order(exported.graph)
    with atomic_write(path) as temporary:
        onnx.save(exported, temporary)


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


def load(path: Path) -> Predict:
    """Return the model's prediction in ONNX Runtime, on all cores."""
    options = onnxruntime.SessionOptions()
    # Note: a given number does not pin threads to cores, which fails in containers.
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]
