"""ResNet-50: He et al. 2016 (arXiv 1512.03385), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers, ops

from distillery.learning.headless import pooled


def features(pixels, dropout: float, *, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        weights: `imagenet` for Keras's own, which was trained on Caffe's pixels: blue first, less ImageNet's mean.
    """
    planes = [pixels, pixels, pixels] if pixels.shape[-1] == 1 else ops.split(pixels, 3, axis=-1)[::-1]
    x = layers.Rescaling(1, offset=[-103.939, -116.779, -123.68])(layers.Concatenate()(planes))
    x = pooled(applications.ResNet50, x, weights=weights)
    return layers.Dropout(dropout)(x)
