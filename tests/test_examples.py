"""The examples: pictures of every kind become exactly the pixels from which the shipped student learned."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import ROOT
from PIL import Image

from app.uploads import picture_input
from distillery.data.prepared import DatasetInfo
from distillery.datasets.image_folder import read_images
from distillery.datasets.pictures import Preprocessing
from distillery.export.preprocessing import described


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = loaded(ROOT / "examples/picture.py")
RANDOM = np.random.default_rng(0)
PHOTOGRAPH = np.asarray(
    Image.fromarray(RANDOM.integers(256, size=(9, 13, 3), dtype=np.uint8)).resize((131, 89), Image.Resampling.BICUBIC)
)
GLASS = np.dstack([PHOTOGRAPH, np.asarray(Image.linear_gradient("L").resize((131, 89)))])


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def save_pictures(folder: Path, grey: bool) -> list[Path]:
    """Write pictures of every kind: grey ones, or coloured ones, too."""
    photograph, glass = Image.fromarray(PHOTOGRAPH), Image.fromarray(GLASS)
    deep = (PHOTOGRAPH[..., 0].astype(np.uint16) << 4) + 7  # 12 bits
    pictures = {
        "grey.png": (photograph.convert("L"), {}),
        "12_bits.png": (Image.fromarray(deep), {}),
        "12_bits.tiff": (Image.fromarray(deep), {}),
        "32_bit_integers.tiff": (Image.fromarray(deep.astype(np.int32)), {}),
        "glass_grey.png": (glass.convert("LA"), {}),
        "clear_level.png": (photograph.convert("L"), {"transparency": 130}),
        "bilevel.png": (photograph.convert("1"), {}),
        "tall.png": (photograph.convert("L").crop((0, 0, 11, 80)), {}),
        "small.png": (photograph.convert("L").crop((0, 0, 5, 8)), {}),
        "large_grey.jpg": (photograph.convert("L").resize((501, 377)), {"exif": turned(6)}),
    }
    if not grey:
        pictures |= {f"turned_{way}.jpg": (photograph, {"exif": turned(way)}) for way in range(10)}
        pictures |= {
            "turned.png": (photograph, {"exif": turned(5)}),
            "turned.tiff": (photograph, {"exif": turned(8)}),
            "turned.webp": (glass, {"exif": turned(3), "lossless": True}),
            "icon.png": (glass, {}),
            "palette.png": (photograph.quantize(40), {}),
            "palette_clear.png": (photograph.quantize(40), {"transparency": 3}),
            "palette_glass.png": (photograph.quantize(40), {"transparency": bytes(range(0, 240, 6))}),
            "clear_colour.png": (photograph, {"transparency": tuple(PHOTOGRAPH[40, 40].tolist())}),
            "animation.gif": (photograph, {"save_all": True, "append_images": [photograph.rotate(90)]}),
            "clear.gif": (photograph.quantize(40), {"transparency": 3}),
            "cmyk.jpg": (photograph.convert("CMYK"), {}),
            "cmyk.tiff": (photograph.convert("CMYK"), {}),
            "lab.tiff": (Image.fromarray(PHOTOGRAPH).convert("YCbCr"), {}),
            "large.jpg": (photograph.resize((501, 477)), {"exif": turned(7)}),
            "odd_exif.jpg": (photograph, {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x0b\0\xff\xff\xff\xff\xff"}),
        }
    for name, (picture, options) in pictures.items():
        picture.save(folder / name, **options)
    return [folder / name for name in pictures]


def info(shape: tuple[int, int, int], preprocessing: dict | None = None) -> DatasetInfo:
    return DatasetInfo("icons", ["a", "b"], shape, {}, {}, "", {}, preprocessing)


@pytest.mark.parametrize("size", [8, 45])
@pytest.mark.parametrize("grey", [True, False])
def test_pictures_become_the_prepared_pixels(tmp_path, grey, size):
    files = save_pictures(tmp_path, grey)
    images, preprocessing, *_ = read_images(files, size)
    assert images.shape[-1] == preprocessing.channels == (1 if grey else 3)
    assert preprocessing.bits == 12
    description = json.loads(json.dumps(described(info(images.shape[1:], vars(preprocessing)))))
    for file, pixels in zip(files, images, strict=True):
        np.testing.assert_array_equal(EXAMPLE.read_picture(file, description), pixels, err_msg=file.name)
        uploaded = picture_input(file.read_bytes(), file.name, "", pixels.shape, vars(preprocessing))
        np.testing.assert_array_equal(uploaded.pixels, pixels, err_msg=file.name)


def test_description_of_a_data_set_without_pictures():
    assert described(info((28, 28, 1))) == vars(Preprocessing(28, 1)) | {"size": [28, 28]}
    assert json.loads(json.dumps(described(info((20, 31, 3)))))["size"] == [20, 31]


@pytest.mark.parametrize("shape", [(20, 31, 3), (31, 20, 1)])
def test_picture_is_cropped_to_the_proportions_of_the_model(tmp_path, shape):
    height, width, channels = shape
    middle = np.zeros((height, width, 3), np.uint8)
    middle[1:-1, 1:-1] = 200
    for margin in ((7, 0), (0, 8)):
        bordered = np.pad(middle, (*[(side, side) for side in margin], (0, 0)), constant_values=99)
        Image.fromarray(bordered).save(tmp_path / "picture.png")
        found = EXAMPLE.read_picture(tmp_path / "picture.png", described(info(shape)))
        np.testing.assert_array_equal(found, middle[..., :channels])


def test_wrong_argument_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    def load(model: str):
        return onnxruntime.InferenceSession(model).run

    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "preprocessing.json").write_text(json.dumps(described(info((8, 8, 3)))))
    (tmp_path / "notes.png").write_text("no picture")
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "picture.png")
    classes, picture = str(tmp_path / "classes.txt"), str(tmp_path / "picture.png")
    for arguments, told in {
        ("model.onnx", "missing.txt", picture): "missing.txt: ",
        ("model.onnx", classes, "missing.png"): "missing.png: ",
        ("model.onnx", classes, str(tmp_path / "notes.png")): f"{tmp_path}/notes.png: cannot identify image file",
        ("missing.onnx", classes, picture): "missing.onnx: ",
        (classes, classes, picture): f"{classes}: ",
    }.items():
        monkeypatch.setattr(sys, "argv", ["classify_onnx.py", *arguments])
        with pytest.raises(SystemExit) as caught:
            EXAMPLE.classify("What a picture shows.", load)
        assert caught.value.code.startswith(told)  # Python prints it and exits with 1
        assert "\n" not in caught.value.code
    monkeypatch.setattr(sys, "argv", ["classify_onnx.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        EXAMPLE.classify("What a picture shows.", load)
    assert caught.value.code == 0
    assert "usage: classify_onnx.py [-h] model classes picture" in capsys.readouterr().out
