"""What a picture goes through before a shipped student: the file beside it that whoever uses it follows."""

from dataclasses import asdict

from distillery.data.prepared import DatasetInfo
from distillery.datasets.pictures import Preprocessing


def described(info: DatasetInfo) -> dict:
    """Return the content of `preprocessing.json`, after `Preprocessing`; `size` is height and width that a model takes.

    A data set of arrays had no pictures. Those that its student is given are treated as pictures in folders are.

    Args:
        info: the data set's, with the size that the model takes (`resized_info`).
    """
    height, width, channels = info.image_shape
    treatment = asdict(Preprocessing(size=height, channels=channels)) | (info.preprocessing or {})
    return treatment | {"size": [height, width]}
