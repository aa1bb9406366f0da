"""Images that do not fit in memory are prepared, too."""

import subprocess
import sys

import numpy as np
from conftest import ROOT, environment
from PIL import Image

IMAGES, SIZE = 300, 512  # 236 MB as they are prepared
PROGRAM = f"""
import resource, sys
from pathlib import Path
import stages.prepare
from distillery.datasets.load import load_dataset
from distillery.datasets.duplicates import without_duplicates
from distillery.datasets.splits import draw_validation
from distillery.data.prepared import save_prepared
private = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (private + int(sys.argv[2]), -1))
dataset = load_dataset(sys.argv[1], {SIZE}, 0.2)
dataset, pictures, _ = without_duplicates(dataset, "leave_out")
dataset = draw_validation(dataset, 0.1, 0, pictures)
save_prepared(Path("prepared"), "large", dataset.classes, "", dataset.parts())
"""


def test_memory_does_not_grow_with_the_images(tmp_path):
    for number in range(IMAGES):
        file = tmp_path / f"photos/{number % 2}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (600, 520), (number % 256, number // 256, 7)).save(file)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "photos")]
    subprocess.run([*command, str(50 << 20)], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), check=True)
    prepared = {part: np.load(tmp_path / f"prepared/{part}_images.npy") for part in ("train", "validation", "test")}
    assert sum(map(len, prepared.values())) == IMAGES
    colours = np.concatenate([images[:, 9, 9] for images in prepared.values()]).astype(int)
    assert sorted(colours[:, 0] + 256 * colours[:, 1]) == list(range(IMAGES))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"photos", "prepared"}
