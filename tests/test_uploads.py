"""Uploaded pictures: accepted ones arrive as they are, others are refused in one line."""

import struct
import zlib

import numpy as np
import pytest
from pictures import COLOURS, png, saved
from PIL import Image, ImageFile

from app import uploads
from app.uploads import MAX_BYTES, open_picture, picture_input
from distillery.data.errors import InputError
from distillery.datasets.pictures import FORMATS, Preprocessing


def message(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        picture_input(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_blank_picture_raises_input_error(shade):
    text = message(png(np.full((90, 90), shade, np.uint8)), "blank.png", "mnist", (28, 28, 1))
    assert text.startswith("blank.png: nothing stands out from its background; accepted:")


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("JPEG", "GIF")])
def test_lossless_picture_keeps_its_pixels(form):
    content = saved(Image.fromarray(COLOURS), form, **({"lossless": True} if form == "WEBP" else {}))
    made = picture_input(content, "picture", "cifar10", (32, 32, 3))
    assert np.array_equal(made.pixels, COLOURS)
    assert made.changes == ""


@pytest.mark.parametrize("form", ["JPEG", "GIF"])
def test_lossy_picture_nearly_keeps_its_pixels(form):
    smooth = np.asarray(Image.fromarray(COLOURS[:4, :4]).resize((32, 32), Image.Resampling.BICUBIC))
    made = picture_input(saved(Image.fromarray(smooth), form), "picture", "cifar10", (32, 32, 3))
    assert np.abs(made.pixels.astype(int) - smooth).mean() < 16


def test_large_picture_is_cropped_in_the_middle_and_scaled():
    wide = np.zeros((64, 200, 3), np.uint8)
    wide[:, 68:132] = (200, 100, 50)
    made = picture_input(png(wide), "wide.png", "folder", (32, 32, 3))
    assert (made.pixels == (200, 100, 50)).all()
    assert made.changes == "the middle square, scaled to 32 × 32"


def test_picture_is_converted_to_the_channels_of_the_model():
    grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
    assert np.array_equal(picture_input(png(grey), "a", "cifar10", (32, 32, 3)).pixels, np.stack([grey] * 3, axis=-1))
    made = picture_input(png(COLOURS), "a", "folder", (32, 32, 1)).pixels
    assert np.array_equal(made[..., 0], np.asarray(Image.fromarray(COLOURS).convert("L")))


def test_photograph_is_turned_upright_and_transparency_is_white():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = picture_input(saved(Image.fromarray(COLOURS), "PNG", exif=exif), "a", "cifar10", (32, 32, 3))
    assert np.array_equal(turned.pixels, COLOURS[::-1, ::-1])
    glass = np.concatenate([COLOURS, np.zeros((32, 32, 1), np.uint8)], axis=2)
    assert (picture_input(png(glass), "a", "cifar10", (32, 32, 3)).pixels == 255).all()


def header_of_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height", "found"),
    [
        (8_000, 7_000, "8,000 × 7,000 pixels"),  # below what Pillow itself warns of
        (12_000, 12_000, "12,000 × 12,000 pixels"),  # Pillow would warn,
        (60_000, 60_000, "more pixels than can be safe to decode"),  # and here refuse
    ],
)
def test_decompression_bomb_is_refused_by_its_header(monkeypatch, width, height, found):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    text = message(header_of_png(width, height), "bomb.png", "cifar10", (32, 32, 3))
    assert text == f"bomb.png: {found}; accepted: {uploads.ACCEPTED}"


def test_unreadable_file_raises_input_error():
    arguments = ("cifar10", (32, 32, 3))
    assert (
        message(b"\0" * (MAX_BYTES + 1), "film.png", *arguments) == f"film.png: 10.0 MB; accepted: {uploads.ACCEPTED}"
    )
    for name, content in {
        "notes.png": b"not a picture",
        "empty.png": b"",
        "drawing.png": saved(Image.fromarray(COLOURS), "EPS"),  # Pillow would start a program to read it
        "icon.png": saved(Image.fromarray(COLOURS), "ICO"),
    }.items():
        assert (
            message(content, name, *arguments) == f"{name}: cannot be read as an image; accepted: {', '.join(FORMATS)}"
        )
    half = png(np.random.default_rng(0).integers(256, size=(200, 200, 3), dtype=np.uint8))[:5000]
    assert message(half, "half.png", *arguments).startswith("half.png: cannot be read as an image (")


def test_large_jpeg_is_decoded_reduced():
    content = saved(Image.new("RGB", (4000, 3000), (10, 200, 30)), "JPEG")
    assert open_picture(content, "photo.jpg", Preprocessing(32)).size == (500, 375)
