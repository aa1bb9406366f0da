"""Prepared data and splits."""

import os

import numpy as np
import pytest

from distillery.data.errors import InputError
from distillery.data.files import new_map
from distillery.data.prepared import load_info, load_split, save_prepared
from distillery.datasets.splits import stratified_split


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
def prepared(tmp_path):
    random = np.random.default_rng(0)
    splits = {
        part: (
            random.integers(256, size=(size, 4, 5, 3), dtype=np.uint8),
            random.integers(2, size=size, dtype=np.int32),
        )
        for part, size in (("train", 30), ("validation", 10), ("test", 8))
    }
    save_prepared(tmp_path, "tiny", ["Mädchen", "犬"], "nowhere", splits)
    return splits


def test_prepared_data_are_read_back(prepared, tmp_path):
    info = load_info(tmp_path)
    assert info.classes == ["Mädchen", "犬"]
    assert info.sizes == {"train": 30, "validation": 10, "test": 8}
    for part, (images, labels) in prepared.items():
        split = load_split(tmp_path, part)
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert sum(info.class_counts[part].values()) == len(labels)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_prepared(tmp_path, "tiny", ["Mädchen", "犬"], "nowhere", prepared)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_mapped_file_has_its_room_before_it_is_written(tmp_path):
    array = new_map(tmp_path / "a.npy", np.uint8, (1000, 1000))
    status = (tmp_path / "a.npy").stat()
    assert status.st_blocks * 512 >= status.st_size > array.nbytes
    assert not array.any()


def test_more_folds_than_images_are_refused(prepared, tmp_path):
    info = load_info(tmp_path)
    info.check_folds(30, [])
    with pytest.raises(InputError, match=r"distill.folds: found 31; accepted: up to the number of images.*, 30"):
        info.check_folds(31, [])


@pytest.mark.parametrize("damage", ["truncated", "missing", "other shape", "pickled"])
def test_damaged_prepared_data_raise_input_error(prepared, tmp_path, damage):
    path = tmp_path / "train_images.npy"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "missing":
        path.unlink()
    elif damage == "other shape":
        np.save(path, np.zeros((3, 4, 5, 3), np.uint8))
    else:
        np.save(path, np.array([os.getcwd], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"train_images\.npy: .*run `dvc repro") as caught:
        load_split(tmp_path, "train")
    assert "\n" not in str(caught.value)
