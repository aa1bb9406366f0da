"""Pictures of any kind: read as they are meant, or refused in one line."""

import io
import random
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.data.errors import InputError
from distillery.datasets import image_folder
from distillery.datasets.image_folder import read_images
from distillery.datasets.pictures import Preprocessing, read_picture

pytestmark = pytest.mark.filterwarnings("ignore")  # of Pillow's, about odd metadata
COLOURS = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
AS_IS = Preprocessing(16)
MODES = [
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
]
LOSSLESS = {"PNG": {"compress_level": 0}, "WEBP": {"lossless": True}, "JPEG": {}}  # JPEG: nearly


def content(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def image_or_line(data: bytes, preprocessing: Preprocessing = AS_IS) -> np.ndarray | str:
    """Return the picture, or the line of the error; anything else fails the test."""
    try:
        picture = read_picture(io.BytesIO(data), preprocessing)
    except InputError as error:
        lines = str(error).splitlines()
        return lines[0] if len(lines) == 1 else pytest.fail(str(error))
    assert (picture.dtype, picture.shape) == (np.uint8, (preprocessing.size,) * 2 + (preprocessing.channels,))
    return picture


def exif_block(draw: random.Random) -> bytes:
    """Return random bytes, or EXIF data that are odd, damaged or cut short."""
    if draw.random() < 0.2:
        return draw.randbytes(draw.randrange(80))
    exif = Image.Exif()
    for _ in range(draw.randrange(1, 6)):
        tag = draw.choice([0x8769, 0x8825, 0xA005, 0x010F, 0x011A, 0x0128, 0x927C, draw.randrange(65536)])
        values = [draw.randrange(65536), "x" * draw.randrange(5), b"\0" * draw.randrange(9), (1, 2), 1.5]
        folders = [{1: 2}, {0x9000: b"x"}, {draw.randrange(65536): draw.randrange(100)}]
        exif[tag] = draw.choice(folders if tag in (0x8769, 0x8825, 0xA005) else values)
    try:
        block = bytearray(exif.tobytes())
    except Exception:  # Pillow cannot write each of them
        return draw.randbytes(40)
    for _ in range(draw.randrange(12)):
        block[draw.randrange(len(block))] = draw.randrange(256)
    return bytes(block[: draw.randrange(len(block) + 1)] if draw.random() < 0.2 else block)


def test_no_exif_data_end_a_run():
    """Of 4,000 random blocks nearly all leave the pixels as they are; an orientation turns them, no more."""
    draw, image = random.Random(0), Image.fromarray(COLOURS)
    plain = {form: image_or_line(content(image, form, **LOSSLESS[form])) for form in LOSSLESS}
    turned = {
        form: {np.ascontiguousarray(seen).tobytes() for one in (pixels, pixels.transpose(1, 0, 2)) for seen in
               (one, one[::-1], one[:, ::-1], one[::-1, ::-1])}
        for form, pixels in plain.items()
    }  # fmt: skip
    upright = 0
    for number in range(4000):
        form = {0: "WEBP", 1: "JPEG", 2: "JPEG", 3: "JPEG"}.get(number % 10, "PNG")
        read = image_or_line(content(image, form, exif=exif_block(draw), **LOSSLESS[form]))
        assert isinstance(read, np.ndarray), read
        assert read.tobytes() in turned[form]
        upright += np.array_equal(read, plain[form])
    assert upright > 3900


def test_odd_exif_data_of_every_format_leave_the_pixels():
    """The text that Pillow fails to parse or to write again, as files of cameras and editors carry it."""
    image = Image.fromarray(COLOURS)
    blocks = [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"\0" * 40,
    ]
    entry = b"Exif\0\0II*\0\x08\0\0\0\x01\0"  # one entry follows
    blocks += [entry + b"\x12\x01" + kind + b"\x01\0\0\0" + value for kind, value in (
        (b"\x02\0", b"6\0\0\0"), (b"\x05\0", b"\xff\xff\xff\x7f"), (b"\x0b\0", b"\0\0\xc0\x7f"), (b"\x07\0", b"abcd"),
        (b"\x63\0", b"\x06\0\0\0"),
    )]  # fmt: skip
    for block in blocks:
        for form in ("PNG", "WEBP"):
            np.testing.assert_array_equal(image_or_line(content(image, form, exif=block, **LOSSLESS[form])), COLOURS)
        assert isinstance(image_or_line(content(image, "JPEG", exif=block)), np.ndarray)
    for key, value in (
        ("Raw profile type exif", "\nexif\n  9\nnot hexadecimal\n"),
        ("XML:com.adobe.xmp", "<tiff:Orient"),
    ):
        info = PngInfo()
        info.add_itxt(key, value)
        np.testing.assert_array_equal(image_or_line(content(image, "PNG", pnginfo=info)), COLOURS)


def tiff(pixels: np.ndarray) -> tuple[bytes, int]:
    """Return a TIFF whose last part is a folder of EXIF data, and where that begins."""
    height, width, channels = pixels.shape
    data, bits = pixels.tobytes(), struct.pack("<3H", 8, 8, 8)
    exif = 8 + len(data) + len(bits) + 2 + 11 * 12 + 4
    short, long = (
        [(256, width), (257, height), (259, 1), (262, 2), (274, 1), (277, channels), (278, height)],
        [(273, 8), (279, len(data)), (0x8769, exif)],
    )
    entries = [(tag, 3, 1, value) for tag, value in short] + [(tag, 4, 1, value) for tag, value in long]
    entries = sorted([*entries, (258, 3, 3, 8 + len(data))])
    folder = b"".join(struct.pack("<2H2I", *entry) for entry in entries)
    inner = struct.pack("<H2H2I2H2II", 2, 0x9000, 7, 4, 0x32333230, 0xA001, 3, 1, 1, 0)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data) + len(bits))
    return head + data + bits + struct.pack("<H", len(entries)) + folder + bytes(4) + inner, exif


