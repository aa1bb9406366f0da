"""What an ONNX model costs: its weights, and the multiply-adds of one image."""

from collections.abc import Sequence

import numpy as np
import onnx

WEIGHTS = {  # types of tensors that are weights, also of quantised models; indices and shapes are int64
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
}
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
KERNELS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}  # which input is the kernel
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}  # left and right


def parameters(model: onnx.ModelProto) -> int:
    """Return the number of weights: of all tensors in the file that are not single numbers or whole ones."""
    constants = (
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    )
    tensors = [tensor for tensor in (*model.graph.initializer, *constants) if tensor.data_type in WEIGHTS]
    return int(sum(np.prod(tensor.dims, dtype=np.int64) for tensor in tensors if len(tensor.dims)))


def multiply_adds(model: onnx.ModelProto, shape: Sequence[int] | None = None) -> int | None:
    """Return the multiply-adds that one image costs: those of convolutions and products of matrices, nearly all.

    Each value of an output takes as many as there are weights that meet in it: of a convolution the kernel's, of a
    product of matrices the rows of the right one.

    Args:
        model: an ONNX model whose first axis is the batch.
        shape: of the input for one image, with the batch; None where all but the batch stands in the model.

    Returns:
        None where the shapes inside the model cannot be inferred, or operators are not ONNX's own, as those into which
        ONNX Runtime merges several.
    """
    if any(node.domain not in DOMAINS for node in model.graph.node):
        return None
    shapes = shapes_of(model, shape)
    count = 0
    for node in model.graph.node:
        if node.op_type in KERNELS:
            output, kernel = shapes.get(node.output[0]), shapes.get(node.input[KERNELS[node.op_type]])
            each = np.prod(kernel[1:]) if kernel else 0
        elif node.op_type in PRODUCTS:
            output, right = shapes.get(node.output[0]), shapes.get(node.input[PRODUCTS[node.op_type][1]])
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            each = right[-1 if transposed else -2 if len(right) > 1 else 0] if right else 0
        else:
            continue
        if (not output and output != []) or not each or 0 in output:
            return None
        count += np.prod(output) * each
    return int(count)


def shapes_of(model: onnx.ModelProto, shape: Sequence[int] | None = None) -> dict[str, list[int]]:
    """Return the shapes of the tensors in a model by their names, of one image; what is not known is 0 or missing.

    Args:
        model: an ONNX model whose first axis is the batch.
        shape: of the input for one image, with the batch; None where all but the batch stands in the model.
    """
    one = onnx.ModelProto()
    one.CopyFrom(model)
    weights = {tensor.name for tensor in one.graph.initializer}
    (value,) = (value for value in one.graph.input if value.name not in weights)
    axes = value.type.tensor_type.shape.dim
    for axis, length in zip(axes, shape or [1], strict=False):
        axis.ClearField("dim_param")
        axis.dim_value = length
    del one.graph.value_info[:]  # of another batch or size, perhaps
    for output in one.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(one, data_prop=True).graph
    except onnx.shape_inference.InferenceError:  # as of operators whose domain the model does not name
        return {}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    return shapes
