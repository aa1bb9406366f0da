"""ResNet-20 for small images: He et al. 2016 (arXiv 1512.03385, section 4.2); 269,722 trainable on CIFAR-10."""

from keras import layers, ops

CHANNELS, BLOCKS = (16, 32, 64), 3  # of a stage


def features(pixels, dropout: float, *, width: float = 1.0):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: of any size.
        dropout: rate before the logits.
        width: multiplies the channels of every layer.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = layers.ReLU()(_convolved(x, round(CHANNELS[0] * width)))
    for stage, channels in enumerate(CHANNELS):
        for block in range(BLOCKS):
            x = _block(x, round(channels * width), strides=2 if stage and not block else 1)
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))


def _block(x, channels: int, strides: int):
    """Return two convolutions and what passes them by: without parameters, further channels are zero."""
    y = layers.ReLU()(_convolved(x, channels, strides))
    y = _convolved(y, channels)
    if strides > 1:
        x = layers.MaxPooling2D(1, strides)(x)
    x = ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, channels - x.shape[-1]]]) if channels > x.shape[-1] else x
    return layers.ReLU()(layers.Add()([x, y]))


def _convolved(x, channels: int, strides: int = 1):
    x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9)(x)
