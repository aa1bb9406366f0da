"""A data set by its path: a file with a function `load`, or a folder of images."""

from pathlib import Path

from distillery.data.catalogue import load_module
from distillery.data.errors import InputError
from distillery.datasets.dataset import Dataset, checked
from distillery.datasets.image_folder import read_folder


def dataset_name(path: str) -> str:
    """Return the name of a data set: the file's without `.py`, or the folder's."""
    place = Path(path).absolute()
    if place.name == "..":
        place = place.resolve()
    return place.name if place.is_dir() else place.stem


def load_dataset(path: str, image_size: int, test_fraction: float, unreadable: str = "refuse") -> Dataset:
    """Return the data set that a path names.

    Args:
        path: a `.py` file whose function `load` returns a `Dataset`, or a folder of images.
        image_size: of a folder: pixels that each side is resized to.
        test_fraction: of a folder without a part `test`: part of the images that is the test set.
        unreadable: of a folder: `refuse` or `leave_out` files that cannot be read as images.

    Raises:
        InputError: when there is no such file or folder, or it holds no data set.
    """
    place = Path(path)
    if place.is_dir():
        return read_folder(path, image_size, test_fraction, unreadable)
    if place.suffix != ".py" or not place.is_file():
        found = "is neither a folder nor a .py file" if place.exists() else "does not exist"
        there = ", ".join(str(file) for file in sorted(place.parent.glob("[!_]*.py"))) or "a .py file"
        raise InputError(
            f"prepare.dataset: {path!r} {found}; accepted: {there}, or a folder with one subfolder per class"
        )
    return checked(load_module(path, "load").load(), path)
