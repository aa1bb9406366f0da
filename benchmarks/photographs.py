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

import keras
import numpy as np
from PIL import Image

import stages.prepare
from benchmarks.record import part_arguments, part_of, report, resident_bytes
from benchmarks.steps import epoch_seconds, shortest
from distillery.data.prepared import load_split
from distillery.distillation.distiller import Distiller
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Batches, Examples
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.settings import Training
from distillery.learning.training import compile_model
from experiments.run import ROOT
from pipeline.params import load_params
from pipeline.tracking.run_log import RunLog

PHOTOGRAPHS, CLASSES = 20_000, 20
SIDES = ((1600, 1200), (1024, 768), (640, 480), (480, 640), (500, 375), (800, 800))
SMALL_SIDES = (500, 375)  # of formats that take long to write
FORMATS = ("jpg",) * 8 + ("png", "webp")
SIZE, BATCH, WIDTH = 96, 64, 0.5
AUGMENTED = {"crop": 0.25, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
EPOCHS, EPOCH_IMAGES = 3, 3200  # where the rate is measured; memory is that of an epoch of all
WATCHED_SECONDS = 0.05


def main() -> dict:
    """Return images per second of `prepare` and of plain Pillow, of training here and in PyTorch, and the memory."""
    measured = {"photographs": PHOTOGRAPHS, "size": SIZE}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        report(f"{PHOTOGRAPHS:,} photographs are made")
        files = generate(folder / "photographs")
        measured["bytes"] = sum(file.stat().st_size for file in files)
        measured["pillow_images_per_second"] = _pillow(files)
        for what in ("prepare", "epoch", "rate", "pytorch"):
            report(what)
            measured[what] = part_of("photographs", what, temporary)
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
    """Return how many photographs plain Pillow reads a second, one process per core, after all lie in memory."""
    some = files[:: max(1, len(files) // 4000)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_read, some, chunksize=50))
        began = time.perf_counter()
        list(pool.map(_read, some, chunksize=50))
        return len(some) / (time.perf_counter() - began)


def _read(file: Path) -> None:
    with Image.open(file) as image:
        image.draft(None, (2 * SIZE, 2 * SIZE))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


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


def epoch(folder: Path) -> dict:
    """Return the rate and the memory of distilling for an epoch of all training images, from views of theirs."""
    with watched() as most:
        train = load_split(folder / "data/prepared", "train")
        count, random = len(train.labels), np.random.default_rng(0)
        logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float32, (2, count, CLASSES))
        logits[:] = random.normal(size=logits.shape)
        views = Views(Policy(horizontal_flip=True, **AUGMENTED), count, 2)
        examples = Examples(train.images, train.labels, views=views, teacher={"logits": logits})
        batches = Batches(examples, BATCH, seed=0)
        distiller = Distiller(student(), temperature=4.0, alpha=0.1)
        compile_model(distiller, Training(1, BATCH, learning_rate=0.002), len(batches), label_smoothing=None)
        (seconds,) = epoch_seconds(distiller, batches, 1)
    return {"images_per_second": count / seconds, "images": count, **most}


def rate(folder: Path) -> dict:
    """Return the rate of plain training with views drawn anew, as PyTorch's below draws them."""
    images, labels = _some(folder)
    examples = Examples(images, labels, augmentation=Policy(horizontal_flip=True, **AUGMENTED))
    batches, model = Batches(examples, BATCH, seed=0), student()
    compile_model(model, Training(EPOCHS, BATCH, learning_rate=0.002), len(batches), label_smoothing=0.0)
    return {"images_per_second": len(labels) / shortest(epoch_seconds(model, batches, EPOCHS))}


def student() -> keras.Model:
    """Return the student that is trained."""
    spec = ModelSpec(ROOT / "architectures/mobilenet_v3_small.py", (SIZE, SIZE, 3), CLASSES, width=WIDTH)
    return build_model(spec, seed=0)


def _some(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    train = load_split(folder / "data/prepared", "train")
    return np.array(train.images[:EPOCH_IMAGES]), np.array(train.labels[:EPOCH_IMAGES])


def in_pytorch(folder: Path) -> dict:
    """Return the rate of the same network in PyTorch, from the same arrays in memory, with torchvision's transforms."""
    import torch  # optional: only benchmarks need them
    import torchvision
    from torchvision.transforms import v2

    images, labels = _some(folder)
    jitter = [AUGMENTED[name] for name in ("brightness", "contrast", "saturation")]
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(AUGMENTED["crop"], 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(*jitter),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, number: int):
            return transform(Image.fromarray(images[number])), int(labels[number])

    loader = torch.utils.data.DataLoader(Photographs(), BATCH, shuffle=True, num_workers=os.cpu_count())
    model = torchvision.models.mobilenet_v3_small(width_mult=WIDTH, num_classes=CLASSES)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002, fused=True)
    seconds = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for batch, targets in loader:
            optimizer.zero_grad()
            pixels = (batch * 2 - 1).contiguous(memory_format=torch.channels_last)
            torch.nn.functional.cross_entropy(model(pixels), targets).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - began)
    return {"images_per_second": len(labels) / shortest(seconds)}


PARTS = {"prepare": prepare, "epoch": epoch, "rate": rate, "pytorch": in_pytorch}

if __name__ == "__main__":
    what, place = part_arguments("photographs", 2)
    print(json.dumps(PARTS[what](Path(place))))
