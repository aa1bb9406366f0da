"""The examples that make a teacher of a network of PyTorch: what is taken gives what PyTorch gives.

Collected with PYTORCH in the environment alone, which names the Python with `requirements/pytorch.txt`: `python`, or
that of another virtual environment.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run
from foreign import CLASSES, info_of, pictures, settings

from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

SHAPE = (24, 24, 3)
PARTS = {"train": pictures(400, SHAPE, 1), "validation": pictures(200, SHAPE, 2), "test": pictures(60, SHAPE, 3)}
NETWORK = """
import torch


class Small(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 3, 2), torch.nn.BatchNorm2d(width), torch.nn.ReLU(), torch.nn.Dropout(0.2),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 5),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels)
"""


def python(folder: Path, *command: str, check: bool = True):
    return run(folder, os.environ["PYTORCH"], *command, check=check, HF_HUB_OFFLINE="1", PYTHONWARNINGS="ignore")


def made(folder: Path, kind: str) -> Path:
    """Return a folder with a network that learned the pictures, and with what it gives for others."""
    (folder / "network.py").write_text(NETWORK)
    train = PARTS["train"]
    np.savez(folder / "pictures.npz", train=train.images, labels=train.labels, test=PARTS["test"].images)
    python(folder, str(ROOT / "tests/torch_networks.py"), kind)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A network of one's own, trained once for all tests, and its weights in three formats."""
    return made(tmp_path_factory.mktemp("own"), "pytorch")


def check_taken(folder: Path, pixels: dict) -> None:
    """The folder that the example wrote is a teacher that gives what PyTorch gave, and sees pixels so."""
    found = take_teacher(settings(folder / "teacher"), info_of(PARTS), PARTS, folder / "taken", "pictures")
    assert not [note for note in found.notes if note.startswith("warning")]
    assert {name: found.described["pixels"][name] for name in pixels} == pixels
    logits = load_teacher(folder / "taken").outputs(PARTS["test"].images)["logits"]
    expected = np.load(folder / "expected.npy")
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.ptp(expected) > 1
    assert (expected.argmax(axis=1) == PARTS["test"].labels).mean() > 0.6


@pytest.mark.parametrize("weights", ["weights.pth", "weights.safetensors", "scripted.pt"])
def test_a_network_of_ones_own(own, tmp_path, weights):
    folder = Path(shutil.copytree(own, tmp_path / "own"))
    (folder / "names.txt").write_text("\n".join(CLASSES))
    built = () if weights == "scripted.pt" else ("--model", "network.py:Small", "--arguments", "{width: 8}")
    meant = "--size 32 --interpolation bicubic --mean 0.4 0.5 0.6 --std 0.2 0.3 0.4 --classes names.txt --out teacher"
    answer = python(folder, str(ROOT / "examples/teacher_from_pytorch.py"), weights, *built, *meant.split())
    assert "5 outputs; ONNX Runtime differs from PyTorch by at most" in answer.stdout
    check_taken(folder, {"size": [32, 32], "interpolation": "bicubic"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{width: 9}", "weights.pth: not the weights of this network: .*of another shape: layers.0.weight"),
        ("{depth: 9}", "--model: network.py:Small: TypeError: "),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(own, arguments, said):
    example, built = str(ROOT / "examples/teacher_from_pytorch.py"), ("--model", "network.py:Small")
    meant = ("--arguments", arguments, "--size", "32", "--mean", "0", "--std", "1", "--out", "teacher")
    answer = python(own, example, "weights.pth", *built, *meant, check=False)
    assert answer.returncode == 1
    assert re.match(f"teacher_from_pytorch.py: {said}", answer.stderr), answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (own / "teacher").exists()


def test_a_network_of_hugging_face(tmp_path):
    folder = made(tmp_path, "huggingface")
    python(folder, str(ROOT / "examples/teacher_from_huggingface.py"), "own", "--out", "teacher")
    check_taken(folder, {"size": [32, 32], "interpolation": "bilinear"})


def test_a_network_of_timm(tmp_path):
    folder = made(tmp_path, "timm")
    checkpoint = ("test_efficientnet", "--checkpoint", "weights.pth")
    python(folder, str(ROOT / "examples/teacher_from_timm.py"), *checkpoint, "--out", "teacher")
    check_taken(folder, {"size": [160, 160], "crop": 0.95})
