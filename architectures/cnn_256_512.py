"""The teacher of the Keras code example on knowledge distillation; 1,433,610 parameters on MNIST."""

from keras import layers


def features(pixels, dropout: float):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels)."""
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(256, 3, strides=2, padding="same")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.MaxPooling2D(2, strides=1, padding="same")(x)
    x = layers.Conv2D(512, 3, strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    return layers.Dropout(dropout)(x)
