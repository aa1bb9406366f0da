"""The data sets, one public function each; its name is what `prepare.dataset` accepts.

To add one, write a function that returns a `Dataset`.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from distillery.datasets.cifar import CIFAR10, CIFAR100, Cifar, cifar_batches, planes_to_images
from distillery.datasets.image_folder import list_images, read_images
from distillery.datasets.mnist import fashion_mnist_files, mnist_files, read_idx

_DIGITS_TEST_SEED = 0  # the test set is part of the data set: it stays the same whatever `prepare.seed` is


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        classes: the classes' names, in the order of the labels.
        train_images, test_images: uint8, (n, height, width, channels).
        train_labels, test_labels: int32, (n,).
        source: where the data set comes from, the same whichever copy was read.
        obtained: which copy was read, for people.
    """

    classes: list[str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    obtained: str


def mnist() -> Dataset:
    """The MNIST database: 60,000 + 10,000 handwritten digits, 28 × 28 pixels, one channel."""
    return _from_idx(
        *mnist_files(),
        classes=[str(digit) for digit in range(10)],
        source="The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)",
    )


def fashion_mnist() -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothes in ten classes, 28 × 28 pixels, one channel."""
    return _from_idx(
        *fashion_mnist_files(),
        classes=[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        source="Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, Zalando Research)",
    )


def cifar10() -> Dataset:
    """CIFAR-10: 50,000 + 10,000 photographs in ten classes, 32 × 32 pixels, red, green and blue."""
    return _from_cifar(CIFAR10)


def cifar100() -> Dataset:
    """CIFAR-100: 50,000 + 10,000 photographs in a hundred classes (the fine labels), 32 × 32 pixels, three channels."""
    return _from_cifar(CIFAR100)


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 handwritten digits, 8 × 8 pixels, one channel; a fifth of them is the test set."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # 17 shades to the full byte
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        bunch.target.astype(np.int32),
        test_size=0.2,
        stratify=bunch.target,
        random_state=_DIGITS_TEST_SEED,
    )
    return Dataset(
        classes=[str(digit) for digit in range(10)],
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source="Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), as scikit-learn carries it",
        obtained="scikit-learn",
    )


def folder(path: str, image_size: int, test_fraction: float) -> Dataset:
    """The user's own images: a folder with one subfolder a class, its name the class's.

    What is read and how, `list_images` and `read_images` of `distillery/datasets/image_folder.py` say.

    Args:
        path: the folder.
        image_size: pixels that each side is resized to.
        test_fraction: part of the images that is the test set, unless the subfolders are `train` and `test`.

    Raises:
        InputError: when the folder is not laid out so, or a file cannot be read as an image.
    """
    classes, train, test = list_images(path, test_fraction)
    images = read_images([file for file, _ in train + test], image_size)
    labels = np.array([label for _, label in train + test], np.int32)
    return Dataset(
        classes=classes,
        train_images=images[: len(train)],
        train_labels=labels[: len(train)],
        test_images=images[len(train) :],
        test_labels=labels[len(train) :],
        source="own images",
        obtained=path,
    )


def _from_idx(files: dict[str, bytes], obtained: str, classes: list[str], source: str) -> Dataset:
    return Dataset(
        classes=classes,
        train_images=read_idx(files["train-images-idx3-ubyte"])[..., np.newaxis],
        train_labels=read_idx(files["train-labels-idx1-ubyte"]).astype(np.int32),
        test_images=read_idx(files["t10k-images-idx3-ubyte"])[..., np.newaxis],
        test_labels=read_idx(files["t10k-labels-idx1-ubyte"]).astype(np.int32),
        source=source,
        obtained=obtained,
    )


def _from_cifar(cifar: Cifar) -> Dataset:
    batches, obtained = cifar_batches(cifar)
    train, test = [batches[name] for name in cifar.train], [batches[cifar.test]]
    return Dataset(
        classes=[name.decode() for name in batches[cifar.meta][cifar.classes]],
        train_images=planes_to_images([batch[b"data"] for batch in train]),
        train_labels=np.concatenate([batch[cifar.labels] for batch in train]).astype(np.int32),
        test_images=planes_to_images([batch[b"data"] for batch in test]),
        test_labels=np.concatenate([batch[cifar.labels] for batch in test]).astype(np.int32),
        source=f"{cifar.title} (A. Krizhevsky, V. Nair, G. Hinton)",
        obtained=obtained,
    )
