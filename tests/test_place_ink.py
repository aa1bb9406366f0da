"""Drawings and photographs of handwriting as a data set has its images, against images of MNIST."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import SEVEN, TWO, enlarged, png, saved
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import center_of_mass

from app.handwriting import LAYOUTS, ink_of_canvas, ink_of_picture, place_ink
from app.uploads import open_picture, picture_input
from distillery.datasets.pictures import Preprocessing

MNIST = LAYOUTS["mnist"]


def on_canvas(ink: np.ndarray, top: int = 0, left: int = 0, side: int = 500) -> np.ndarray:
    """Black ink on a white canvas as the browser gives it: red, green, blue, opacity."""
    canvas = np.full((side, side, 4), 255, np.uint8)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1], :3] = 255 - ink[..., np.newaxis]
    return canvas


@pytest.mark.parametrize("image", [SEVEN, TWO])
def test_place_ink_enlarged_mnist_image_equals_image(image):
    canvas = on_canvas(enlarged(image), top=170, left=33)
    assert np.array_equal(place_ink(ink_of_canvas(canvas), 28, MNIST), image)


@pytest.mark.parametrize("image", [SEVEN, TWO])
def test_place_ink_smooth_drawing_resembles_image(image):
    smooth = np.asarray(Image.fromarray(image).resize((420, 420), Image.Resampling.BICUBIC))
    again = place_ink(ink_of_canvas(on_canvas(smooth)), 28, MNIST)
    assert np.abs(again.astype(int) - image).mean() < 12  # moved by a single pixel it would be 13 and more
    assert np.corrcoef(again.ravel(), image.ravel())[0, 1] > 0.95


def test_ink_of_canvas_without_strokes_is_empty():
    for canvas in (np.zeros((50, 50, 4), np.uint8), np.full((50, 50, 4), 255, np.uint8)):
        assert not ink_of_canvas(canvas).any()
    with pytest.raises(ValueError, match="no ink"):
        place_ink(np.zeros((50, 50), np.uint8), 28, MNIST)


strokes = st.lists(st.tuples(st.integers(30, 270), st.integers(30, 270)), min_size=2, max_size=8, unique=True)


def drawing(points: list[tuple[int, int]]) -> np.ndarray:
    image = Image.new("L", (300, 300))
    ImageDraw.Draw(image).line(points, fill=255, width=20, joint="curve")
    return np.asarray(image)


@given(strokes)
@settings(max_examples=60, deadline=None)
def test_place_ink_any_drawing_fits_box_and_is_centred_by_mass(points):
    image = place_ink(drawing(points), 28, MNIST)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    for found, centre in ((rows, center_of_mass(image)[0]), (columns, center_of_mass(image)[1])):
        at_the_edge = found[0] == 0 or found[-1] == 27  # ink is not pushed out of the image
        assert at_the_edge or abs(centre - 14) <= 0.5 + 1e-9


@given(strokes, st.integers(0, 150), st.integers(0, 150))
@settings(max_examples=30, deadline=None)
def test_place_ink_moved_drawing_gives_same_image(points, top, left):
    ink = drawing(points)
    moved = np.zeros((450, 450), np.uint8)
    moved[top : top + 300, left : left + 300] = ink
    assert np.array_equal(place_ink(moved, 28, MNIST), place_ink(ink, 28, MNIST))


@pytest.mark.parametrize(("height", "width"), [(200, 40), (40, 200), (10, 5)])
def test_place_ink_keeps_aspect_ratio(height, width):
    image = place_ink(np.full((height, width), 255, np.uint8), 28, MNIST)
    side = 20 / max(height, width)
    assert image.any(axis=1).sum() == round(height * side)
    assert image.any(axis=0).sum() == round(width * side)
    assert image[image > 0].min() == 255  # full ink stays full ink


def test_place_ink_digits_fills_all_eight_rows():
    image = place_ink(enlarged(SEVEN), 8, LAYOUTS["digits"])
    assert image.shape == (8, 8)
    assert image.any(axis=1).all()


def photograph(image: np.ndarray, seed: int, fall_off: int = 40) -> np.ndarray:
    """Dark ink on light paper, unevenly lit from one side, with noise, and with specks of dirt."""
    random = np.random.default_rng(seed)
    ink = np.asarray(Image.fromarray(enlarged(image, 30)).filter(ImageFilter.GaussianBlur(4))).astype(float)
    page = np.pad(ink, ((150, 100), (260, 300)))
    for row, column in random.integers(30, 800, (6, 2)):
        page[row : row + 5, column : column + 5] = 200
    light = 240 - fall_off * np.linspace(1, 0, page.shape[1])
    return np.clip(light - 0.7 * page + random.normal(0, 5, page.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("image", [SEVEN, TWO])
@pytest.mark.parametrize(("seed", "fall_off"), [(0, 40), (1, 40), (0, 60), (0, 100)])
def test_photograph_of_ink_on_paper_is_inverted_cleaned_and_centred(image, seed, fall_off):
    photo = saved(Image.fromarray(photograph(image, seed, fall_off)), "JPEG")
    made = picture_input(photo, "photo.jpg", "mnist", (28, 28, 1))
    assert np.corrcoef(made.pixels.ravel(), image.ravel())[0, 1] > 0.9
    assert "its border is light, so it was inverted" in made.changes


@pytest.mark.parametrize("width", [6, 12, 40])
def test_thin_stroke_becomes_full_ink(width):
    page = Image.new("L", (1200, 1200), 230)
    ImageDraw.Draw(page).line([(400, 300), (800, 300), (550, 900)], fill=30, width=width)
    made = picture_input(png(np.asarray(page)), "thin.png", "mnist", (28, 28, 1))
    assert made.pixels.max() == 255


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_large_picture_is_reduced_first(mode):
    page = Image.new("L", (4100, 4600), 230)
    ImageDraw.Draw(page).line([(1000, 1000), (3000, 1000), (1500, 3500)], fill=30, width=200)
    picture = open_picture(saved(page.convert(mode), "PNG"), "large.png", Preprocessing(28, 1), drawing=True)
    assert min(picture.size) == 2050
    made = picture_input(saved(page.convert(mode), "PNG"), "large.png", "mnist", (28, 28, 1))
    small = page.resize((1025, 1150), Image.Resampling.BOX)
    assert np.corrcoef(made.pixels.ravel(), _pixels(small).ravel())[0, 1] > 0.98


def _pixels(page: Image.Image) -> np.ndarray:
    return picture_input(saved(page, "PNG"), "small.png", "mnist", (28, 28, 1)).pixels


def test_light_ink_on_black_is_kept():
    ink, inverted = ink_of_picture(enlarged(TWO))
    assert not inverted
    assert np.array_equal(place_ink(ink, 28, MNIST), TWO)
    made = picture_input(png(TWO), "two.png", "mnist", (28, 28, 1))
    assert np.array_equal(made.pixels[..., 0], TWO)
    assert made.changes == ""


@given(arrays(np.uint8, (60, 60)))
@settings(max_examples=40, deadline=None)
def test_ink_of_any_picture_never_fails(grey):
    ink, _ = ink_of_picture(grey)
    assert ink.shape == (60, 60)
    if ink.any():
        assert ink.max() == 255
        assert place_ink(ink, 28, MNIST).any()