def test_damaged_exif_folder_of_a_tiff_leaves_the_pixels():
    data, start = tiff(COLOURS)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get_ifd(0x8769)[0x9000] == b"0232"
    np.testing.assert_array_equal(image_or_line(data), COLOURS)
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in draw.choices(range(start, len(data)), k=draw.randrange(1, 20)):
            damaged[place] = draw.randrange(256)
        damaged = damaged[: draw.randrange(start, len(data) + 1)] if draw.random() < 0.3 else damaged
        np.testing.assert_array_equal(image_or_line(bytes(damaged)), COLOURS)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_in_every_format_is_read_or_refused_in_one_line(channels):
    read = {}
    for mode in MODES:
        image = Image.new(mode, (16, 16)) if mode in ("La", "PA", "RGBa", "LAB", "HSV", "YCbCr", "I;16") else None
        image = image or Image.fromarray(COLOURS).convert(mode)
        for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
            try:
                data = content(image, form)
            except (OSError, KeyError, ValueError):  # this format has no such mode
                continue
            read.setdefault(mode, []).append(image_or_line(data, Preprocessing(8, channels)))
    assert len(read) == len(MODES) - 1  # no format holds La
    for mode, pictures in read.items():
        lines = [picture for picture in pictures if isinstance(picture, str)]
        assert bool(lines) == (mode == "F" or (mode, channels) == ("LAB", 1)), (mode, lines)


