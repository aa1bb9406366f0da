"""MobileNetV2: Sandler et al. 2018 (arXiv 1801.04381), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers


def features(pixels, dropout: float, *, width: float = 1.0, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        width: multiplies the channels of every layer.
        weights: `imagenet` for Keras's own; it has those of the widths 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4.
    """
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate()([pixels, pixels, pixels])
    x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    network = applications.MobileNetV2(
        alpha=width, include_top=False, weights=weights, input_tensor=x, input_shape=x.shape[1:], pooling="avg"
    )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras's 0.999 takes thousands of steps until the moving statistics are the images'
    return layers.Dropout(dropout)(network.output)
