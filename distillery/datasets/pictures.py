"""A picture file as an array: the same when a data set is prepared and when a model that learned from it is used."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from distillery.data.errors import InputError, shown

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow knows more, but some of them start programs
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16L", "I;16B"}
TURNED = {  # EXIF's orientation: what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LONGEST = 3  # times its shorter side: of a longer picture the middle is kept, so that a panorama takes no more disk
ORIENTED = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where files say how they are turned


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture; `dataset.json` has it as a dictionary, and whoever uses a model does the same.

    Attributes:
        size: pixels of each side. A JPEG may be decoded at a part of its size, no side below twice `size`.
        channels: 1 for grey, 3 for red, green and blue.
        bits: how many bits the values of files with 16 have: `value >> (bits - 8)`, at most 255.
        orientation: `exif`: turned upright as its EXIF data say.
        background: the grey on which a transparent picture is laid.
        crop: `center`: the longer side is cut off to the shorter, at the start by half of the difference, rounded down.
        resample: Pillow's filter, by which the square is scaled.
    """

    size: int
    channels: int = 3
    bits: int = 16
    orientation: str = "exif"
    background: int = 255
    crop: str = "center"
    resample: str = "lanczos"

    @property
    def mode(self) -> str:
        """Return Pillow's mode of the channels."""
        return "L" if self.channels == 1 else "RGB"


def read_picture(file: str | Path | BinaryIO, preprocessing: Preprocessing) -> np.ndarray:
    """Return a picture of any size and kind, uint8, (size, size, channels). Of an animation the first image counts.

    Args:
        file: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM.
        preprocessing: what is done to it.

    Raises:
        InputError: when it cannot be read as an image, or has more pixels than Pillow thinks safe.
    """
    return read_with_whole(file, preprocessing, whole=False)[0]


