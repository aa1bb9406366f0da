"""A classifier in a Keras file from elsewhere, run by Keras. No code of the file is executed."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError, reason
from distillery.learning.devices import xla_is_faster
from distillery.learning.inner_outputs import with_inner_outputs
from distillery.learning.saving import load_model
from distillery.teachers.tensors import Takes, takes

ONNX_SAMPLES = 8  # images on which the ONNX file is compared with Keras


class KerasRuntime:
    """A `.keras`, `.h5` or `.hdf5` file.

    Args:
        path: the file.
        inner: names of inner outputs that `run` can be asked for besides its own: `with_inner_outputs`.

    Attributes:
        name: of the runtime.
        inner: names of the inner outputs.

    Raises:
        InputError: when it cannot be read in safe mode, takes other than one input, or has no such inner outputs.
    """

    name = "Keras"

    def __init__(self, path: Path, inner: Sequence[str] = ()):
        self.path = path
        model = load_model(path)
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise InputError(
                f"{path}: it does not say what it takes; accepted: a model that was built before it was saved"
            )
        if len(inputs) != 1:
            raise InputError(f"{path}: it has {len(inputs)} inputs; accepted: one, the images")
        self._model, self._input = model, inputs[0]
        outputs = keras.tree.flatten(model.outputs)
        names = getattr(model, "output_names", None) or [f"output_{number}" for number in range(len(outputs))]
        self.outputs = list(names)
        self.inner: list[str] = []
        if inner:
            found = with_inner_outputs(model, inner, str(path)).output
            self.inner = [name for name in found if name != "logits"]
            self._model = keras.Model(inputs, [*outputs, *(found[name] for name in self.inner)])
            self.outputs += self.inner

    def takes(self, image_shape: tuple[int, int, int]) -> list[Takes]:
        """Return what its input takes, for images of a shape (height, width, channels), the likeliest layout first."""
        dtype = keras.backend.standardize_dtype(self._input.dtype)
        return takes(self._input.shape, dtype, image_shape, "nhwc", str(self.path))

    def run(self, tensor: np.ndarray, names: list[str] | None = None) -> list[np.ndarray]:
        """Return its outputs, all or those of some names.

        Raises:
            InputError: when it does not take such an array.
        """
        try:
            found = [np.asarray(one) for one in keras.tree.flatten(self._model.predict_on_batch(tensor))]
        except Exception as error:  # Keras raises whatever its backend raises
            raise InputError(
                f"{self.path}: it does not take arrays of shape {tensor.shape} ({reason(error)})"
            ) from None
        return [found[self.outputs.index(name)] for name in names or self.outputs]

    def cost(self, shape: tuple[int, ...]) -> tuple[int, int | None]:
        """Return the number of weights; the multiply-adds of one image are known where there is an ONNX file."""
        return self._model.count_params(), None

    def write_onnx(self, path: Path, tensor: np.ndarray, output: str) -> None:
        """Write the same as an ONNX file, whose outputs are those of one name.

        Args:
            path: where to.
            tensor: what it takes for some images, on which both are compared.
            output: the name of the output.

        Raises:
            InputError: when ONNX has no such model, or gives others.
        """
        from distillery.learning.onnx_writer import write_onnx  # imports tf2onnx

        images = keras.Input(tensor.shape[1:], dtype=tensor.dtype.name, name="pixels")
        outputs = keras.tree.flatten(self._model(images, training=False))
        found = outputs[self.outputs.index(output)]
        one = keras.Model(images, keras.ops.cast(found, "float32"), name="teacher")
        one.jit_compile = xla_is_faster()
        write_onnx(one, path, tensor[:ONNX_SAMPLES])
