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


def cnn_256_512(images, dropout: float):
    """The teacher of the Keras code example on knowledge distillation; 1,433,610 parameters on MNIST."""
    return _keras_guide(images, (256, 512), dropout)


def cnn_16_32(images, dropout: float):
    """The student of the Keras code example on knowledge distillation; 20,490 parameters on MNIST."""
    return _keras_guide(images, (16, 32), dropout)


def cnn_pool5_dense_128(images, dropout: float):
    """A 5 × 5 convolution (32), 5 × 5 max-pooling and a dense layer of 128; 67,786 parameters on MNIST."""
    x = layers.Conv2D(32, 5, activation="relu")(images)
    x = layers.MaxPooling2D(5)(x)
    return _dense(x, (128,), dropout)


def cnn_dense_1200_1200(images, dropout: float):
    """A 3 × 3 convolution (32) and two dense layers of 1200; 27,413,130 parameters on MNIST."""
    x = layers.Conv2D(32, 3, activation="relu")(images)
    return _dense(x, (1200, 1200), dropout)


def vgg_64_128_256(images, dropout: float):
    """Three blocks of two 3 × 3 convolutions (64, 128, 256), then dense 512; 3,249,098 trainable on CIFAR-10."""
    x = images
    for filters in (64, 128, 256):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(dropout / 2)(x)
    return _dense(x, (512,), dropout)


def cnn_32_64_dense_128(images, dropout: float):
    """Two 3 × 3 convolutions (32, 64), each with max-pooling, then dense 128; 545,098 parameters on CIFAR-10."""
    x = images
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return _dense(x, (128,), dropout)


def dense_1200_1200(images, dropout: float):
    """The MNIST teacher of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3).

    Its dropout is that of Hinton et al. 2012 (arXiv 1207.0580): 0.5 drops half of the hidden units and a fifth of the
    pixels.
    """
    return _dense(layers.Dropout(0.4 * dropout)(images), (1200, 1200), dropout)


def dense_800_800(images, dropout: float):
    """Two dense layers of 800: the MNIST student of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3)."""
    return _dense(images, (800, 800), dropout)


def dense_128(images, dropout: float):
    """One dense layer of 128; 101,770 parameters on MNIST."""
    return _dense(images, (128,), dropout)


def dense_10_10(images, dropout: float):
    """Two dense layers of 10; 8,070 parameters on MNIST."""
    return _dense(images, (10, 10), dropout)


def _dense(x, units: tuple[int, ...], dropout: float):
    x = layers.Flatten()(x)
    for width in units:
        x = layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x


def _keras_guide(images, filters: tuple[int, int], dropout: float):
    x = layers.Conv2D(filters[0], 3, strides=2, padding="same")(images)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.MaxPooling2D(2, strides=1, padding="same")(x)
    x = layers.Conv2D(filters[1], 3, strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    return layers.Dropout(dropout)(x)
