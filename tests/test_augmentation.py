"""Augmentation: views are functions of (policy, image, view number)."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import shift as scipy_shift

from distillery.learning.augmentation import Policy, Views, apply, draw, shift

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
    assert (np.abs(parameters[..., :2]).max(), parameters[..., 2].max()) == (2, 1)
    numbers = np.random.default_rng(1).integers(5, size=50)
    order = np.random.default_rng(2).permutation(50)[:20]
    shown = Views(Policy(2, True), 50, 5).show(images[order], order, numbers[order])
    expected = [five.show(images[[i]], np.array([i]), int(numbers[i]))[0] for i in order]
    np.testing.assert_array_equal(shown, expected)
