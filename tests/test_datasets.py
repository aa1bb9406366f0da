"""The catalogue of data sets, files of one's own like them, and the format of MNIST's files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError
from distillery.datasets.idx import as_idx, read_idx
from distillery.datasets.load import dataset_name, load_dataset

DATASETS = Path(__file__).resolve().parent.parent / "datasets"
OWN = """\"\"\"Bars: 40 images of a horizontal or a vertical bar, 8 × 8 pixels, one channel.\"\"\"

import numpy as np

from distillery.datasets.dataset import Dataset

CLASSES = ["horizontal", "vertical"]


def load() -> Dataset:
    images = np.zeros((40, 8, 8, 1), np.uint8)
    images[:20, 3:5], images[20:, :, 3:5] = 255, 255
    labels = np.repeat([0, 1], 20)
    test = np.arange(40) % 4 == 0
    return Dataset(
        classes=CLASSES,
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        source="Bars, drawn by NumPy",
        retrieved_from="bars.py",
    )
"""


def test_digits_are_scikit_learns():
    dataset, bunch = load_dataset(str(DATASETS / "digits.py"), 8, 0.2), load_digits()
    assert len(dataset.train_labels) + len(dataset.test_labels) == len(bunch.target) == 1797
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_images.shape[1:] == (8, 8, 1)
    together = np.concatenate([dataset.train_images, dataset.test_images])[..., 0]
    original = {image.tobytes() for image in np.round(bunch.images * 255 / 16).astype(np.uint8)}
    assert {np.ascontiguousarray(image).tobytes() for image in together} == original
    shares = np.bincount(dataset.test_labels) / np.bincount(bunch.target)
    assert shares.min() > 0.18
    assert shares.max() < 0.22


@pytest.mark.parametrize("file", sorted(DATASETS.glob("*.py")), ids=lambda file: file.stem)
def test_file_of_the_catalogue_has_a_docstring_and_load(file):
    module = load_module(file, "load")
    assert module.__doc__
    assert isinstance(module.SOURCE, str)
    assert dataset_name(str(file)) == file.stem


def test_own_file_is_read_wherever_it_lies(tmp_path, monkeypatch):
    folder = tmp_path / "Müllers Daten"
    folder.mkdir()
    (folder / "bars.py").write_text(OWN)
    dataset = load_dataset(str(folder / "bars.py"), 8, 0.2)
    assert dataset.classes == ["horizontal", "vertical"]
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (30, 10)
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert dataset_name(str(folder / "bars.py")) == "bars"
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(load_dataset("bars.py", 8, 0.2).train_images, dataset.train_images)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def load()", "def read()", "load"),
        ("import numpy as np", "import numpy as", "SyntaxError"),
        ("import numpy as np", "import numpi as np", "numpi"),
        ("return Dataset(", "return dict(", "load() returned dict; accepted: distillery's Dataset"),
        ('["horizontal", "vertical"]', '["horizontal"]', "accepted: two names or more"),
        ('["horizontal", "vertical"]', '["bar", "bar"]', "classes has 'bar' more than once"),
        ('["horizontal", "vertical"]', '["a", ""]', "none of them empty"),
        ('["horizontal", "vertical"]', '["a", 1]', "accepted: a list of strings"),
        ('["horizontal", "vertical"]', '["a", "b\\n"]', "accepted: a list of strings of one line each"),
        ('["horizontal", "vertical"]', '["a", "b", "c"]', "train_labels: no image of class 'c'"),
        ("np.uint8", "np.float32", "train_images: found float32; accepted: a NumPy array of uint8"),
        ("images[~test]", "images[~test].tolist()", "train_images: found list; accepted"),
        (
            "images[~test]",
            "images[~test, ..., 0]",
            "train_images: found the shape (30, 8, 8); accepted: (n, height, width",
        ),
        ("8, 8, 1)", "8, 8, 4)", "train_images: found the shape (30, 8, 8, 4); accepted"),
        ("images[test]", "images[test][:0]", "test_images: found the shape (0, 8, 8, 1); accepted"),
        ("images[test]", "images[test, :4]", "train_images have the shape (8, 8, 1), test_images (4, 8, 1)"),
        ("labels[~test]", "labels[~test] * 0.5", "train_labels: found float64; accepted: a NumPy array of integers"),
        ("labels[~test]", "labels[~test][1:]", "train_labels: found the shape (29,); accepted: (30,)"),
        ("labels[test]", "labels[test] + 1", "test_labels: found 1 to 2; accepted: 0 to 1"),
        ("labels[test]", "labels[test] - 1", "test_labels: found -1 to 0; accepted: 0 to 1"),
        ("labels[test]", "labels[test] * 0", "test_labels: no image of class 'vertical'; accepted: one or more"),
        ('source="Bars, drawn by NumPy"', "source=None", "source is None; accepted: a string"),
    ],
)
def test_own_file_that_holds_no_dataset_raises_input_error(tmp_path, old, new, expected):
    file = tmp_path / "bars.py"
    assert old in OWN
    file.write_text(OWN.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_dataset(str(file), 8, 0.2)
    assert str(caught.value).startswith(f"{file}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_own_file_may_give_validation_images(tmp_path):
    file = tmp_path / "bars.py"
    given = "validation_images=images[test], validation_labels=labels[test].astype(np.uint8),"
    file.write_text(OWN.replace("source=", f"{given} source="))
    dataset = load_dataset(str(file), 8, 0.2)
    assert dataset.parts().keys() == {"train", "validation", "test"}
    assert dataset.validation_labels.dtype == np.int32
    file.write_text(OWN.replace("source=", f"{given.replace('images[test]', 'images[test, :4]')} source="))
    with pytest.raises(InputError, match=r"train_images have the shape \(8, 8, 1\), validation_images \(4, 8, 1\)"):
        load_dataset(str(file), 8, 0.2)


def test_path_of_no_dataset_raises_input_error_that_lists_what_there_is(tmp_path):
    expected = (
        f"prepare.dataset: '{DATASETS}/mnits.py' does not exist; accepted: {DATASETS}/cifar10.py, "
        f"{DATASETS}/cifar100.py, {DATASETS}/digits.py, {DATASETS}/fashion_mnist.py, {DATASETS}/mnist.py, "
        "or a folder with one subfolder per class"
    )
    with pytest.raises(InputError) as caught:
        load_dataset(str(DATASETS / "mnits.py"), 8, 0.2)
    assert str(caught.value) == expected
    (tmp_path / "images.zip").touch()
    for path, found in (
        (tmp_path / "nowhere" / "a", "does not exist"),
        (tmp_path / "images.zip", "is neither a folder"),
    ):
        with pytest.raises(
            InputError, match=f"{found}.*; accepted: a .py file, or a folder with one subfolder per class"
        ):
            load_dataset(str(path), 8, 0.2)


def test_folder_gives_the_dataset_its_name(tmp_path, monkeypatch):
    (tmp_path / "flowers.v2").mkdir()
    monkeypatch.chdir(tmp_path / "flowers.v2")
    for path in (tmp_path / "flowers.v2", f"{tmp_path}/flowers.v2/", "."):
        assert dataset_name(str(path)) == "flowers.v2"
    (tmp_path / "flowers.v2/daisies").mkdir()
    monkeypatch.chdir("daisies")
    assert dataset_name("..") == "flowers.v2"


@settings(max_examples=40, deadline=None)
@given(array=arrays(np.uint8, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)))
def test_idx_files_are_read_back(array):
    np.testing.assert_array_equal(read_idx(as_idx(array)), array)


def test_idx_header_by_the_published_layout():
    """The format's page: magic 0 0 type dimensions, sizes big-endian; 0x08 is unsigned byte."""
    file = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(read_idx(file), [[1, 2, 3], [4, 5, 6]])
    for wrong in (b"", b"\0\0\x0d\x01\0\0\0\1\0", file[:-1]):
        with pytest.raises(ValueError, match=r"IDX|reshape"):
            read_idx(wrong)
