"""CIFAR-10: 50,000 + 10,000 photographs in ten classes, 32 × 32 pixels, red, green and blue."""

from distillery.datasets.cifar import read_batches
from distillery.datasets.dataset import Dataset
from distillery.datasets.sources import Mirror, RawFiles

FILES = RawFiles(
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    digests={
        "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
        "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
        "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
        "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
        "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
        "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
    },
    mirrors=[
        Mirror(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
        )
    ],
)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SOURCE = "CIFAR-10 (A. Krizhevsky, V. Nair, G. Hinton)"


def load() -> Dataset:
    """Return the data set."""
    files, retrieved_from = FILES.read()
    train_images, train_labels = read_batches([files[f"data_batch_{number}"] for number in range(1, 6)], "labels")
    test_images, test_labels = read_batches([files["test_batch"]], "labels")
    return Dataset(CLASSES, train_images, train_labels, test_images, test_labels, SOURCE, retrieved_from)
