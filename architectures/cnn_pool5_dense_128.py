"""A 5 × 5 convolution (32), 5 × 5 max-pooling and a dense layer of 128; 67,786 parameters on MNIST."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(32, 5, activation="relu")(x)
    x = layers.MaxPooling2D(5)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return layers.Dropout(dropout)(x)
