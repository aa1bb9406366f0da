"""Where the embedding of an image is in an ONNX graph: what the last dense layer multiplies by its weights."""

from pathlib import Path

import onnx

from distillery.data.errors import InputError

DENSE = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits")
# What may come after the last dense layer without a new meaning: of one input that is not a constant.
AFTER = {
    *("Add", "Clip", "Div", "Mul", "Sub"),  # a bias, a temperature
    *("Cast", "Concat", "DequantizeLinear", "Dropout", "Flatten", "Gather", "Identity", "QuantizeLinear", "Reshape"),
    *("LogSoftmax", "Sigmoid", "Softmax", "Squeeze", "Transpose", "Unsqueeze", "ZipMap"),
}


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
