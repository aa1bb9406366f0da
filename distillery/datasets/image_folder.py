"""The user's own images: a folder with one subfolder per class."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from PIL import Image

from distillery.data.errors import InputError, shown, some
from distillery.data.files import reserve
from distillery.data.progress import Progress
from distillery.data.whole_pictures import Pictures, WholePictures
from distillery.datasets.dataset import Dataset, Rows
from distillery.datasets.duplicates import picture_ids
from distillery.datasets.folder_layout import counted, list_images, name_of
from distillery.datasets.pictures import (
    GREY_MODES,
    Preprocessing,
    has_16_bits,
    open_picture,
    read_with_whole,
    unreadable,
    values_of_16_bits,
    whole_size,
)

KEPT_BLOCKS = 8  # of decoded pictures, up to 16 MB each: the next ones are decoded into them
AT_ONCE = 16  # files that a thread reads before it hands on what it found: to wake another takes time
COPIES = 2  # of the images on the disk: as they were read, and divided into the parts


def read_folder(path: str, image_size: int, test_fraction: float, unreadable: str = "refuse") -> Dataset:
    """Return the user's own images: a folder with one subfolder per class, its name the class's, or with such parts.

    Args:
        path: the folder.
        image_size: pixels that each side is resized to.
        test_fraction: part of the images that is the test set, unless the folder has one.
        unreadable: `leave_out`: files that cannot be read as images are left out, `refuse`: they are an error.

    Raises:
        InputError: when the folder has another layout, a file cannot be read as an image, or the disk is too full.
    """
    classes, listed = list_images(path)
    files = [file for part in listed.values() for file, _ in part]
    labels = np.array([label for part in listed.values() for _, label in part], np.int32)
    of_part = np.repeat(list(listed), [len(part) for part in listed.values()])
    read = read_images(files, image_size, len(files) - len(listed.get("test", [])), unreadable)
    images, kept = read.images, ~read.unreadable
    parts = {part: np.flatnonzero(kept & (of_part == part)) for part in listed}
    for part, chosen in parts.items():
        missing = [] if part == "unlabelled" else np.setdiff1d(labels[labels >= 0], labels[chosen])
        if len(missing):
            raise InputError(
                f"prepare.unreadable: leave_out leaves no image of class {shown(classes[missing[0]])} in {part};"
                " accepted: one that can be read, or more"
            )
    if "test" not in parts:
        train = parts["train"]
        names = [f"{classes[labels[number]]}/{name_of(files[number])}" for number in train]
        ids = picture_ids({"train": Rows(images, train)})["train"]
        tested = draw_test(names, labels[train], ids, classes, test_fraction, 1 + ("validation" not in parts))
        parts |= {"train": train[~tested], "test": train[tested]}
    arrays = {f"{part}_images": Rows(images, chosen) for part, chosen in parts.items()}
    return Dataset(
        classes=classes,
        **arrays,
        **{f"{part}_labels": labels[chosen] for part, chosen in parts.items() if part != "unlabelled"},
        source="own images",
        retrieved_from=path,
        files={part: [shown(files[number].relative_to(path)) for number in chosen] for part, chosen in parts.items()},
        preprocessing=read.preprocessing,
        original_sizes={part: read.sizes[chosen] for part, chosen in parts.items()},
        unreadable=Counter(classes[label] for label in labels[read.unreadable & (labels >= 0)]),
    )


def draw_test(
    names: list[str], labels: np.ndarray, ids: np.ndarray, classes: list[str], fraction: float, left: int
) -> np.ndarray:
    """Return which images are for the test: a part of each class, the same picture never on both sides.

    Drawn by a hash of the name: images that are added later move few or none of the others to the other side.

    Args:
        names: of the images.
        labels: int, (n,).
        ids: int, (n,), the same for the same picture.
        classes: names of the classes.
        fraction: part of each class, at least one picture.
        left: different pictures that each class must keep for other parts.

    Returns:
        bool, (n,).

    Raises:
        InputError: when a class has too few different pictures.
    """
    order = np.array(sorted(range(len(names)), key=lambda number: hashlib.sha256(names[number].encode()).digest()))
    firsts = order[np.sort(np.unique(ids[order], return_index=True)[1])]  # one image of each picture, in this order
    copies = np.bincount(ids)
    tested = np.zeros(len(copies), bool)
    for label, name in enumerate(classes):
        # A picture that stands under several classes is the one's in which the order finds it first.
        pictures = ids[firsts[labels[firsts] == label]]
        images = int((labels == label).sum())
        if len(pictures) <= left:
            raise InputError(
                f"prepare.dataset: class {shown(name)} has {counted(images)}, of which {len(pictures)} are neither the"
                f" same as another nor in another class; accepted: {left + 1} different ones or more"
            )
        wanted, taken = min(max(round(images * fraction), 1), images - left), 0
        for picture in pictures[: len(pictures) - left]:
            if taken >= wanted:
                break
            tested[picture] = True
            taken += copies[picture]
    return tested[ids]


class ReadImages(NamedTuple):
    """Images of any size and kind as one array.

    Attributes:
        images: uint8, (n, size, size, 1) when all images are grey, else (n, size, size, 3): red, green, blue. Where
            pictures are no squares, those from which a model may learn are also there as a whole.
        preprocessing: what was done to them.
        sizes: height and width of each in its file, int, (n, 2).
        unreadable: bool, (n,), of which files there is no image.
    """

    images: np.ndarray | Pictures
    preprocessing: Preprocessing
    sizes: np.ndarray
    unreadable: np.ndarray


def read_images(files: list[Path], size: int, training: int | None = None, unreadable: str = "refuse") -> ReadImages:
    """Return images of any size and kind as one array, and what was done to them.

    The array lies in files without a name in the working directory: a process that is killed leaves nothing of them.

    Args:
        files: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM.
        size: pixels of each side.
        training: so many of them, the first, may be learned from: they count where the range of 16-bit values is found,
            and are kept as a whole; all, unless given.
        unreadable: `refuse` or `leave_out` files that cannot be read as images.

    Raises:
        InputError: when files cannot be read as images, or the disk is too full.
    """
    print(f"reading {counted(len(files))}", flush=True)
    # Pillow gives each picture's memory back to the system, which then clears it for the next: a fifth of the time.
    Image.core.set_blocks_max(KEPT_BLOCKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's: `open_picture` counts the pixels itself
        headers, unread = _each(files, _header)
        channels = 1 if all(header.grey for header in headers.values()) else 3
        wide = [file for file in files[:training] if file in headers and headers[file].wide]
        brightest, unread_wide = _each(wide, _brightest)
        preprocessing = Preprocessing(size, channels, _bits(brightest))
        shapes = np.zeros((len(files), 2), np.int64)  # of whole pictures that are no squares
        numbers = {file: number for number, file in enumerate(files)}
        for file in files[:training]:
            if file in headers and (shape := whole_size(*headers[file].size, size)) != (size, size):
                shapes[numbers[file]] = shape
        values = int(shapes.prod(axis=1).sum()) * channels
        check_disk(len(files), size, channels, values)
        images = _array((len(files), size, size, channels))
        wholes = WholePictures(_array((values,)), shapes, channels) if values else None

        def read(file: Path) -> None:
            number = numbers[file]
            images[number], whole = read_with_whole(file, preprocessing, shapes[number].any())
            if whole is not None:
                shapes[number] = whole.shape[:2]  # turned upright
                wholes[number][:] = whole

        _, unread_pixels = _each([file for file in files if file not in unread], read, progress=True)
    errors = unread | unread_wide | unread_pixels
    errors = {file: errors[file] for file in files if file in errors}
    if errors and (unreadable == "refuse" or len(errors) == len(files)):
        raise _refusal(errors, len(files))
    if errors:
        print(f"left out, since they cannot be read as images: {some([*errors])}", flush=True)
    sizes = np.array([headers[file].size if file in headers else (0, 0) for file in files]).reshape(-1, 2)
    shown = images if wholes is None else Pictures(images, wholes)
    return ReadImages(shown, preprocessing, sizes, np.array([file in errors for file in files]))


def _array(shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros, uint8, in a file without a name in the working directory, which the array keeps."""
    with TemporaryFile(dir=Path.cwd()) as file:
        array = np.memmap(file, np.uint8, "w+", shape=shape).view(np.ndarray)
        reserve(file)
        return array


