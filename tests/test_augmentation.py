"""Augmentation: views are functions of (policy, image, view number)."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import shift as scipy_shift

from distillery.data.errors import InputError
from distillery.data.prepared import DatasetInfo, save_prepared
from distillery.learning.augmentation import Policy, Views, apply, draw
from distillery.learning.augmentation.moving import shift
from pipeline.params import Augment, load_params

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)))


@settings(max_examples=60, deadline=None)
@given(images=IMAGES, data=st.data())
def test_shift_agrees_with_scipy(images, data):
    offsets = arrays(np.int64, len(images), elements=st.integers(-3, 3))
    rows, columns = data.draw(offsets), data.draw(offsets)
    expected = [
        scipy_shift(image, (row, column, 0), order=0, cval=0)
        for image, row, column in zip(images, rows, columns, strict=True)
    ]
    np.testing.assert_array_equal(shift(images, rows, columns), expected)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 48, 3)])
def test_shift_is_bounded_by_the_size_of_the_images(shape):
    """At the bound every view shows more than half of the image; one pixel more is refused."""
    info = DatasetInfo("tiny", ["a", "b"], shape, {}, {}, "", {})
    bound = min(shape[:2]) // 4
    info.check_augmentation("student", SimpleNamespace(max_shift=bound, augment=Augment()))
    whole = np.full((1, *shape), 255, np.uint8)
    for row, column in ((bound, bound), (-bound, bound)):
        assert (shift(whole, np.array([row]), np.array([column])) > 0).mean() > 0.5
    with pytest.raises(InputError) as caught:
        info.check_augmentation("student", SimpleNamespace(max_shift=bound + 1, augment=None))
    assert str(caught.value) == (
        f"params.yaml: student.max_shift: found {bound + 1}, for images of {shape[0]} × {shape[1]} pixels; "
        f"accepted: up to {bound}, a quarter of the shorter side"
    )


@pytest.mark.parametrize(
    ("stage", "section"),
    [
        *((stage, "student") for stage in ("prepare", "train_teacher", "transfer", "distill", "train_scratch")),
        *((stage, "train_teacher") for stage in ("prepare", "train_teacher")),
    ],
)
def test_stage_refuses_a_shift_too_large_for_the_images_before_any_work(stage, section, tmp_path, monkeypatch):
    params = load_params(ROOT / "presets/mnist.yaml")
    large = getattr(params, section).model_copy(update={"max_shift": 3})
    monkeypatch.chdir(tmp_path)
    digits = params.prepare.model_copy(update={"dataset": str(ROOT / "datasets/digits.py")})
    params = params.model_copy(update={section: large, "prepare": digits})
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20, dtype=np.int32) % 10
    classes = [str(digit) for digit in range(10)]
    splits = dict.fromkeys(("train", "validation", "test"), (images, labels))
    save_prepared(Path("data/prepared"), "digits", classes, "", splits)
    expected = rf"^params\.yaml: {section}\.max_shift: found 3, for images of 8 × 8 pixels; accepted: up to 2"
    with pytest.raises(InputError, match=expected):
        importlib.import_module(f"stages.{stage}").main(params, None)


def test_every_shift_is_equally_likely():
    point = np.zeros((20_000, 5, 5, 1), np.uint8)
    point[:, 2, 2] = 1
    parameters = draw(Policy(2), 20_000, np.random.default_rng(0))
    where = np.argwhere(apply(point, parameters)[..., 0])[:, 1:]
    counts = np.bincount(where[:, 0] * 5 + where[:, 1], minlength=25)
    assert counts.sum() == 20_000  # no shift of up to 2 loses the middle
    assert counts.min() > 650  # 800 expected of each, standard deviation 28
    assert counts.max() < 950


def test_half_of_the_images_are_mirrored():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    parameters = draw(Policy(0, True), 10_000, np.random.default_rng(0))
    shown = apply(np.repeat(image, 10_000, axis=0), parameters)
    mirrored = (shown == image[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((shown == image).all(axis=(1, 2, 3)) | mirrored).all()
    assert 4800 < mirrored.sum() < 5200  # 5000 expected, standard deviation 50


def test_view_of_an_image_is_the_same_whatever_batch_order_and_number_of_views():
    images = np.random.default_rng(0).integers(256, size=(50, 6, 6, 1), dtype=np.uint8)
    every = np.arange(50)
    three, five = Views(Policy(2, True), 50, 3), Views(Policy(2, True), 50, 5)
    np.testing.assert_array_equal(three.show(images, every, 0), images)
    for number in range(3):
        np.testing.assert_array_equal(three.show(images, every, number), five.show(images, every, number))
    parameters = np.stack([five.parameters(every, number) for number in range(5)])
    assert (np.abs(parameters["rows"]).max(), parameters["mirrored"].max()) == (2, 1)
    numbers = np.random.default_rng(1).integers(5, size=50)
    order = np.random.default_rng(2).permutation(50)[:20]
    shown = Views(Policy(2, True), 50, 5).show(images[order], order, numbers[order])
    expected = [five.show(images[[i]], np.array([i]), int(numbers[i]))[0] for i in order]
    np.testing.assert_array_equal(shown, expected)
