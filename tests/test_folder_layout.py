"""Folders of images as people have them: used as they are meant, or refused with what disturbs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillery.data.errors import InputError
from distillery.datasets.folder_layout import list_images
from distillery.datasets.image_folder import read_folder
from distillery.datasets.load import load_dataset

RANDOM = np.random.default_rng(0)


def put(root: Path, *classes: str, count: int = 3) -> Path:
    """Write different images into each class."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = RANDOM.integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def counts(root: Path) -> dict[str, int]:
    _, parts = list_images(str(root))
    return {part: len(images) for part, images in parts.items()}


def message(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        list_images(str(root))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("validation", ["val", "valid", "Validation", "VAL"])
@pytest.mark.parametrize("capitals", [str.lower, str.capitalize, str.upper])
def test_parts_are_used_as_they_are_named(tmp_path, validation, capitals):
    put(tmp_path / capitals("train"), "cat", "dog", count=4)
    put(tmp_path / capitals("test"), "cat", "dog", count=1)
    assert counts(tmp_path) == {"train": 8, "test": 2}
    put(tmp_path / validation, "cat", "dog", count=2)
    assert counts(tmp_path) == {"train": 8, "validation": 4, "test": 2}
    dataset = read_folder(str(tmp_path), 8, 0.2)
    assert dataset.classes == ["cat", "dog"]
    for part, images in (("validation", 4), ("test", 2)):
        assert len(getattr(dataset, f"{part}_images")) == images
        assert all(file.lower().startswith(part[:3]) for file in dataset.files[part])


def test_parts_may_be_called_training_and_testing(tmp_path):
    put(tmp_path / "Training", "cat", "dog")
    put(tmp_path / "Testing", "cat", "dog")
    assert counts(tmp_path) == {"train": 6, "test": 6}


@pytest.mark.parametrize("others", [[], ["val"]])
def test_without_a_test_part_one_is_drawn_from_train(tmp_path, others):
    put(tmp_path / "train", "cat", "dog", count=10)
    for part in others:
        put(tmp_path / part, "cat", "dog", count=3)
    dataset = read_folder(str(tmp_path), 8, 0.2)
    assert np.bincount(dataset.train_labels).tolist() == [8, 8]
    assert np.bincount(dataset.test_labels).tolist() == [2, 2]
    assert (dataset.validation_images is not None) == bool(others)
    assert all(file.startswith("train/") for file in dataset.files["test"])


def test_what_systems_leave_behind_is_no_class_and_said(tmp_path, capsys):
    root = put(tmp_path, "cat", "dog")
    put(root / "__MACOSX", "cat")
    put(root, ".ipynb_checkpoints", "@eaDir")
    for name in ("cat/Thumbs.db", "dog/Thumbs.db", "dog/._0.png", "desktop.ini", "README.md"):
        (root / name).write_bytes(b"nothing")
    classes, parts = list_images(str(root))
    assert (classes, len(parts["train"])) == (["cat", "dog"], 6)
    (line,) = capsys.readouterr().out.splitlines()
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "Thumbs.db (2×)", "._0.png", "desktop.ini", "README.md"):
        assert name in line


def test_a_single_folder_around_the_classes_is_passed_through(tmp_path, capsys):
    put(tmp_path / "flowers" / "flowers", "rose", "tulip")
    (tmp_path / "flowers" / "LICENSE").touch()
    put(tmp_path / "__MACOSX", "rose")
    classes, parts = list_images(str(tmp_path))
    assert (classes, len(parts["train"])) == (["rose", "tulip"], 6)
    assert f"{tmp_path} holds one folder, flowers" in capsys.readouterr().out
    for part in ("train", "test"):
        put(tmp_path / "split" / "v1" / part / "images", "rose", "tulip")
    assert counts(tmp_path / "split") == {"train": 6, "test": 6}


