"""A classifier in an ONNX file from elsewhere, run by ONNX Runtime. No code of the file is executed."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from distillery.data.errors import InputError, reason
from distillery.learning.onnx_cost import multiply_adds, parameters
from distillery.teachers.inner_tensors import with_tensors
from distillery.teachers.tensors import Takes, takes

TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}
MAPS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")  # a mapping an image, scikit-learn's way
NUMBERS = ("tensor(float)", "tensor(float16)", "tensor(double)", *MAPS)
C_FUNCTION = r"/onnxruntime_src/\S+ [^()]*\([^()]*\)(?: const)? "  # where in ONNX Runtime an error was found
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxRuntime:
    """An ONNX file, on a GPU where ONNX Runtime has one, else on all cores.

    Args:
        path: the file; external weights lie beside it.
        tensors: inside it, that `run` can be asked for besides its outputs, and
        maps: feature maps inside it and the axes of their channels: `run` can be asked for their attention, as
            `with_tensors` gives it.

    Attributes:
        name: of the runtime.

    Raises:
        InputError: when it cannot be run, or takes other than one input.
    """

    name = "ONNX Runtime"

    def __init__(self, path: Path, tensors: Sequence[str] = (), maps: Mapping[str, int] | None = None):
        self.path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # an exception says what goes wrong; notes on foreign graphs are no use
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        if tensors or maps:  # a model that is given as bytes
            weights = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(weights, str(path.parent.resolve()))
        there = onnxruntime.get_available_providers()
        try:
            self._session = onnxruntime.InferenceSession(
                with_tensors(path, tensors, maps or {}).SerializeToString() if tensors or maps else str(path),
                options,
                providers=[provider for provider in PROVIDERS if provider in there],
            )
        except Exception as error:  # ONNX Runtime has an exception for each of its status codes
            raise InputError(f"{path}: {_why(error)}") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            named = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise InputError(f"{path}: it has {len(inputs)} inputs ({named}); accepted: one, the images")
        self._input = inputs[0]
        self.outputs = [one.name for one in self._session.get_outputs() if one.type in NUMBERS]
        if not self.outputs:
            found = ", ".join(f"{one.name} {one.type}" for one in self._session.get_outputs())
            raise InputError(f"{path}: its outputs are {found}; accepted: a tensor of floating-point numbers")

    def takes(self, image_shape: tuple[int, int, int]) -> list[Takes]:
        """Return what its input takes, for images of a shape (height, width, channels), the likeliest layout first."""
        shape = [axis if isinstance(axis, int) and axis > 0 else None for axis in self._input.shape]
        shape = shape or [None] * 4  # none is said
        dtype = TYPES.get(self._input.type, self._input.type)
        return takes(shape, dtype, image_shape, "nchw", f"{self.path}: {self._input.name}")

    def run(self, tensor: np.ndarray, names: list[str] | None = None) -> list[np.ndarray]:
        """Return its outputs, all or those of some names.

        Raises:
            InputError: when it does not take such an array.
        """
        try:
            found = self._session.run(names or self.outputs, {self._input.name: tensor})
        except Exception as error:  # as above
            raise InputError(
                f"{self.path}: it does not take arrays of shape {tensor.shape} ({reason(error)})"
            ) from None
        return [np.array([list(row.values()) for row in one]) if isinstance(one, list) else one for one in found]

    def cost(self, shape: tuple[int, ...]) -> tuple[int, int | None]:
        """Return the number of weights, and the multiply-adds of one image; None where they cannot be counted.

        Args:
            shape: of the array that it takes in one call, with the batch.
        """
        model = onnx.load(self.path, load_external_data=False)
        adds = multiply_adds(model, shape)
        return parameters(model), adds and adds // shape[0]


def files_of(path: Path) -> list[Path]:
    """Return the files that make up an ONNX model: itself, and its external weights.

    Raises:
        InputError: when it is no ONNX file, or a file of weights is missing or lies elsewhere.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises whatever it raises
        raise InputError(f"{path}: not an ONNX model that can be read ({reason(error)})") from None
    names = {
        entry.value
        for tensor in _tensors(model.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = [path]
    for name in sorted(names):
        beside = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path}: its weights are in {name}; accepted: a file beside it")
        if not beside.is_file():
            raise InputError(f"{path}: its weights are in {beside}: no such file; copy it beside the model, too")
        files.append(beside)
    return files


def _tensors(graph: onnx.GraphProto):
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(inner)


def _why(error: Exception) -> str:
    """Return in one line why ONNX Runtime does not run a model."""
    said = " ".join(str(error).split())
    found = re.search(r"Fatal error: (\S+) is not a registered function/op", said)
    custom = found or re.search(r"No Op registered for (\S+)", said) or re.search(r"(\S+) is not a registered", said)
    if custom:
        return (
            f"it has the operator {custom[1]}, which ONNX Runtime does not know; accepted: the operators of ONNX, since"
            " no code of a file is run"
        )
    for words in (r"\[ONNXRuntimeError\] : \d+ : \w+ : ", r"Load model from .* failed:", C_FUNCTION):
        said = re.sub(words, "", said)
    return f"not an ONNX model that ONNX Runtime {onnxruntime.__version__} can run ({reason(said)})"
