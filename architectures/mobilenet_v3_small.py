"""MobileNetV3-Small: Howard et al. 2019 (arXiv 1905.02244), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers

from distillery.learning.headless import in_colour, pooled


def features(pixels, dropout: float, *, width: float = 1.0, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        width: multiplies the channels of every layer.
        weights: `imagenet` for Keras's own; it has those of the widths 0.75 and 1.0.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1)(in_colour(pixels))
    x = pooled(applications.MobileNetV3Small, x, alpha=width, weights=weights, include_preprocessing=False)
    return layers.Dropout(dropout)(x)
