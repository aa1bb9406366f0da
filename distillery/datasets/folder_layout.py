"""Where the images of a folder are: a subfolder per class, or parts with one each."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from distillery.data.errors import InputError, shown
from distillery.datasets.dataset import breaks_lines

PARTS = {  # whatever their capitals
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNLABELLED = ("unlabelled", "unlabeled")  # beside `train`; elsewhere the name of a class
# What systems and programs leave behind, besides hidden files and folders.
LEFT_BEHIND = {
    "__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "system volume information",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip
LAYOUTS = "accepted: one subfolder per class, or the parts train, validation and test with one subfolder per class each"

Labelled = list[tuple[Path, int]]


def list_images(path: str) -> tuple[list[str], dict[str, Labelled]]:
    """Return the images of each class in a folder, by part.

    Where the subfolders are `train` with or without `val` and `test`, under any of the names in `PARTS`, these parts
    are taken; else all images are `train`. Beside `train` a folder `unlabelled` holds images without a class, in
    subfolders or not. A single folder around them is passed through. What is hidden or left behind by systems, and
    files beside the class folders, are left out, which is said.

    Args:
        path: the folder.

    Returns:
        The classes, sorted by name; files and labels of each part, sorted by class, then by name. The part
        `unlabelled`, where there is one, has labels of −1.

    Raises:
        InputError: when the folder has another layout, or a class has too few images.
    """
    root = Path(path)
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"prepare.dataset: {path!r} {found}; accepted: a folder with one subfolder per class")
    listing = _Listing()
    try:
        files = _files(root, listing)
    except OSError as error:
        raise InputError(f"{shown(error.filename or path)}: cannot be read ({error.strerror})") from None
    listing.report(path)
    first = {"unlabelled": -1}
    return list(files["train"]), {
        part: [(image, label) for label, images in enumerate(of_class.values(), first.get(part, 0)) for image in images]
        for part, of_class in files.items()
    }


def _files(root: Path, listing: "_Listing") -> dict[str, dict[str, list[Path]]]:
    """Return the files of each class, by part."""
    root = listing.unwrapped(root)
    parts = _parts(root, listing)
    files = {}
    for part, folder in parts.items():
        if part == "unlabelled":
            files[part] = {"": listing.all_files(folder)}
            continue
        missing = {"train", "validation", "test"} - parts.keys() if part == "train" else set()
        files[part] = listing.class_files(listing.unwrapped(folder), 1 + len(missing), _purpose({part, *missing}))
        if files[part].keys() != files["train"].keys():
            one, other = files["train"].keys(), files[part].keys()
            raise InputError(
                f"prepare.dataset: the classes in train and {part} differ: {_some(one - other)} only in train,"
                f" {_some(other - one)} only in {part}; accepted: the same subfolders in both"
            )
    return files


def _parts(root: Path, listing: "_Listing") -> dict[str, Path]:
    """Return the folder of each part, `train` first; a folder of classes is all `train`."""
    folders = listing.folders(root)
    named = {name: PARTS[name.casefold()] for name in folders if name.casefold() in PARTS}
    if any(part == "train" and listing.has_folders(folders[name]) for name, part in named.items()):
        named |= {name: "unlabelled" for name in folders if name.casefold() in UNLABELLED}
    others = [name for name in folders if name not in named]
    if not named:
        return {"train": root}
    if others:
        (name, *more) = named
        if named[name] == "train" and not more and not listing.has_folders(folders[name]):
            print(f"{folders[name]} is a class: it holds images, and other classes lie beside it", flush=True)
            return {"train": root}
        raise InputError(
            f"prepare.dataset: {root} has {_some(named)} beside {_some(others)}: parts beside classes; {LAYOUTS}"
        )
    twice = [part for part, count in Counter(named.values()).items() if count > 1]
    if twice or "train" not in named.values():
        found = f"several folders of {twice[0]} images" if twice else "no part train"
        raise InputError(f"prepare.dataset: {root} has {found}, only {', '.join(sorted(named))}; {LAYOUTS}")
    places = {part: folders[name] for name, part in named.items()}
    return {part: places[part] for part in ("train", "validation", "unlabelled", "test") if part in places}


class _Listing:
    """The content of folders, and what was left out of it."""

    def __init__(self):
        self.left_out: set[Path] = set()

    def report(self, path: str) -> None:
        """Say in one line what was left out."""
        if self.left_out:
            counts = Counter(shown(place.name) for place in sorted(self.left_out))
            names = [f"{name} ({count}×)" if count > 1 else name for name, count in counts.items()]
            more = f" and {len(names) - 10} more names" if len(names) > 10 else ""
            print(f"{path}: left out as no images of a class: {', '.join(names[:10])}{more}", flush=True)

    def visible(self, folder: Path) -> list[Path]:
        """Return what counts in a folder, sorted: the order depends on the names and not on the file system."""
        content = list(folder.iterdir())
        hidden = {path for path in content if path.name.startswith(".") or path.name.casefold() in LEFT_BEHIND}
        self.left_out |= hidden
        visible = sorted((path for path in content if path not in hidden), key=name_of)
        for path in visible:
            if path.is_symlink() and path.is_dir():
                raise InputError(
                    f"{shown(path)}: a link to a folder, into which DVC does not look: changed images would change"
                    " nothing; accepted: the folder itself, moved or copied here"
                )
        return visible

    def has_folders(self, folder: Path) -> bool:
        """Return whether a folder has subfolders; nothing is left out by looking."""
        return any(place.is_dir() for place in self.visible(folder))

    def folders(self, folder: Path) -> dict[str, Path]:
        """Return the subfolders by name, no two of one name; files beside them are left out."""
        content = self.visible(folder)
        places = [place for place in content if place.is_dir()]
        self.left_out.update(place for place in content if not place.is_dir())
        names = [name_of(place) for place in places]
        for name, count in Counter(names).items():
            if count > 1:
                raise InputError(
                    f"prepare.dataset: {folder} has two subfolders named {name!r}; accepted: different names"
                )
        return dict(zip(names, places, strict=True))

    def unwrapped(self, folder: Path) -> Path:
        """Return the folder, or the one around whose subfolders it is nothing but a wrapping."""
        while len(folders := self.folders(folder)) == 1:
            (name, inner), *_ = folders.items()
            if name.casefold() in PARTS or not any(place.is_dir() for place in self.visible(inner)):
                break
            print(f"{folder} holds one folder, {shown(name)}: its subfolders are taken", flush=True)
            folder = inner
        return folder

    def all_files(self, folder: Path) -> list[Path]:
        """Return the images in a folder and its subfolders."""
        content = self.visible(folder)
        inner = [file for place in content if place.is_dir() for file in self.all_files(place)]
        return [place for place in content if not place.is_dir()] + inner

    def class_files(self, folder: Path, minimum: int, purpose: str) -> dict[str, list[Path]]:
        """Return the images of each class."""
        folders = self.folders(folder)
        if len(folders) < 2:
            found = f"one subfolder only, {next(iter(folders))!r}" if folders else "no subfolders"
            raise InputError(
                f"prepare.dataset: {folder} has {found}; accepted: one subfolder per class, two classes or more"
            )
        files = {name: self.visible(place) for name, place in folders.items()}
        for name, images in files.items():
            if breaks_lines(name):
                raise InputError(f"{str(folders[name])!r}: the name of a class holds a line end; accepted: one line")
            for image in images:
                if not image.is_file():
                    raise InputError(f"{shown(image)}: in the folder of a class, but not a file; accepted: images only")
            if len(images) < minimum:
                raise InputError(
                    f"prepare.dataset: {folders[name]} has {counted(len(images))}; "
                    f"accepted: {counted(minimum)} or more, {purpose}"
                )
        return files


def name_of(path: Path) -> str:
    """Return the name in one form: some systems write ä as one character, others as two; some names are no text."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the name is not in UTF-8; accepted: one that is") from None
    return unicodedata.normalize("NFC", path.name)


def counted(images: int) -> str:
    """Return how many images, in words where a number would read badly."""
    return {0: "no images", 1: "1 image"}.get(images, f"{images:,} images")


def _purpose(parts: set[str]) -> str:
    words = {"train": "to train", "validation": "to validate", "test": "to test"}
    needed = [text for part, text in words.items() if part in parts]
    each = "one each" if len(needed) > 1 else "one"
    return f"{each} {' and '.join([', '.join(needed[:-1])] * (len(needed) > 1) + needed[-1:])} on"


def _some(names: Iterable[str]) -> str:
    first, *rest = sorted(names) or ["none"]
    return f"{first} and {len(rest)} more" if rest else first
