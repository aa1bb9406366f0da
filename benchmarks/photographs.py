"""A folder of photographs of mixed sizes and formats: the rates of `prepare` and of training, and their memory.

python -m benchmarks photographs
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

import stages.prepare
from benchmarks.record import part_arguments, part_of, report, resident_bytes
from distillery.data.prepared import load_split
from experiments.run import ROOT
from pipeline.params import load_params
from pipeline.tracking.run_log import RunLog

PHOTOGRAPHS, CLASSES = 20_000, 20
SIDES = ((1600, 1200), (1024, 768), (640, 480), (480, 640), (500, 375), (800, 800))
SMALL_SIDES = (500, 375)  # of formats that take long to write
FORMATS = ("jpg",) * 8 + ("png", "webp")
SIZE, BATCH, WIDTH, LEARNING_RATE = 96, 64, 0.5, 0.002
AUGMENTED = {"crop": 0.25, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
EPOCHS, EPOCH_IMAGES = 3, 3200  # where the rate is measured; memory is that of an epoch of all
WATCHED_SECONDS = 0.05
PARTS = {  # each a process of its own; TensorFlow and PyTorch do not share one
    "prepare": ("photographs",),
    "epoch": ("photographs_training", "epoch"),
    "rate": ("photographs_training", "rate"),
    "pytorch": ("photographs_pytorch",),
}


def main() -> dict:
    """Return images per second of `prepare` and of plain Pillow, of training here and in PyTorch, and the memory."""
    measured = {"photographs": PHOTOGRAPHS, "size": SIZE}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        report(f"{PHOTOGRAPHS:,} photographs are made")
        files = generate(folder / "photographs")
        measured["bytes"] = sum(file.stat().st_size for file in files)
        measured["pillow_images_per_second"] = _pillow(files)
        for what, part in PARTS.items():
            report(what)
            measured[what] = part_of(*part, temporary)
            report(str(measured[what]))
    return measured


def generate(folder: Path, count: int = PHOTOGRAPHS) -> list[Path]:
    """Write photographs, all of them different, smooth and grainy like those of cameras, and return their paths."""
    chunks = [range(start, min(start + 500, count)) for start in range(0, count, 500)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        written = pool.map(_write, [folder] * len(chunks), chunks)
        return [file for chunk in written for file in chunk]


def _write(folder: Path, numbers: range) -> list[Path]:
    files, bases = [], {sides: _picture(*sides) for sides in SIDES}
    for number in numbers:
        random = np.random.default_rng(number)
        kind = FORMATS[number % len(FORMATS)]
        sides = SIDES[int(random.integers(len(SIDES)))] if kind == "jpg" else SMALL_SIDES
        picture = bases[sides].copy()
        side = min(sides) // 2
        patch = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        picture.paste(Image.fromarray(patch).resize((side, side), Image.Resampling.BICUBIC), (side // 2, side // 2))
        file = folder / f"class_{number % CLASSES:02d}/{number:05d}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=90, compress_level=1)
        files.append(file)
    return files


def _picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width)
    coarse = Image.fromarray(random.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + random.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8))


def _pillow(files: list[Path]) -> float:
    """Return how many photographs plain Pillow reads a second, one process per core, after all lie in memory.

    As `prepare` does, it decodes a JPEG at a part of its size, and scales the picture until the shorter side is `SIZE`.
    """
    some = [files[number] for number in np.random.default_rng(0).permutation(len(files))[:4000]]  # of every format
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_read, some, chunksize=50))
        began = time.perf_counter()
        list(pool.map(_read, some, chunksize=50))
        return len(some) / (time.perf_counter() - began)


def _read(file: Path) -> None:
    with Image.open(file) as image:
        image.draft(None, (2 * SIZE, 2 * SIZE))
        sides = [side * SIZE // min(image.size) for side in image.size]
        np.asarray(image.convert("RGB").resize(sides, Image.Resampling.LANCZOS))


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Yield what will hold the most memory of its own that this process has meanwhile, in GB (RssAnon of proc(5))."""
    most, stop = {"own_gigabytes": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(WATCHED_SECONDS):
            most["own_gigabytes"] = max(most["own_gigabytes"], resident_bytes("RssAnon") / 1e9)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def prepare(folder: Path) -> dict:
    """Return the rate and the memory of stage `prepare` on the photographs."""
    params = load_params(ROOT / "params.yaml")
    own = {"dataset": "photographs", "image_size": SIZE}
    params = params.model_copy(update={"prepare": params.prepare.model_copy(update=own)})
    os.chdir(folder)
    with watched() as most:
        began = time.perf_counter()
        stages.prepare.main(params, RunLog("benchmark", params.flat()))
        return {"images_per_second": PHOTOGRAPHS / (time.perf_counter() - began), **most}


def some(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and the labels with which the rates of training are measured."""
    train = load_split(folder / "data/prepared", "train")
    return np.array(train.images[:EPOCH_IMAGES]), np.array(train.labels[:EPOCH_IMAGES])


if __name__ == "__main__":
    print(json.dumps(prepare(Path(*part_arguments("photographs", 1)))))
