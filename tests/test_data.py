import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import shift as scipy_shift

from distillery.data.errors import InputError
from distillery.data.prepared import load_description, load_split, save_prepared
from distillery.datasets.splits import stratified_split
from distillery.learning.augmentation import draw_offsets, shift, show, stored_offsets
from distillery.students.training_set import load_training_set
from pipeline.params import Student, load_params

ROOT = Path(__file__).resolve().parent.parent

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


def test_jitter_draws_every_shift_alike():
    point = np.zeros((20_000, 5, 5, 1), np.uint8)
    point[:, 2, 2] = 1
    offsets = draw_offsets(20_000, 2, False, np.random.default_rng(0))
    where = np.argwhere(show(point, offsets)[..., 0])[:, 1:]
    counts = np.bincount(where[:, 0] * 5 + where[:, 1], minlength=25)
    assert counts.sum() == 20_000  # no shift of up to 2 loses the middle
    assert counts.min() > 650  # 800 expected of each, standard deviation 28
    assert counts.max() < 950


def test_half_of_the_images_are_mirrored():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    offsets = draw_offsets(10_000, 0, True, np.random.default_rng(0))
    shown = show(np.repeat(image, 10_000, axis=0), offsets)
    mirrored = (shown == image[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((shown == image).all(axis=(1, 2, 3)) | mirrored).all()
    assert 4800 < mirrored.sum() < 5200  # 5000 expected, standard deviation 50


def test_stored_views_start_with_the_image_and_do_not_depend_on_their_number():
    three, five = stored_offsets(50, 3, 2, True), stored_offsets(50, 5, 2, True)
    np.testing.assert_array_equal(three, five[:3])
    assert not three[0].any()
    assert (np.abs(five[..., :2]).max(), five[..., 2].max()) == (2, 1)
    images = np.random.default_rng(0).integers(256, size=(50, 6, 6, 1), dtype=np.uint8)
    np.testing.assert_array_equal(show(images, three[0]), images)


def test_the_validation_split_is_stratified_seeded_and_complete():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    train, validation = stratified_split(labels, 0.1, seed=3)
    assert np.bincount(labels[validation]).tolist() == [70, 20, 10]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(1000))
    np.testing.assert_array_equal(stratified_split(labels, 0.1, seed=3)[1], validation)
    assert not np.array_equal(stratified_split(labels, 0.1, seed=4)[1], validation)
    with pytest.raises(InputError, match=r"leaves 1 of 2 classes without a validation image, the smallest has 2"):
        stratified_split(np.repeat([0, 1], [50, 2]), 0.1, seed=0)
    with pytest.raises(InputError, match=r"prepare\.validation_fraction"):
        stratified_split(np.arange(10), 0.1, seed=0)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    splits = {
        part: (
            random.integers(256, size=(size, 4, 5, 3), dtype=np.uint8),
            random.integers(2, size=size, dtype=np.int32),
        )
        for part, size in (("train", 30), ("validation", 10), ("test", 8))
    }
    save_prepared("tiny", ["Mädchen", "犬"], "nowhere", splits)
    return splits


def test_prepared_data_are_read_back(prepared, tmp_path):
    about = load_description()
    assert about["classes"] == ["Mädchen", "犬"]
    assert about["sizes"] == {"train": 30, "validation": 10, "test": 8}
    for part, (images, labels) in prepared.items():
        split = load_split(part)
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert sum(about["class_counts"][part].values()) == len(labels)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data/prepared").iterdir()}
    save_prepared("tiny", ["Mädchen", "犬"], "nowhere", prepared)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data/prepared").iterdir()} == before


def budget(**changes) -> Student:
    tree = load_params(ROOT / "params.yaml").student.model_dump()
    return Student.model_validate(tree | changes)


@pytest.fixture
def three_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.tile(np.arange(3, dtype=np.int32), 8)
    images = np.arange(24, dtype=np.uint8).reshape(24, 1, 1, 1)
    save_prepared(
        "tiny", ["cat", "3", "犬"], "nowhere", dict.fromkeys(("train", "validation", "test"), (images, labels))
    )
    return labels


def test_students_neither_learn_from_omitted_classes_nor_are_chosen_by_them(three_classes):
    data = load_training_set(budget(omit_classes=[3]))
    np.testing.assert_array_equal(data.among, np.flatnonzero(three_classes != 1))
    assert set(data.validation.labels) == {0, 2}
    np.testing.assert_array_equal(data.validation.images[:, 0, 0, 0], data.among)
    assert len(data.train.labels) == 24  # positions stay those of the teacher's logits
    whole = load_training_set(budget(views=3, jitter=1))
    assert (len(whole.among), len(whole.validation.labels), whole.offsets.shape) == (24, 24, (3, 24, 3))


def test_classes_to_omit_are_checked(three_classes):
    with pytest.raises(InputError, match=r"student\.omit_classes: found 'dog'; accepted: names .*, cat, 3, 犬"):
        load_training_set(budget(omit_classes=["dog"]))
    with pytest.raises(InputError, match=r"student\.omit_classes: leaves 1 classes; accepted: 2 left"):
        load_training_set(budget(omit_classes=["cat", 3]))


@pytest.mark.parametrize("damage", ["truncated", "missing", "other shape", "pickled"])
def test_damaged_prepared_data_are_told_in_one_line(prepared, tmp_path, damage):
    path = tmp_path / "data/prepared/train_images.npy"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "missing":
        path.unlink()
    elif damage == "other shape":
        np.save(path, np.zeros((3, 4, 5, 3), np.uint8))
    else:
        np.save(path, np.array([os.getcwd], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"train_images\.npy: .*run `dvc repro") as caught:
        load_split("train")
    assert "\n" not in str(caught.value)
