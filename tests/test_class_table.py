"""What `prepare` says of the images of each class, and files that are no images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillery.data.errors import InputError
from distillery.datasets.class_table import class_table
from distillery.datasets.dataset import Dataset
from distillery.datasets.duplicates import without_duplicates
from distillery.datasets.image_folder import read_folder


def draw(path: Path, number: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 10 * number).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Of each class some train and test images; of dogs two are the same, and one file is damaged."""
    for number in range(3):
        draw(tmp_path / f"train/cat/{number}.png", number, (20 + number, 10))
        draw(tmp_path / f"test/cat/{number}.png", 10 + number, (9, 9))
    for number in range(4):
        draw(tmp_path / f"train/dog/{number}.png", 5 + min(number, 2), (30, 40))
        draw(tmp_path / f"test/dog/{number}.png", 15 + number, (9, 9))
    (tmp_path / "train/dog/0.png").write_bytes(b"no picture")
    return tmp_path


def test_a_row_a_class(folder, capsys):
    found = read_folder(str(folder), 8, 0.2, "leave_out")
    assert (
        "left out, since they cannot be read as images: " + str(folder / "train/dog/0.png") in capsys.readouterr().out
    )
    dataset, _, repeated = without_duplicates(found, "leave_out")
    table = class_table(dataset, repeated).set_index("class")
    assert table.loc["cat"].to_dict() == {
        "train": 3,
        "test": 3,
        "repeated": 0,
        "unreadable": 0,
        "height_min": 9,
        "height_median": 9.5,
        "height_max": 10,
        "width_min": 9,
        "width_median": 14.5,
        "width_max": 22,
    }
    dog = table.loc["dog"]
    assert (dog.train, dog.test, dog.repeated, dog.unreadable) == (3, 4, 2, 1)
    assert (dog.height_max, dog.width_max) == (40, 30)
    assert dataset.files["train"] == [f"train/cat/{number}.png" for number in range(3)] + [
        f"train/dog/{number}.png" for number in (1, 2, 3)
    ]
    np.testing.assert_array_equal(dataset.train_images[:][:, 0, 0, 0], [0, 10, 20, 60, 70, 70])


def test_unreadable_files_are_refused_unless_they_are_to_be_left_out(folder):
    with pytest.raises(InputError, match=r"train/dog/0\.png: cannot be read as an image"):
        read_folder(str(folder), 8, 0.2)
    for file in (folder / "test/dog").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"prepare\.unreadable: leave_out leaves no image of class dog in test"):
        read_folder(str(folder), 8, 0.2, "leave_out")
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(InputError, match="14 of 14 files cannot be read as images"):
        read_folder(str(folder), 8, 0.2, "leave_out")


def test_images_that_are_no_files_have_the_size_of_their_array():
    images, labels = np.zeros((4, 6, 7, 1), np.uint8), np.array([0, 1, 1, 1])
    table = class_table(Dataset(["a", "b"], images, labels, images, labels, "", ""), [1, 3])
    assert table.train.tolist() == table.test.tolist() == [1, 3]
    assert table.repeated.tolist() == [1, 3]
    assert set(table.height_median) == {6}
    assert set(table.width_max) == {7}
