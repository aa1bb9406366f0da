"""CIFAR-100: 50,000 + 10,000 photographs in a hundred classes, 32 × 32 pixels, red, green and blue."""

from distillery.datasets.cifar import read_batch, read_batches
from distillery.datasets.dataset import Dataset
from distillery.datasets.sources import Mirror, RawFiles

FILES = RawFiles(
    title="CIFAR-100",
    folder="cifar-100-python",
    digests={
        "meta": "md5:7973b15100ade9c7d40fb424638fde48",
        "train": "md5:16019d7e3df5f24257cddd939b257f8d",
        "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    mirrors=[
        Mirror(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
        )
    ],
)
LABELS = "fine_labels"  # the hundred classes; `coarse_labels` are twenty groups of them
SOURCE = "CIFAR-100 (A. Krizhevsky, V. Nair, G. Hinton)"


def load() -> Dataset:
    """Return the data set, the names of its classes as its file `meta` has them."""
    files, retrieved_from = FILES.read()
    classes = [name.decode() for name in read_batch(files["meta"])[b"fine_label_names"]]
    train_images, train_labels = read_batches([files["train"]], LABELS)
    test_images, test_labels = read_batches([files["test"]], LABELS)
    return Dataset(classes, train_images, train_labels, test_images, test_labels, SOURCE, retrieved_from)
