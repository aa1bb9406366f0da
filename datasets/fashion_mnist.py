"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes in ten classes, 28 × 28 pixels, one channel."""

from distillery.datasets.dataset import Dataset
from distillery.datasets.idx import idx_dataset
from distillery.datasets.sources import Mirror, RawFiles

DOWNLOADS = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
FILES = RawFiles(
    title="Fashion-MNIST",
    folder="fashion-mnist",  # as in /usr/share/datasets, where Debian's package dataset-fashion-mnist puts it
    digests={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    mirrors=[
        Mirror("https://storage.googleapis.com/tensorflow/tf-keras-datasets/", DOWNLOADS),
        Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", DOWNLOADS),
    ],
)
CLASSES = [
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
]
SOURCE = "Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, Zalando Research)"


def load() -> Dataset:
    """Return the data set."""
    return idx_dataset(*FILES.read(), CLASSES, SOURCE)
