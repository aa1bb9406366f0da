"""A picture as the model takes it, and the command line that the examples share. Needs numpy and pillow, no Distillery.

`preprocessing.json`, beside the model, says what was done to the images from which the model learned.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

TURNED = {  # EXIF's orientation: what brings a picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112  # EXIF's tag


def read_picture(file: str | Path, preprocessing: dict) -> np.ndarray:
    """Return a picture of any size and kind as pixels, uint8, (height, width, channels).

    Args:
        file: the picture.
        preprocessing: the content of `preprocessing.json`.
    """
    height, width = preprocessing.get("prepared_size", preprocessing["size"])
    with Image.open(file) as image:
        image.draft(None, (2 * width, 2 * height))  # JPEG alone: a large one is decoded at a part of its size
        image = upright(image)
    if image.mode == "F":
        raise ValueError("floating-point values have no fixed range")
    if image.mode.startswith("I"):  # 16 bits: Pillow itself would clip the values at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits")
        grey = np.minimum(values >> (preprocessing["bits"] - 8), 255).astype(np.uint8)
        if isinstance(image.info.get("transparency"), int):
            grey[values == image.info["transparency"]] = preprocessing["background"]
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*[preprocessing["background"]] * 3, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    image = image.convert("L" if preprocessing["channels"] == 1 else "RGB")
    # The middle, of the model's proportions, as large as the picture allows; then scaled.
    part = min(image.width, image.height * width // height), min(image.height, image.width * height // width)
    left, top = (image.width - part[0]) // 2, (image.height - part[1]) // 2
    image = image.crop((left, top, left + part[0], top + part[1]))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling[preprocessing["resample"].upper()])
    height, width = preprocessing["size"]  # another one, where the model saw images that were scaled once more
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling[preprocessing["final_resample"].upper()])
    return np.asarray(image).reshape(height, width, preprocessing["channels"])


def upright(image: Image.Image) -> Image.Image:
    """Return a picture, decoded, and turned as its EXIF data say."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # what Pillow raises on odd EXIF data is of many kinds; the pixels are fine all the same
        orientation = None
    exif = image.getexif()
    for tag in list(exif):  # else Pillow goes on reading them while it decodes a TIFF
        del exif[tag]
    image.load()
    method = TURNED.get(orientation) if isinstance(orientation, int) else None
    return image.copy() if method is None else image.transpose(method)


def classify(description: str, load: Callable[[str], Callable[[np.ndarray], np.ndarray]]) -> None:
    """Print the class of a picture, all of it given on the command line.

    Args:
        description: of the command.
        load: from the model's file to its prediction, of pixels (1, height, width, channels) as logits (1, classes).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="the model")
    parser.add_argument("classes", help="classes.txt of the model; preprocessing.json lies beside it")
    parser.add_argument("picture", help="an image file")
    given = parser.parse_args()
    doing = given.classes
    try:
        classes = Path(given.classes).read_text("utf-8").rstrip("\n").split("\n")
        doing = Path(given.classes).with_name("preprocessing.json")
        preprocessing = json.loads(doing.read_text("utf-8"))
        doing = given.picture
        pixels = read_picture(given.picture, preprocessing)
        doing = given.model
        logits = load(given.model)(pixels[np.newaxis])
    except Exception as error:  # what the runtimes and Pillow raise is of many kinds
        sys.exit(f"{doing}: {' '.join(str(error).split())}")
    print(classes[logits[0].argmax()])
