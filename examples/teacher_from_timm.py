"""A classifier of timm as a folder that Distillery takes as a teacher: `train_teacher.model=FOLDER`.

    python examples/teacher_from_timm.py resnet50.a1_in1k --out teacher
    python examples/teacher_from_timm.py resnet50.a1_in1k --checkpoint model_best.pth.tar --out teacher

The folder has `model.onnx`, timm's `config.json`, which says what its pixels mean, and `classes.txt` where timm knows
the names of the outputs. ONNX Runtime must give what PyTorch gives. Needs: pip install -r requirements/pytorch.txt
"""

import argparse
import json
from pathlib import Path

import timm
import torch
from teacher_from_pytorch import command, export, load_weights, noise, one_line, read_weights
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_model_data_config


def read_network(name: str, checkpoint: Path | None) -> torch.nn.Module:
    """Return the network of a name, with timm's own weights or those of a checkpoint.

    Raises:
        ValueError: when timm has no such network or weights, or the checkpoint is of another network.
    """
    state = read_weights(checkpoint) if checkpoint else None
    try:
        network = timm.create_model(name, pretrained=state is None)
        if state is not None:
            classifier = network.pretrained_cfg["classifier"]
            bias = state.get(f"{classifier if isinstance(classifier, str) else classifier[0]}.bias")
            if bias is not None and len(bias) != network.num_classes:
                network = timm.create_model(name, num_classes=len(bias))
    except Exception as error:  # timm's and the hub's are of many kinds
        raise ValueError(f"{name}: timm does not make it ({one_line(error)})") from None
    if state is not None:
        load_weights(network, state, checkpoint)
    return network.eval()


def config(network: torch.nn.Module) -> dict:
    """Return the content of `config.json`, in timm's terms."""
    own = network.pretrained_cfg
    described = {key: own[key] for key in ("tag", "license", "label_names") if own.get(key)}
    described |= {**resolve_model_data_config(network), "num_classes": network.num_classes}
    return {"architecture": own["architecture"], "num_classes": network.num_classes, "pretrained_cfg": described}


def write(given: argparse.Namespace, folder: Path) -> None:
    """Write the teacher's folder."""
    network = read_network(given.name, given.checkpoint)
    channels, *size = network.pretrained_cfg["input_size"]
    pixels = noise(channels, tuple(size), 1 / 255, [0.5], [0.5])
    outputs, difference = export(network, pixels, folder / "model.onnx", any_size=given.any_size)
    (folder / "config.json").write_text(json.dumps(config(network), indent=2) + "\n", "utf-8")
    subset = None if given.checkpoint else infer_imagenet_subset(network)
    if subset:
        known = ImageNetInfo(subset)
        names = [known.index_to_description(number) for number in range(outputs)]
        (folder / "classes.txt").write_text("\n".join(names) + "\n", "utf-8")
    print(f"{outputs} outputs of {size[0]} × {size[1]} pixels; ONNX Runtime differs from PyTorch by {difference:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the network, with that of its weights: resnet50.a1_in1k")
    parser.add_argument("--checkpoint", type=Path, help="weights of your own: a state_dict, or a checkpoint with one")
    parser.add_argument("--any-size", action="store_true", help="the ONNX model takes images of any size")
    command(parser, write)
