"""EfficientNet-Lite0 of PyTorch as a Keras file to start from. Its real weights gave what PyTorch gives, by hand."""

import sys

import numpy as np
from conftest import ROOT, spec

from distillery.learning.models import build_model

sys.path.append(str(ROOT / "examples"))
from student_from_efficientnet_lite import network

CHANNELS = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)  # of each block, Tan & Le 2019
KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)


def weights_as_pytorch_has_them() -> dict[str, np.ndarray]:
    """Weights of the published sizes, drawn at random."""
    random, found = np.random.default_rng(0), {}

    def add(name: str, normalised: str, *shape: int) -> None:
        found[f"{name}.weight"] = random.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{normalised}.{part}"] = random.uniform(0.5, 1, shape[0]).astype(np.float32)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    before = 32
    for number, (channels, side) in enumerate(zip(CHANNELS, KERNELS, strict=True)):
        name, inner = f"_blocks.{number}.", before * (6 if number else 1)
        if number:
            add(f"{name}_expand_conv", f"{name}_bn0", inner, before, 1, 1)
        add(f"{name}_depthwise_conv", f"{name}_bn1", inner, 1, side, side)
        add(f"{name}_project_conv", f"{name}_bn2", channels, inner, 1, 1)
        before = channels
    add("_conv_head", "_bn1", 1280, before, 1, 1)
    found["_fc.weight"], found["_fc.bias"] = np.ones((1000, 1280), np.float32), np.ones(1000, np.float32)
    return found


def test_network_has_the_published_size_and_is_a_student_to_start_from(tmp_path):
    own, path = network(weights_as_pytorch_has_them()), tmp_path / "lite0.keras"
    assert sum(int(np.prod(weight.shape)) for weight in own.trainable_weights) == 4_652_008  # 4.7 M
    own.save(path)
    student = build_model(spec(path, image_shape=(48, 48, 3)), seed=0)
    for one, other in zip(student.get_weights()[:-2], own.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(one, other)
    halved = {layer.strides for layer in own.layers if "depthwise" in layer.name}
    assert halved == {(1, 1), (2, 2)}
    features = student.get_layer("features")
    assert features.output.shape == (None, 1280)
