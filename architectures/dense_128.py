"""One dense layer of 128; 101,770 parameters on MNIST."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return layers.Dropout(dropout)(x)
