"""Where the inner outputs of a classifier are in an ONNX graph: its embedding, and its feature maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import helper

from distillery.data.errors import InputError
from distillery.learning.onnx_cost import shapes_of

DENSE = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits")
# What may come after the last dense layer without a new meaning: of one input that is not a constant.
AFTER = {
    *("Add", "Clip", "Div", "Mul", "Sub"),  # a bias, a temperature
    *("Cast", "Concat", "DequantizeLinear", "Dropout", "Flatten", "Gather", "Identity", "QuantizeLinear", "Reshape"),
    *("LogSoftmax", "Sigmoid", "Softmax", "Squeeze", "Transpose", "Unsqueeze", "ZipMap"),
}
# What gives feature maps of feature maps.
OF_MAPS = {
    *("Add", "BatchNormalization", "Cast", "Clip", "Div", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity"),
    *("InstanceNormalization", "LeakyRelu", "Mish", "Mul", "PRelu", "Relu", "Sigmoid", "Softplus", "Sub", "Swish"),
    *("AveragePool", "MaxPool", "Concat"),
}
SUM_IN_INPUTS = 13  # from this operator set on, ReduceSum has its axes as an input


def embedding_tensor(path: Path, output: str, given: str | None = None) -> str:
    """Return the name of the tensor that is the embedding.

    Args:
        path: an ONNX file.
        output: its output with the classes.
        given: the tensor that the user names; None to find the last dense layer before the output.

    Raises:
        InputError: when there is no such tensor, or no dense layer.
    """
    graph = onnx.load(path, load_external_data=False).graph
    producers = {name: node for node in graph.node for name in node.output}
    if given is not None:
        if given not in producers:
            names = [one.name for one in graph.output]
            raise InputError(
                f"train_teacher.embedding: found {given!r}; accepted: a tensor of {path}: an output"
                f" ({', '.join(names)}), or what one of its {len(graph.node)} nodes gives"
            )
        return given
    constant = {one.name for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" or (node.input and all(name in constant or not name for name in node.input)):
            constant.update(node.output)
    tensor = output
    while node := producers.get(tensor):
        inputs = [name for name in node.input if name and name not in constant]
        if node.op_type in DENSE and inputs and inputs[0] == node.input[0]:
            return inputs[0]
        if node.op_type not in AFTER or not inputs:
            break
        tensor = inputs[0]
    raise InputError(
        f"{path}: no dense layer was found before its output {output!r}; accepted: train_teacher.embedding names the"
        " tensor that is the embedding"
    )


def feature_maps(path: Path, shape: Sequence[int]) -> dict[str, int]:
    """Return the names of the last feature maps of each resolution, the deepest first, and which axis the channels are.

    Args:
        path: an ONNX file.
        shape: of what it takes for one image, with the batch.

    Raises:
        InputError: when it has none, or their sizes cannot be told.
    """
    model = onnx.load(path, load_external_data=False)
    shapes, maps, last = shapes_of(model, shape), {}, {}
    for node in model.graph.node:
        made = node.op_type in ("Conv", "ConvInteger", "QLinearConv", "FusedConv")
        axes = {1} if made else {maps[name] for name in node.input if name in maps}
        found = shapes.get(node.output[0], ())
        if len(axes) != 1 or len(found) != 4 or not all(found):
            continue
        (axis,) = axes
        if node.op_type == "Transpose":
            axis = list(helper.get_node_attr_value(node, "perm")).index(axis)
        elif not made and node.op_type not in OF_MAPS:
            continue
        maps[node.output[0]] = axis
        size = tuple(length for place, length in enumerate(found) if place not in (0, axis))
        last.pop(size, None)
        last[size] = node.output[0]
    names = [name for size, name in last.items() if max(size) > 1]
    if not names:
        raise InputError(f"{path}: no feature maps were found in it; accepted: a convolutional network in ONNX")
    return {name: maps[name] for name in names[::-1]}


def with_tensors(path: Path, tensors: Sequence[str], maps: Mapping[str, int]) -> onnx.ModelProto:
    """Return a model that gives tensors of its inside, too; its external weights stay where they are.

    Args:
        path: an ONNX file.
        tensors: their names.
        maps: names of feature maps and the axes of their channels; of each `<name>/attention` is given: float32,
            (batch, height, width), the sum over the channels of the squares.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    version = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    for name, axis in maps.items():
        steps = [f"{name}/{step}" for step in ("float", "squares", "attention")]
        graph.node.append(helper.make_node("Cast", [name], [steps[0]], to=onnx.TensorProto.FLOAT))
        graph.node.append(helper.make_node("Mul", [steps[0], steps[0]], [steps[1]]))
        inputs, axes = [steps[1]], {"axes": [axis]}
        if version >= SUM_IN_INPUTS:
            inputs, axes = [*inputs, f"{name}/axis"], {}
            graph.initializer.append(helper.make_tensor(inputs[1], onnx.TensorProto.INT64, [1], [axis]))
        graph.node.append(helper.make_node("ReduceSum", inputs, [steps[2]], keepdims=0, **axes))
    given = {one.name for one in graph.output}
    for name in (*tensors, *(f"{name}/attention" for name in maps)):
        if name not in given:
            graph.output.append(onnx.ValueInfoProto(name=name))
    return model