def test_parts_beside_classes_are_refused_with_what_disturbs(tmp_path):
    put(tmp_path / "train", "cat", "dog")
    put(tmp_path, "cat", "dog")
    assert f"{tmp_path} has train beside cat and 1 more: parts beside classes; accepted: " in message(tmp_path)
    put(tmp_path / "b", "cat", "dog", "Test")
    assert "has Test beside cat and 1 more" in message(tmp_path / "b")
    put(tmp_path / "c" / "train", "cat", "dog")
    put(tmp_path / "c" / "unsorted", "images")
    assert "has train beside unsorted" in message(tmp_path / "c")
    put(tmp_path / "d" / "val", "cat", "dog")
    put(tmp_path / "d" / "test", "cat", "dog")
    assert "has no part train, only test, val; accepted" in message(tmp_path / "d")
    for part in ("train", "val", "valid"):
        put(tmp_path / "e" / part, "cat", "dog")
    assert "has several folders of validation images, only train, val, valid; accepted" in message(tmp_path / "e")


def test_trains_are_a_class_where_they_are_one(tmp_path, capsys):
    put(tmp_path, "train", "bus", "car")
    put(tmp_path, "unlabelled")
    classes, parts = list_images(str(tmp_path))
    assert (classes, list(parts)) == (["bus", "car", "train", "unlabelled"], ["train"])
    said = capsys.readouterr().out
    assert "train is a class: it holds images" in said
    assert "left out" not in said


def test_every_part_needs_the_classes_and_an_image_of_each(tmp_path):
    put(tmp_path / "train", "cat", "dog", count=1)
    put(tmp_path / "val", "cat", "dog", count=1)
    put(tmp_path / "test", "cat", "dog", count=1)
    assert counts(tmp_path) == {"train": 2, "validation": 2, "test": 2}
    put(tmp_path / "val", "emu")
    assert "the classes in train and validation differ: none only in train, emu only in validation" in message(tmp_path)
    (tmp_path / "val").rename(tmp_path / ".val")
    assert "cat has 1 image; accepted: 2 images or more, one each to train and to validate on" in message(tmp_path)


def test_linked_folders_are_refused_since_dvc_does_not_look_into_them(tmp_path):
    elsewhere = put(tmp_path / "elsewhere", "dog")
    root = put(tmp_path / "pets", "cat", "emu")
    (root / "dog").symlink_to(elsewhere / "dog")
    assert message(root).startswith(f"{root}/dog: a link to a folder, into which DVC does not look: ")
    (root / "dog").unlink()
    (root / "cat" / "more").symlink_to(elsewhere / "dog")
    assert message(root).startswith(f"{root}/cat/more: a link to a folder")
    (root / "cat" / "more").unlink()
    for number in range(3):  # of linked files DVC takes the content
        (root / "dog").mkdir(exist_ok=True)
        (root / "dog" / f"{number}.png").symlink_to(elsewhere / "dog" / f"{number}.png")
    (tmp_path / "link").symlink_to(root)  # so does it of the data set's own path
    assert counts(tmp_path / "link") == {"train": 9}


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a\u2029", "a\x85b", "a\rb", "\x0bb", "a\x1cb", "a\x0cb"])
def test_name_of_a_class_that_holds_a_line_end_is_refused(tmp_path, name):
    assert "has a line end" in message(put(tmp_path / "a folder", "cat", name)).replace("holds", "has")
    file = tmp_path / "own.py"
    file.write_text(
        "import numpy as np\nfrom distillery.datasets.dataset import Dataset\n\n\ndef load():\n"
        "    images, labels = np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 2\n"
        f"    return Dataset(['cat', {name!r}], images, labels, images, labels, 'drawn', 'nowhere')\n"
    )
    with pytest.raises(InputError, match=r"own\.py: classes is no list of names; accepted: .* one line each") as caught:
        load_dataset(str(file), 8, 0.2)
    assert len(str(caught.value).splitlines()) == 1


def test_other_names_of_classes_are_taken_as_they_are(tmp_path):
    names = ["a\tb", "$x^2_i$", "می\u200cخواهم", "👩\u200d🚀", "no\u00a0break", "100 %", "'"]
    assert read_folder(str(put(tmp_path, *names)), 8, 0.2).classes == sorted(names)
