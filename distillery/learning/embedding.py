"""The embedding of an image: what the last dense layer of a Keras classifier sees."""

import keras

from distillery.data.errors import InputError


def with_embedding(model: keras.Model, name: str) -> keras.Model:
    """Return the same model with two outputs: `logits`, and `embedding`, float32, (batch, units).

    It shares its layers with the model that is given. Layers after the last dense one do not matter.

    Args:
        model: a functional or sequential classifier.
        name: of the model, for messages.

    Raises:
        InputError: when none of its layers is dense.
    """
    dense = [layer for layer in getattr(model, "layers", []) if isinstance(layer, keras.layers.Dense)]
    if not dense:
        raise InputError(
            f"{name}: none of its layers is dense, so that it has no embedding; accepted: a dense last layer"
        )
    embedding = dense[-1].input
    if len(embedding.shape) > 2:
        embedding = keras.layers.Flatten(dtype=embedding.dtype)(embedding)
    return keras.Model(model.inputs, {"logits": model.output, "embedding": keras.ops.cast(embedding, "float32")})
