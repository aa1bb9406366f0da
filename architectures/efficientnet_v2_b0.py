"""EfficientNetV2-B0: Tan & Le 2021 (arXiv 2104.00298), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, 0 to 1


def features(pixels, dropout: float, *, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        weights: `imagenet` for Keras's own.
    """
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate()([pixels, pixels, pixels])
    scale = [1 / (255 * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    x = layers.Rescaling(scale, offset)(pixels)
    network = applications.EfficientNetV2B0(
        include_top=False,
        weights=weights,
        input_tensor=x,
        input_shape=x.shape[1:],
        pooling="avg",
        include_preprocessing=False,
    )
    return layers.Dropout(dropout)(network.output)
