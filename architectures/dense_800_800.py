"""Two dense layers of 800: the MNIST student of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3)."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Flatten()(x)
    for width in (800, 800):
        x = layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x
