"""CIFAR-10 and CIFAR-100 in their format, with few images; nothing in a pickle is run."""

import gzip
import hashlib
import io
import lzma
import os
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError
from distillery.datasets import cifar
from distillery.datasets.dataset import Dataset

DATASETS = Path(__file__).resolve().parent.parent / "datasets"


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
def raw(offline, monkeypatch):
    """The user's folder, the only source."""
    monkeypatch.setenv("DISTILLERY_DATA", str(offline / "raw"))
    (offline / "raw").mkdir()
    return offline / "raw"


RANDOM = np.random.default_rng(0)


def batch(labels: dict[str, int], size: int) -> dict:
    planes = RANDOM.integers(256, size=(size, 3072), dtype=np.uint8)
    return {"data": planes} | {key: RANDOM.integers(count, size=size).tolist() for key, count in labels.items()}


TEN = {f"data_batch_{number}": batch({"labels": 10}, number) for number in range(1, 6)}
TEN |= {"test_batch": batch({"labels": 10}, 3)}
HUNDRED = {part: batch({"coarse_labels": 20, "fine_labels": 100}, 6) for part in ("train", "test")}
HUNDRED["meta"] = {
    "fine_label_names": [f"fine{n}" for n in range(100)],
    "coarse_label_names": [f"coarse{n}" for n in range(20)],
}


def small(name: str, files: dict[str, dict]):
    """A file of the catalogue with the digests of these files in place of its own."""
    module = load_module(DATASETS / f"{name}.py", "load")
    assert set(files) == set(module.FILES.digests)
    digests = {file: hashlib.sha256(python_2_pickle(content)).hexdigest() for file, content in files.items()}
    module.FILES = replace(module.FILES, digests=digests)
    return module


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


def write_all(folder: Path, files: dict[str, dict]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(python_2_pickle(content))
    return folder


def assert_is(dataset: Dataset, train: list[dict], test: dict, labels: str) -> None:
    for part, batches in (("train", train), ("test", [test])):
        images, found = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert (images.dtype, found.dtype) == (np.uint8, np.int32)
        assert found.tolist() == [label for batch in batches for label in batch[labels]]
        planes = np.concatenate([batch["data"] for batch in batches])
        np.testing.assert_array_equal(images[..., 2], planes[:, 2048:].reshape(-1, 32, 32))
        np.testing.assert_array_equal(images[:, 4, 7, 0], planes[:, 4 * 32 + 7])


@pytest.mark.parametrize("form", ["folder", "gz", "xz"])
def test_cifar_in_the_user_folder_is_read(raw, form):
    for folder, archive, files in (
        ("cifar-10-batches-py", "cifar-10-python", TEN),
        ("cifar-100-python", "cifar-100-python", HUNDRED),
    ):
        if form == "folder":
            write_all(raw / folder, files)
        else:
            pack = gzip.compress if form == "gz" else lzma.compress
            (raw / f"{archive}.tar.{form}").write_bytes(pack(tar(folder, files)))
    ten, hundred = small("cifar10", TEN).load(), small("cifar100", HUNDRED).load()
    assert_is(ten, [TEN[f"data_batch_{number}"] for number in range(1, 6)], TEN["test_batch"], "labels")
    assert_is(hundred, [HUNDRED["train"]], HUNDRED["test"], "fine_labels")
    assert ten.classes[:2] == ["airplane", "automobile"]
    assert hundred.classes == [f"fine{n}" for n in range(100)]
    assert ten.source == "CIFAR-10 (A. Krizhevsky, V. Nair, G. Hinton)"
    assert str(raw) in ten.retrieved_from


def test_damaged_cifar_files_raise_input_error(raw):
    module = small("cifar10", TEN)
    unpacked = write_all(raw / "cifar-10-batches-py", TEN)

    def message() -> str:
        with pytest.raises(InputError) as caught:
            module.load()
        return str(caught.value)

    (unpacked / "data_batch_3").write_bytes(b"other")
    assert message() == (
        f"the folder {unpacked}: data_batch_3 is damaged: its digest is {hashlib.sha256(b'other').hexdigest()}, "
        f"expected {module.FILES.digests['data_batch_3']}"
    )
    (unpacked / "data_batch_3").unlink()
    assert f"the folder {unpacked}: holds neither data_batch_3, data_batch_3.gz nor cifar-10-python.tar.gz" in message()

    whole = tar("cifar-10-batches-py", TEN)
    for archive, content in (
        ("cifar-10-python.tar.xz", lzma.compress(whole)[:-2000]),
        ("cifar-10-python.tar.xz", b"no archive"),
        ("cifar-10-python.tar.gz", gzip.compress(whole)[:-2000]),
        ("cifar-10-python.tar.gz", b"\x1f\x8b no archive"),
        ("cifar-10-python.tar.gz", b""),
    ):
        (raw / archive).write_bytes(content)
        assert message().startswith(f"{raw}/{archive}: cannot be read (")
        assert "\n" not in message()
        (raw / archive).unlink()
    short = tar("cifar-10-batches-py", TEN, leave_out="data_batch_2")
    (raw / "cifar-10-python.tar.gz").write_bytes(gzip.compress(short))
    assert message() == f"the archive {raw}/cifar-10-python.tar.gz: damaged: it does not hold data_batch_2"


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
