"""The MNIST teacher of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3).

Its dropout is that of Hinton et al. 2012 (arXiv 1207.0580): 0.5 drops half of the hidden units and a fifth of the
pixels.
"""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Dropout(0.4 * dropout)(x)
    x = layers.Flatten()(x)
    for width in (1200, 1200):
        x = layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x
