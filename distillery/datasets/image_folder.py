"""The user's own images: a folder with one subfolder per class."""

import hashlib
import os
import unicodedata
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from distillery.data.errors import InputError
from distillery.datasets.dataset import Dataset

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow knows more, but some of them start programs
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16L", "I;16B"}

Labelled = list[tuple[Path, int]]


def read_folder(path: str, image_size: int, test_fraction: float) -> Dataset:
    """Return the user's own images: a folder with one subfolder per class, its name the class's.

    Args:
        path: the folder.
        image_size: pixels that each side is resized to.
        test_fraction: part of the images that is the test set, unless the subfolders are `train` and `test`.

    Raises:
        InputError: when the folder has another layout, or a file cannot be read as an image.
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
        retrieved_from=path,
    )


def list_images(path: str, test_fraction: float) -> tuple[list[str], Labelled, Labelled]:
    """Return the images of each class, and which of them are for the test.

    Where the subfolders are exactly `train` and `test`, each with one subfolder per class, these parts are taken. Else
    `test_fraction` of each class, at least one image, is drawn for the test by a hash of the name. Hidden files and
    folders are left out, and so are files beside the class folders.

    Args:
        path: the folder.
        test_fraction: part of the images that goes to the test, above 0.

    Returns:
        The classes, sorted by name; files and labels to train and validate on, and those to test on, each sorted by
        class, then by name.

    Raises:
        InputError: when the folder has another layout, or a class has too few images.
    """
    root = Path(path)
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"prepare.dataset: {path!r} {found}; accepted: a folder with one subfolder per class")
    if set(_class_folders(root)) == {"train", "test"}:
        return _given_parts(root)
    files = _class_files(root, 3, "one each to train, to validate and to test on")
    train, test = [], []
    for label, (name, images) in enumerate(files.items()):
        count = min(max(round(len(images) * test_fraction), 1), len(images) - 2)
        # By a hash of the name: images that are added later move few or none of the others to the other part.
        drawn = set(sorted(images, key=lambda image, name=name: _hash(f"{name}/{_name(image)}"))[:count])
        for image in images:
            (test if image in drawn else train).append((image, label))
    return list(files), train, test


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _given_parts(root: Path) -> tuple[list[str], Labelled, Labelled]:
    train = _class_files(root / "train", 2, "one each to train and to validate on")
    test = _class_files(root / "test", 1, "one to test on")
    if list(train) != list(test):
        raise InputError(
            f"prepare.dataset: the classes in train and test differ: {_some(train.keys() - test.keys())} only in train,"
            f" {_some(test.keys() - train.keys())} only in test; accepted: the same subfolders in both"
        )
    return list(train), *(
        [(image, label) for label, images in enumerate(part.values()) for image in images] for part in (train, test)
    )


def _class_files(folder: Path, minimum: int, purpose: str) -> dict[str, list[Path]]:
    folders = _class_folders(folder)
    if len(folders) < 2:
        found = f"one subfolder only, {next(iter(folders))!r}" if folders else "no subfolders"
        raise InputError(
            f"prepare.dataset: {folder} has {found}; accepted: one subfolder per class, two classes or more"
        )
    files = {name: _visible(place) for name, place in folders.items()}
    for name, images in files.items():
        for image in images:
            if not image.is_file():
                raise InputError(f"{image}: in the folder of a class, but not a file; accepted: images only")
        if len(images) < minimum:
            raise InputError(
                f"prepare.dataset: {folders[name]} has {_counted(len(images))}; "
                f"accepted: {_counted(minimum)} or more, {purpose}"
            )
    return files


def _class_folders(folder: Path) -> dict[str, Path]:
    folders = {}
    for place in _visible(folder):
        if place.is_dir():
            name = _name(place)
            if name in folders:
                raise InputError(
                    f"prepare.dataset: {folder} has two subfolders named {name!r}; accepted: different names"
                )
            folders[name] = place
    return folders


def _visible(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted: the order depends on the names and not on the file system."""
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None


def _name(path: Path) -> str:
    """Return the name in one form: some systems write ä as one character, others as two; some names are no text."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the name is not in UTF-8; accepted: one that is") from None
    return unicodedata.normalize("NFC", path.name)


def _counted(images: int) -> str:
    return {0: "no images", 1: "1 image"}.get(images, f"{images:,} images")


def _some(names: Iterable[str]) -> str:
    first, *rest = sorted(names) or ["none"]
    return f"{first} and {len(rest)} more" if rest else first


def read_images(files: list[Path], size: int) -> np.ndarray:
    """Return images of any size and kind as one array.

    Each is turned upright as its EXIF data say and laid on white where it is transparent. Its shorter side is scaled
    to `size`, and the longer side is cut off to it, the same at both ends. Of an animation the first image counts, of
    16 bits the upper 8.

    Args:
        files: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM.
        size: pixels.

    Returns:
        uint8, (n, size, size, 1) when all images are grey, else (n, size, size, 3): red, green, blue.

    Raises:
        InputError: when a file cannot be read as an image, or has more pixels than Pillow thinks safe.
    """
    print(f"reading {_counted(len(files))}", flush=True)
    mode = "L" if {_header_mode(file) for file in files} <= GREY_MODES else "RGB"
    images = np.empty((len(files), size, size, len(mode)), np.uint8)

    def read(number: int) -> None:
        images[number] = np.asarray(_read_image(files[number], mode, size)).reshape(size, size, -1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and scales without Python's lock
        for _ in tqdm(pool.map(read, range(len(files))), total=len(files), unit="image", disable=None):
            pass
    return images


def _header_mode(file: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.mode == "F":
                    raise ValueError("floating-point values have no fixed range")
                return image.mode
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise InputError(
                f"{file}: more pixels than can be safe to decode; accepted: up to {Image.MAX_IMAGE_PIXELS:,}"
            ) from None
        except Exception as error:  # what Pillow's readers raise on damaged files is of many kinds
            raise unreadable(file, error) from None


def _read_image(file: Path, mode: str, size: int) -> Image.Image:
    try:
        with Image.open(file, formats=FORMATS) as image:
            image.draft(None, (2 * size, 2 * size))  # JPEG alone: large photographs are decoded at a part of their size
            return squared(upright(image, mode), size)
    except Exception as error:  # as above
        raise unreadable(file, error) from None


def unreadable(file: str | Path, error: Exception) -> InputError:
    """Return the error that says which file Pillow could not read, and why."""
    reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({' '.join(str(error).split())})"
    return InputError(f"{file}: cannot be read as an image{reason}; accepted: {', '.join(FORMATS)}")


def upright(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture turned as its EXIF data say, in 8 bits, on white where it is transparent.

    Args:
        image: as Pillow opened it.
        mode: `L` or `RGB`, what it is converted to.

    Raises:
        ValueError: when its values need more than 16 bits.
    """
    return _on_white(_in_8_bits(ImageOps.exif_transpose(image)), mode)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return the upper 8 of 16 bits: Pillow itself would clip the values at 255."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("more than 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def squared(image: Image.Image, size: int) -> Image.Image:
    """Return a picture of `size` × `size` pixels: the shorter side scaled, the longer cut off alike at both ends."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.LANCZOS)
