"""The architectures, one public function each; its name is what `….architecture` in `params.yaml` accepts.

A function takes the images, already scaled to 0…1, as a symbolic tensor (batch, height, width, channels) and returns
features, (batch, units). What comes before (raw uint8 pixels, rescaling) and after (the logits) is the same for all and
stands in `models.build_model`. To add an architecture, add a function.
"""

from keras import layers


def cnn(images, dropout: float):
    """Two strided 5 × 5 convolutions (32, 64) and a dense layer of 1024: small maps early keep it quick on a CPU."""
    x = layers.Conv2D(32, 5, strides=2, padding="same", activation="relu")(images)
    x = layers.Conv2D(64, 5, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(1024, activation="relu")(x)
    return layers.Dropout(dropout)(x)


def dense_800_800(images, dropout: float):
    """Two dense layers of 800: the MNIST student of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3)."""
    return _dense(images, (800, 800), dropout)


def _dense(images, units: tuple[int, ...], dropout: float):
    x = layers.Flatten()(images)
    for width in units:
        x = layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x
