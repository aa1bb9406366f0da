"""Networks of `keras.applications`, or of a `.keras` file, as the features of a student."""

from collections.abc import Callable

import keras

MOMENTUM = 0.9  # at most, of moving statistics: Keras's 0.99 and 0.999 follow new images in hundreds of steps or more


def in_colour(pixels):
    """Return pixels of three channels, (batch, height, width, 3); grey ones become three equal channels."""
    return keras.layers.Concatenate()([pixels, pixels, pixels]) if pixels.shape[-1] == 1 else pixels


def follow_images(layer: keras.layers.Layer) -> None:
    """Have the moving statistics of a layer, where it has any, become the images' within some dozen steps."""
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = min(layer.momentum, MOMENTUM)


def pooled(application: Callable[..., keras.Model], x, **arguments):
    """Return the features of a network of `keras.applications` without its last layer, (batch, units).

    Args:
        application: makes the network.
        x: its input, (batch, height, width, channels), scaled as it takes it.
        arguments: others of its own.
    """
    network = application(include_top=False, input_tensor=x, input_shape=x.shape[1:], pooling="avg", **arguments)
    for layer in network.layers:
        follow_images(layer)
    return network.output
