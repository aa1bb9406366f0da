"""ResNet-50: He et al. 2016 (arXiv 1512.03385), as keras.applications has it; 32 × 32 pixels and more."""

from keras import applications, layers, ops


def features(pixels, dropout: float, *, weights: str | None = None):
    """Return features, (batch, units), of raw uint8 pixels, (batch, height, width, channels).

    Args:
        pixels: grey ones become three equal channels.
        dropout: rate before the logits.
        weights: `imagenet` for Keras's own, which was trained on Caffe's pixels: blue first, less ImageNet's mean.
    """
    planes = [pixels, pixels, pixels] if pixels.shape[-1] == 1 else ops.split(pixels, 3, axis=-1)[::-1]
    x = layers.Rescaling(1, offset=[-103.939, -116.779, -123.68])(layers.Concatenate()(planes))
    network = applications.ResNet50(
        include_top=False, weights=weights, input_tensor=x, input_shape=x.shape[1:], pooling="avg"
    )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras's 0.99 takes hundreds of steps until the moving statistics are the images'
    return layers.Dropout(dropout)(network.output)
