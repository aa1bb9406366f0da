"""EfficientNetV2-B0: Tan & Le 2021 (arXiv 2104.00298), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers

from distillery.learning.headless import in_colour, pooled

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, 0 to 1


def features(pixels, dropout: float, *, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        weights: `imagenet` for Keras's own.
    """
    scale = [1 / (255 * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    x = layers.Rescaling(scale, offset)(in_colour(pixels))
    x = pooled(applications.EfficientNetV2B0, x, weights=weights, include_preprocessing=False)
    return layers.Dropout(dropout)(x)