def _refusal(errors: Mapping[Path, InputError], files: int) -> InputError:
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    return InputError(
        f"{len(errors):,} of {files:,} files cannot be read as images: {some([*errors])}; the first: {first}"
    )


def _each(files: list[Path], function: Callable, progress: bool = False) -> tuple[dict, dict[Path, InputError]]:
    """Return what a function says of each file, and the errors of those of which it has none to say."""

    def tried(file: Path):
        try:
            return function(file)
        except InputError as error:
            return InputError(str(error))  # without the frames, which hold the picture and its file

    def tried_in_turn(some_files: list[Path]) -> dict:
        return {file: tried(file) for file in some_files}

    chunks = (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and scales without Python's lock
        said = Progress("reading images", len(files)) if progress else None
        found = {}
        for answers in pool.map(tried_in_turn, chunks):
            found |= answers
            if said:
                said.update(len(found))
        if said:
            said.close()
    errors = {file: answer for file, answer in found.items() if isinstance(answer, InputError)}
    return {file: answer for file, answer in found.items() if file not in errors}, errors


class _Header(NamedTuple):
    """Of a picture: whether it is grey, whether its values have 16 bits, and its height and width."""

    grey: bool
    wide: bool
    size: tuple[int, int]


def _header(file: Path) -> _Header:
    with open_picture(file) as image:
        return _Header(image.mode in GREY_MODES, has_16_bits(image), (image.height, image.width))


def _brightest(file: Path) -> tuple[bool, int]:
    """Return whether a picture of 16 bits has colours, and its largest value."""
    with open_picture(file) as image:
        try:
            if image.mode.startswith("I"):
                return False, int(values_of_16_bits(image).max())
            bands = image.getextrema()[: 1 if image.mode == "LA" else 3]
        except Exception as error:  # what Pillow's readers raise on damaged files is of many kinds
            raise unreadable(file, error) from None
    return True, 256 * max(largest for _, largest in bands) + 255


def _bits(brightest: dict[Path, tuple[bool, int]]) -> int:
    """Return how many bits the values of 16-bit files have: a camera's 12 must not become the upper 8 of 16.

    Raises:
        InputError: when files with colours have too few: of them Pillow hands on the upper 8 of 16.
    """
    colour = [value for coloured, value in brightest.values() if coloured]
    if colour and max(colour) < 1 << 14:
        file = next(file for file, (coloured, _) in brightest.items() if coloured)
        raise InputError(
            f"{shown(file)}: colours of 16 bits whose largest value in {counted(len(colour))} is {max(colour):,}: of"
            " the upper 8 bits, which count, too few are used; accepted: 8 bits per channel, or values up to 65,535"
        )
    grey = max((value for coloured, value in brightest.values() if not coloured), default=65535)
    return max(grey.bit_length(), 8)


def check_disk(images: int, size: int, channels: int, whole_values: int = 0) -> None:
    """Check that there is room for the images before the first is decoded.

    Args:
        images: number of images.
        size: pixels of each side.
        channels: of each.
        whole_values: of the pictures that are also kept as a whole.

    Raises:
        InputError: when there is not.
    """
    needed, free = COPIES * (images * size * size * channels + whole_values), disk_usage(Path.cwd()).free
    if needed > free:
        fitting = int(size * (free / needed) ** 0.5)
        raise InputError(
            f"prepare.image_size: {images:,} images of {size} × {size} × {channels} need {needed / 1e9:,.3f} GB of"
            f" disk, {free / 1e9:,.3f} GB are free; accepted: up to {fitting}, or fewer images"
        )
