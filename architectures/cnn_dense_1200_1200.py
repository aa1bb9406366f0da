"""A 3 × 3 convolution (32) and two dense layers of 1200; 27,413,130 parameters on MNIST."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    for width in (1200, 1200):
        x = layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x
