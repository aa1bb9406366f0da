"""Training in PyTorch on the photographs of `benchmarks/photographs.py`."""

import json
import os
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

from benchmarks.photographs import AUGMENTED, BATCH, CLASSES, EPOCHS, LEARNING_RATE, SIZE, WIDTH, some
from benchmarks.record import part_arguments, shortest


def in_pytorch(folder: Path) -> dict:
    """Return the rate of the same network in PyTorch, from the same arrays in memory, with torchvision's transforms."""
    images, labels = some(folder)
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
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


if __name__ == "__main__":
    print(json.dumps(in_pytorch(Path(*part_arguments("photographs", 1)))))