def read_with_whole(
    file: str | Path | BinaryIO, preprocessing: Preprocessing, whole: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what `read_picture` does, and the whole picture, uint8, (height, width, channels), of `whole_size`.

    Args:
        file, preprocessing: as there.
        whole: whether it is wanted; without, and where it is no more than the square, it is None.
    """
    size = preprocessing.size
    try:
        with open_picture(file) as image:
            shape = whole_size(image.height, image.width, size)
            image.draft(None, (2 * size, 2 * size))  # JPEG alone: large photographs are decoded at a part of their size
            decoded = image.size
            picture = upright(image, preprocessing.mode, preprocessing.bits, preprocessing.background)
            square = squared(picture, size, preprocessing.resample)
            shape = shape if picture.size == decoded else shape[::-1]  # it was turned by a quarter
            around = _strips(picture, shape, size, preprocessing.resample) if whole and shape != (size, size) else None
    except InputError:
        raise
    except Exception as error:  # what Pillow's readers raise on damaged files is of many kinds
        raise unreadable(file, error) from None
    pixels = np.asarray(square).reshape(size, size, preprocessing.channels)
    if around is None:
        return pixels, None
    before, after = (strip.reshape(*strip.shape[:2], preprocessing.channels) for strip in around)
    return pixels, np.concatenate([before, pixels, after], axis=int(shape[1] > shape[0]))


def whole_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of a picture whose shorter side is `size`, the longer one at most `LONGEST` times that.

    Args:
        height, width: of the file's picture, in pixels.
        size: in pixels.
    """
    shorter = min(height, width)
    beside = ((side - shorter) // 2 * size // shorter for side in (height, width))
    return tuple(size + 2 * min(pixels, (LONGEST - 1) * size // 2) for pixels in beside)


def _strips(image: Image.Image, shape: tuple[int, int], size: int, resample: str) -> list[np.ndarray]:
    """Return what lies before and after a picture's square, at the square's scale: all of it would be scaled twice.

    Args:
        image: that is wider, or higher, than its square.
        shape: height and width of the whole picture.
        size: pixels of the square's side, once scaled.
        resample: as everywhere.
    """
    side, along = min(image.size), int(shape[1] < shape[0])  # of Pillow's (width, height)
    first = (image.size[along] - side) // 2
    strip, spans = [size, size], []
    strip[along] = (max(shape) - size) // 2
    reach = strip[along] * side / size
    for start, end in ((max(0, first - reach), first), (first + side, min(first + side + reach, image.size[along]))):
        spans.append((0, start, side, end) if along else (start, 0, end, side))
    return [np.asarray(image.resize(strip, Image.Resampling[resample.upper()], box=span)) for span in spans]


def open_picture(file: str | Path | BinaryIO) -> Image.Image:
    """Return a picture of which no more than the header has been read.

    Raises:
        InputError: when it cannot be read as an image, or has more pixels than Pillow thinks safe.
    """
    try:
        image = Image.open(file, formats=FORMATS)
        if image.mode == "F":
            raise ValueError("floating-point values have no fixed range")
        bomb = Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        bomb = True
    except Exception as error:  # as above
        raise unreadable(file, error) from None
    if bomb:
        raise InputError(
            f"{shown(file)}: more pixels than can be safe to decode; accepted: up to {Image.MAX_IMAGE_PIXELS:,}"
        ) from None
    return image


def unreadable(name: str | Path, error: Exception) -> InputError:
    """Return the error that says which file Pillow could not read, and why."""
    reason = (
        ""
        if isinstance(error, Image.UnidentifiedImageError)
        else f" ({' '.join(str(error).split()) or type(error).__name__})"
    )
    return InputError(f"{shown(name)}: cannot be read as an image{reason}; accepted: {', '.join(FORMATS)}")


def upright(image: Image.Image, mode: str, bits: int = 16, background: int = 255) -> Image.Image:
    """Return a picture turned as its EXIF data say, in 8 bits, without transparency.

    Args:
        image: as Pillow opened it.
        mode: `L` or `RGB`, what it is converted to.
        bits: of its values, where a value has 16 in the file.
        background: the grey on which it is laid where it is transparent.

    Raises:
        ValueError: when a value is below 0 or above 65,535.
    """
    image = _in_8_bits(turned(image), bits, background)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)  # else it would be copied


def turned(image: Image.Image) -> Image.Image:
    """Return a picture turned as its EXIF data say. What cannot be read of them says nothing: the pixels are fine."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # what Pillow raises on odd EXIF data is of many kinds
        orientation = None
    exif = image.getexif()
    for tag in list(exif):  # else Pillow goes on reading them while it decodes a TIFF
        del exif[tag]
    image.load()
    method = TURNED.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return image
    image = image.transpose(method)
    for key in ORIENTED:
        image.info.pop(key, None)
    return image


def _in_8_bits(image: Image.Image, bits: int, background: int) -> Image.Image:
    """Return the upper 8 of some bits, the background where a value is transparent: Pillow would clip them at 255."""
    if not image.mode.startswith("I"):
        return image
    values = values_of_16_bits(image)
    grey = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = background
    return Image.fromarray(grey)


def values_of_16_bits(image: Image.Image) -> np.ndarray:
    """Return the values of a picture whose mode begins with `I`.

    Raises:
        ValueError: when one is below 0 or above 65,535.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("values below 0 or above 65,535")
    return values


def has_16_bits(image: Image.Image) -> bool:
    """Return whether the values in the file have 16 bits, as its header says."""
    colours = image.format in ("PNG", "TIFF") and image.mode in ("LA", "RGB", "RGBA")  # PPM's are scaled by Pillow
    return image.mode.startswith("I") or (colours and any(";16" in str(tile.args) for tile in image.tile))


def squared(image: Image.Image, size: int, resample: str = "lanczos") -> Image.Image:
    """Return a picture of `size` × `size` pixels: the longer side cut off alike at both ends, then scaled."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling[resample.upper()])