def test_a_damaged_or_truncated_file_is_read_or_refused_in_one_line():
    draw = random.Random(0)
    palette = Image.fromarray(COLOURS).convert("P")
    files = [content(Image.fromarray(COLOURS), form) for form in ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")]
    files += [
        content(palette, "GIF"),
        content(palette, "PNG"),
        content(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw"),
    ]
    whole = [image_or_line(data) for data in files]
    assert all(isinstance(picture, np.ndarray) for picture in whole)
    refused = 0
    for number in range(1500):
        data = bytearray(files[number % len(files)])
        if draw.random() < 0.4:
            del data[draw.randrange(len(data)) :]
        for _ in range(draw.randrange(1, 10)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        refused += isinstance(image_or_line(bytes(data), Preprocessing(8, 3)), str)
    assert 300 < refused < 1400
    for data in files:  # cut short alone: never a picture that is partly missing
        for length in (0, 1, len(data) // 4, len(data) // 2):
            assert isinstance(image_or_line(data[:length]), str)


def written(path, values: np.ndarray):
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_16_bit_files_keep_256_levels_whatever_their_range(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    dark = values // 3  # a range for the data set, not for each file: a darker picture stays darker
    for ending in ("png", "tif"):
        files = [written(tmp_path / f"{name}.{ending}", pixels) for name, pixels in (("a", values), ("b", dark))]
        images, preprocessing, *_ = read_images(files, 16)
        assert preprocessing.bits == bits
        np.testing.assert_array_equal(images[..., 0], [values >> (bits - 8), dark >> (bits - 8)])
        assert len(np.unique(images[0])) == 256
        np.testing.assert_array_equal(read_picture(files[1], preprocessing), images[1])


def test_range_of_16_bits_is_that_of_the_training_images(tmp_path):
    values = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)
    files = [written(tmp_path / "a.png", values), written(tmp_path / "b.png", values * 4)]
    images, preprocessing, *_ = read_images(files, 16, training=1)
    assert preprocessing.bits == 12
    np.testing.assert_array_equal(images[1, ..., 0], np.minimum(values.astype(int) * 4 >> 4, 255))


def png_of_16_bit_colours(values: np.ndarray) -> bytes:
    """Return a PNG as its standard has it: Pillow writes none with 16 bits per colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">2I5B", *values.shape[1::-1], 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )


def test_colours_of_16_bits_are_read_or_refused_where_they_would_lose_their_levels(tmp_path):
    values = np.random.default_rng(0).integers(65536, size=(16, 16, 3), dtype=np.uint16)
    file = tmp_path / "a.png"
    file.write_bytes(png_of_16_bit_colours(values))
    images, *_ = read_images([file], 16)
    np.testing.assert_array_equal(images[0], values >> 8)
    file.write_bytes(png_of_16_bit_colours(values >> 4))
    with pytest.raises(InputError, match=r"a\.png: colours of 16 bits whose largest value in 1 image is 4,095: "):
        read_images([file], 16)


def test_unreadable_files_are_told_at_once(tmp_path):
    files = [written(tmp_path / f"{number:02}.png", COLOURS) for number in range(30)]
    for number, file in enumerate(files[:25]):  # some without a header, some with half of their pixels
        file.write_bytes(b"no image" if number % 2 else file.read_bytes()[:300])
    with pytest.raises(InputError) as caught:
        read_images(files, 16)
    line = str(caught.value)
    assert line.startswith(f"25 of 30 files cannot be read as images: {files[0]}, {files[1]}, ")
    assert f"{files[9]} and 15 more; the first: {files[0]}: cannot be read as an image (" in line
    assert str(files[10]) not in line
    assert len(line.splitlines()) == 1


def test_file_name_with_a_line_end_stays_in_one_line(tmp_path):
    file = tmp_path / "a\nb\u2028.png"
    file.write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        read_images([file], 16)
    assert len(str(caught.value).splitlines()) == 1


def test_images_that_do_not_fit_on_the_disk_are_refused_before_the_first_is_decoded(tmp_path, monkeypatch):
    files = [written(tmp_path / f"{number}.png", COLOURS) for number in range(4)]
    monkeypatch.setattr(image_folder, "disk_usage", lambda _: SimpleNamespace(free=2 * 4 * 100 * 100 * 3))
    assert read_images(files, 100)[0].shape == (4, 100, 100, 3)
    monkeypatch.setattr(image_folder, "read_with_whole", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError) as caught:
        read_images(files, 512)
    assert str(caught.value) == (
        "prepare.image_size: 4 images of 512 × 512 × 3 need 0.006 GB of disk, 0.000 GB are free; "
        "accepted: up to 100, or fewer images"
    )
