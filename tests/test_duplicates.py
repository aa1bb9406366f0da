"""The same picture twice: said, kept in one part, left out or refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distillery.data.errors import InputError
from distillery.datasets.dataset import Dataset
from distillery.datasets.duplicates import near_duplicates, picture_ids, without_duplicates
from distillery.datasets.image_folder import draw_test, read_folder
from distillery.datasets.splits import draw_validation, stratified_split


def images(*values: int) -> np.ndarray:
    """Return an image of one value for each."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 4, 4, 1))


def dataset(train, test, validation=None) -> Dataset:
    """Return a data set; each part is values of images and their labels."""
    return Dataset(
        ["cat", "dog"],
        images(*train[0]), np.array(train[1]), images(*test[0]), np.array(test[1]),
        "drawn", "nowhere",
        *((images(*validation[0]), np.array(validation[1])) if validation else ()),
    )  # fmt: skip


def folder(root: Path, **values: list[int]) -> str:
    for name, of_class in values.items():
        place = root / name.replace("_", "/")
        place.mkdir(parents=True)
        for number, value in enumerate(of_class):
            Image.fromarray(np.full((8, 8), value, np.uint8)).save(place / f"{number:03}.png")
    return str(root)


def test_every_picture_once_is_said_and_changes_nothing(capsys):
    given_parts = dataset(([1, 2, 3], [0, 1, 0]), ([4, 5], [0, 1]))
    for policy in ("leave_out", "keep", "refuse"):
        same, ids, _ = without_duplicates(given_parts, policy)
        assert same is given_parts
        assert len(set(ids)) == 3
        assert capsys.readouterr().out == "no picture occurs twice\n"


def test_repeated_pictures_are_counted_and_named(capsys):
    found = dataset(([1, 1, 1, 2, 3, 9], [0, 0, 0, 1, 0, 1]), ([3, 3, 7, 2], [0, 0, 1, 0]), ([5, 2, 7], [0, 1, 1]))
    same, *_ = without_duplicates(found, "keep")
    assert same is found
    assert capsys.readouterr().out.splitlines() == [
        "images of train that repeat another of train: 2, such as train image 0 = train image 1, "
        "train image 1 = train image 2",
        "images of test that repeat another of test: 1, such as test image 0 = test image 1",
        "warning: images of validation that are in train, too: 1, such as train image 3 = validation image 1",
        "warning: images of test that are in train, too: 3, such as train image 3 = test image 3, "
        "train image 4 = test image 0",
        "warning: images of test that are in validation, too: 2, such as validation image 1 = test image 3, "
        "validation image 2 = test image 2",
        "warning: pictures under several classes: 1, such as test image 3 (cat) = train image 3 (dog)",
    ]


def test_training_images_that_are_tested_on_are_left_out(capsys):
    found = dataset(([1, 1, 2, 3, 9], [0, 0, 1, 0, 1]), ([3, 7, 8], [0, 1, 0]), ([5, 2, 7, 6], [0, 1, 1, 1]))
    left, ids, _ = without_duplicates(found, "leave_out")
    assert left.train_images[:][:, 0, 0, 0].tolist() == [1, 1, 9]
    assert left.train_labels.tolist() == [0, 0, 1]
    assert left.validation_images[:][:, 0, 0, 0].tolist() == [5, 2, 6]
    assert left.test_images[:][:, 0, 0, 0].tolist() == [3, 7, 8]
    assert ids[0] == ids[1] != ids[2]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "left out of train, since they are in validation or test, too: 2 images",
        "left out of validation, since they are in test, too: 1 images",
    ]
    with pytest.raises(InputError, match=r"prepare\.duplicates: leave_out leaves no image of class 'dog' in train"):
        without_duplicates(dataset(([1, 2], [0, 1]), ([2, 3], [1, 0])), "leave_out")


def test_refused_duplicates_are_named_in_one_line():
    for found in (dataset(([1, 2, 2], [0, 1, 1]), ([3, 4], [0, 1])), dataset(([1, 2], [0, 1]), ([2, 4], [1, 0]))):
        with pytest.raises(InputError, match=r"^prepare\.duplicates: refuse, and .*image 1.*; accepted: ") as caught:
            without_duplicates(found, "refuse")
        assert len(str(caught.value).splitlines()) == 1


