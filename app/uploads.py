"""Pictures that a person uploads: checked before they are decoded, then brought into the form of the model's input."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.handwriting import ink_of_picture, layout_of, place_ink
from distillery.data.errors import InputError
from distillery.datasets.pictures import FORMATS, Preprocessing, squared, turned, unreadable, upright

MAX_BYTES = 10_000_000
MAX_PIXELS = 50_000_000  # a good camera's photograph
DRAWING_SIDE = 1000  # pixels: thin strokes would suffer in a smaller picture
ACCEPTED = f"{', '.join(FORMATS)}, up to {MAX_BYTES // 1_000_000} MB and {MAX_PIXELS // 1_000_000} million pixels"


@dataclass(frozen=True)
class ModelInput:
    """An image as models take it.

    Attributes:
        pixels: uint8, (height, width, channels).
        changes: what was done to the picture, for people; empty where nothing was.
    """

    pixels: np.ndarray
    changes: str


def open_picture(content: bytes, name: str, preprocessing: Preprocessing, drawing: bool = False) -> Image.Image:
    """Return a decoded picture, unless its size, its format or its header speak against it.

    Args:
        content: the file.
        name: the file's, for messages.
        preprocessing: what is done to it, up to its crop.
        drawing: whether it is searched for strokes, which needs more pixels than the model, and several copies.

    Raises:
        InputError: one line that names the file, what was found and what is accepted.
    """
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}: {len(content) / 1e6:,.1f} MB; accepted: {ACCEPTED}")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size  # from the header: nothing is decoded yet
            if width * height > MAX_PIXELS:
                raise InputError(f"{name}: {width:,} × {height:,} pixels; accepted: {ACCEPTED}")
            if picture.mode == "F":
                raise ValueError("floating-point values have no fixed range")
            side = DRAWING_SIDE if drawing else preprocessing.size
            picture.draft(None, (2 * side, 2 * side))
            return upright(_shrunk(picture, side) if drawing else picture, preprocessing.mode, preprocessing.bits)
    except InputError:
        raise
    except Image.DecompressionBombError:  # so many that Pillow itself refuses
        raise InputError(f"{name}: more pixels than can be safe to decode; accepted: {ACCEPTED}") from None
    except Exception as error:  # what Pillow's readers raise on damaged files is of many kinds
        raise unreadable(name, error) from None


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture at a whole part of its size, no side below twice `side`: several copies of it will be made."""
    part = min(picture.size) // (2 * side)
    if part < 2 or picture.mode not in ("L", "LA", "RGB", "RGBA"):
        return picture
    return turned(picture).reduce(part)


def picture_input(
    content: bytes, name: str, dataset: str, shape: tuple[int, int, int], preprocessing: Mapping | None = None
) -> ModelInput:
    """Return an uploaded picture as the model's input.

    For data sets of handwriting and of clothes on black, what the picture shows is found, turned light on dark and
    placed as the data set places it. For others exactly that is done to it which was done to the images from which the
    model learned.

    Args:
        content: the file.
        name: the file's.
        dataset: name of a data set of arrays; empty for the user's own images.
        shape: (height, width, channels) of the model's input.
        preprocessing: `DatasetInfo.preprocessing`; None for a data set of arrays.

    Raises:
        InputError: when the file is not accepted, or shows nothing.
    """
    height, width, channels = shape
    if height != width:
        raise InputError(
            f"{name}: the models take {width} × {height} pixels; accepted: pictures for square models only"
        )
    treatment = Preprocessing(**preprocessing) if preprocessing else Preprocessing(height, channels)
    layout = layout_of(dataset, shape)
    picture = open_picture(content, name, treatment, drawing=layout is not None)
    if layout is None:
        pixels = np.asarray(squared(picture, height, treatment.resample)).reshape(shape)
        same = picture.size == (width, height)
        return ModelInput(pixels, "" if same else f"the middle square, scaled to {width} × {height}")
    ink, inverted = ink_of_picture(np.asarray(picture))
    if picture.size == (width, height) and not inverted:
        return ModelInput(np.asarray(picture).reshape(shape), "")
    if not ink.any():
        raise InputError(
            f"{name}: nothing stands out from its background; accepted: dark ink on light paper, or light ink on dark"
        )
    turned = "its border is light, so it was inverted; " if inverted else ""
    where = "centre of mass" if layout.by_mass else "middle"
    return ModelInput(
        place_ink(ink, height, layout).reshape(shape),
        f"{turned}fitted into {layout.box} × {layout.box} and placed by its {where}",
    )
