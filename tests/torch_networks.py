"""Small networks of PyTorch that learned a few pictures, as their makers leave them; run where PyTorch is installed.

    python torch_networks.py pytorch|huggingface|timm FOLDER

FOLDER has `pictures.npz`, with `train`, `labels` and `test`, and gets the network's files and `expected.npy`: what
PyTorch itself gives for the test pictures, with what is done to pixels by Pillow, transformers or timm.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

SIZE = 32
NAMES = ["day", "night", "red", "blue", "green"]  # in the order of the network's outputs
OWN_ORDER = [2, 4, 3, 1, 0]  # the output of each of the data set's classes: red, green, blue, night, day


def learn(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    """Train a network for some steps, so that it does better than by guessing."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for step in range(60):
        batch = torch.arange(64) * 7 + step
        found = network(pixels[batch % len(pixels)])
        loss = torch.nn.functional.cross_entropy(getattr(found, "logits", found), labels[batch % len(pixels)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


def learn_head(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    """Train the last layer of a network of timm alone: its pictures are large."""
    with torch.inference_mode():
        features = network.forward_head(network.forward_features(pixels), pre_logits=True).numpy()
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    regression = LogisticRegression(C=0.1, max_iter=200).fit((features - mean) / std, labels.numpy())
    weights = regression.coef_ / std
    with torch.no_grad():
        network.get_classifier().weight.copy_(torch.from_numpy(weights))
        network.get_classifier().bias.copy_(torch.from_numpy(regression.intercept_ - weights @ mean))


def pytorch(folder: Path, learned: Callable) -> torch.nn.Module:
    """A network of one's own, as state dict in a checkpoint, as safetensors and as TorchScript."""
    from safetensors.torch import save_file

    sys.path.insert(0, str(folder))
    from network import Small

    mean, std = (np.float32([[[value]] for value in values]) for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))

    def pixels(image: np.ndarray) -> torch.Tensor:
        resized = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        return torch.from_numpy((np.moveaxis(np.asarray(resized), -1, 0) / np.float32(255) - mean) / std)

    network = learned(Small(width=8), pixels, list(range(5)))
    state = network.state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, "weights.pth")
    save_file(state, "weights.safetensors")
    torch.jit.script(network).save("scripted.pt")
    return network


def huggingface(folder: Path, learned: Callable) -> torch.nn.Module:
    """A vision transformer whose outputs have another order, named by `id2label`."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = ViTConfig(**sizes, image_size=SIZE, patch_size=8, id2label=dict(enumerate(NAMES)))
    processor = ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}, resample=2)
    network = learned(
        ViTForImageClassification(config),
        lambda image: processor(Image.fromarray(image), return_tensors="pt")["pixel_values"][0],
        OWN_ORDER,
    )
    network.save_pretrained(folder / "own")
    processor.save_pretrained(folder / "own")
    return network


def timm(folder: Path, learned: Callable) -> torch.nn.Module:
    """A network of timm's with weights of one's own."""
    import timm as library
    from timm.data import create_transform, resolve_model_data_config

    network = library.create_model("test_efficientnet", num_classes=5).eval()
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    learned(network, lambda image: transform(Image.fromarray(image)), list(range(5)), learn_head)
    torch.save(network.state_dict(), "weights.pth")
    return network


def main() -> None:
    kind, folder = sys.argv[1], Path.cwd()
    pictures = np.load("pictures.npz")

    def learned(network: torch.nn.Module, pixels: Callable, outputs: list[int], by: Callable = learn):
        """Train a network, and write what it gives for the test pictures."""
        labels = torch.from_numpy(np.array(outputs)[pictures["labels"]])
        by(network, torch.stack([pixels(image) for image in pictures["train"]]), labels)
        with torch.inference_mode():
            found = network(torch.stack([pixels(image) for image in pictures["test"]]))
        np.save("expected.npy", getattr(found, "logits", found).numpy()[:, outputs])
        return network

    {"pytorch": pytorch, "huggingface": huggingface, "timm": timm}[kind](folder, learned)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
