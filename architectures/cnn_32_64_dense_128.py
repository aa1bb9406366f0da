"""Two 3 × 3 convolutions (32, 64), each with max-pooling, then dense 128; 545,098 parameters on CIFAR-10."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return layers.Dropout(dropout)(x)
