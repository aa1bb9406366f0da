"""Outputs of the inside of a Keras classifier: its embedding, and the attention of its feature maps."""

from collections.abc import Collection

import keras
from keras import ops

from distillery.data.errors import InputError
from distillery.learning.prediction import ATTENTION, EMBEDDING

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
RESHAPING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D, keras.layers.UpSampling2D)


def with_inner_outputs(model: keras.Model, names: Collection[str], what: str) -> keras.Model:
    """Return the same model with `logits` and further outputs by name. It shares its layers with the one that is given.

    Args:
        model: a functional or sequential classifier.
        names: of `embedding`, float32, (batch, units): what the last dense layer sees; and of `attention`:
            `attention_1`, `attention_2` …, float32, (batch, height, width), as `attention` gives it, of the last maps
            of each resolution, the deepest first.
        what: it is, for messages.

    Raises:
        InputError: when it has no dense layer for an embedding, or no convolution for attention.
    """
    outputs = {"logits": model.output}
    if EMBEDDING in names:
        outputs[EMBEDDING] = ops.cast(_embedding(model, what), "float32")
    if ATTENTION in names:
        for number, maps in enumerate(_feature_maps(model, what), start=1):
            outputs[f"{ATTENTION}_{number}"] = attention(maps)
    return keras.Model(model.inputs, outputs)


def attention(maps):
    """Return the sum over the channels of the squares, divided by its norm over the places, float32.

    Zagoruyko & Komodakis 2017 (arXiv 1612.03928), section 3.1: F²sum.

    Args:
        maps: float, (batch, height, width, channels).
    """
    squares = ops.sum(ops.square(ops.cast(maps, "float32")), axis=-1)
    return squares / (ops.sqrt(ops.sum(ops.square(squares), axis=(1, 2), keepdims=True)) + 1e-12)


def _embedding(model: keras.Model, what: str):
    dense = [layer for layer in getattr(model, "layers", []) if isinstance(layer, keras.layers.Dense)]
    if not dense:
        raise InputError(
            f"{what}: none of its layers is dense, so that it has no embedding; accepted: a dense last layer"
        )
    embedding = dense[-1].input
    return embedding if len(embedding.shape) == 2 else keras.layers.Flatten(dtype=embedding.dtype)(embedding)


def _feature_maps(model: keras.Model, what: str) -> list:
    """Return the last maps of each resolution, the deepest first: what convolutions give, and what is made of it."""
    maps, last = set(), {}
    for operation in getattr(model, "operations", []):
        output = operation.output
        if not isinstance(output, keras.KerasTensor) or len(output.shape) != 4 or isinstance(operation, RESHAPING):
            continue
        inputs = keras.tree.flatten(operation.input)
        if isinstance(operation, CONVOLUTIONS) or any(id(one) in maps for one in inputs):
            maps.add(id(output))
            last.pop(output.shape[1:3], None)
            last[output.shape[1:3]] = output
    found = [output for size, output in last.items() if max(size) > 1]
    if not found:
        raise InputError(f"{what}: it has no convolution, and so no feature maps; accepted: a convolutional network")
    return found[::-1]