def test_files_of_a_folder_are_named(tmp_path, capsys):
    root = folder(tmp_path, train_cat=[1, 2, 3], train_dog=[4, 5, 6], test_cat=[1], test_dog=[2])
    without_duplicates(read_folder(root, 8, 0.2), "leave_out")
    out = capsys.readouterr().out
    assert "train/cat/000.png = test/cat/000.png" in out
    assert "train/cat/001.png (cat) = test/dog/000.png (dog)" in out
    assert "left out of train, since they are in validation or test, too: 2 images" in out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=8, max_size=80), st.floats(0.05, 0.5))
def test_what_is_drawn_never_has_a_picture_on_both_sides(pairs, fraction):
    """Whatever repeats, within a class or across both: or one line says that there are too few different pictures."""
    values, labels = np.array(pairs).T
    ids = np.unique(values, return_inverse=True)[1]
    names = [f"{'ab'[label]}/{number}" for number, label in enumerate(labels)]
    try:
        tested = draw_test(names, labels, ids, ["a", "b"], fraction, 2)
        train = Dataset(["a", "b"], images(*values[~tested]), labels[~tested], images(0), labels[:1], "", "")
        parts = draw_validation(train, fraction, 0, ids[~tested])
    except InputError:
        return
    sides = [set(values[tested]), *(set(part[:][:, 0, 0, 0]) for part in (parts.train_images, parts.validation_images))]
    assert sum(map(len, sides)) == len(set(values))
    assert sum(map(len, (values[tested], parts.train_labels, parts.validation_labels))) == len(values)
    for seen in (parts.train_labels, parts.validation_labels):
        assert set(seen) == {0, 1}


def test_without_repeated_pictures_the_split_is_that_of_the_images():
    labels = np.random.default_rng(0).integers(3, size=500)
    ids = np.random.default_rng(1).permutation(500)
    for one, other in zip(stratified_split(labels, 0.1, 7), stratified_split(labels, 0.1, 7, ids), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_without_parts_has_no_picture_in_two_of_them(tmp_path):
    """Each picture four times, as copies under other names are."""
    root = folder(tmp_path, cat=[*range(1, 31)] * 4, dog=[*range(101, 131)] * 4)
    split, ids, _ = without_duplicates(read_folder(root, 8, 0.2), "leave_out")
    split = draw_validation(split, 0.2, 0, ids)
    parts = [set(part[:][:, 0, 0, 0]) for part in (split.train_images, split.validation_images, split.test_images)]
    assert sum(map(len, parts)) == 60
    assert [len(labels) for labels in (split.train_labels, split.validation_labels, split.test_labels)] == [152, 40, 48]


def test_class_of_copies_of_one_picture_is_refused(tmp_path):
    root = folder(tmp_path, cat=[1, 2, 3, 4], dog=[5, 5, 5, 6])
    with pytest.raises(InputError, match=r"class dog has 4 images, of which 2 are neither.*; accepted: 3 different"):
        read_folder(root, 8, 0.2)


def test_a_picture_saved_anew_is_said_to_look_alike():
    random = np.random.default_rng(0)
    blocks = random.integers(256, size=(60, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    noisy = np.clip(blocks[:2] + random.normal(0, 4, blocks[:2].shape), 0, 255).astype(np.uint8)
    labels, classes = np.arange(60) % 2, ["a", "b"]
    others = Dataset(classes, blocks[:40], labels[:40], blocks[40:], labels[40:], "", "")
    assert near_duplicates(others) is None
    copies = Dataset(classes, blocks[:40], labels[:40], np.concatenate([blocks[40:], noisy]), labels[:22], "", "")
    assert near_duplicates(copies) == (
        "images of test that look much like one of train: 2, such as test image 20 and train image 0, "
        "test image 21 and train image 1"
    )
    odd = Dataset(classes, blocks[:40, :29, :13], labels[:40], noisy[:, :29, :13], labels[:2], "", "")
    assert near_duplicates(odd).startswith(
        "images of test that look much like one of train: 2, such as test image 0 and"
    )


def test_ids_are_the_same_for_the_same_pixels_and_no_others():
    random = np.random.default_rng(0)
    stored = random.integers(2, size=(400, 2, 2, 3), dtype=np.uint8)
    ids = picture_ids({"a": stored[:150], "b": stored.transpose(0, 2, 1, 3)[150:]})
    seen = np.concatenate([stored[:150], stored.transpose(0, 2, 1, 3)[150:]]).reshape(400, -1)
    expected = np.unique(seen, axis=0, return_inverse=True)[1]
    pairs = {*zip(np.concatenate([ids["a"], ids["b"]]).tolist(), expected.tolist(), strict=True)}
    assert len(pairs) == len(np.unique(expected)) == 1 + max(ids["a"].max(), ids["b"].max())
