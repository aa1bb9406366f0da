"""Files beside a classifier that say what its pixels and its outputs mean: Hugging Face's, timm's, and our own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from distillery.data.errors import InputError, reason
from distillery.teachers.pixels import Pixels, checked, pixels_from

OWN = ("preprocessing.yaml", "preprocessing.yml", "preprocessing.json")
HUGGING_FACE = "preprocessor_config.json"
CONFIG = "config.json"  # of Hugging Face: names; of timm: names and preprocessing
NAMES = "classes.txt"
MAPPING = "classes.yaml"  # as train_teacher.classes


def read_tree(path: Path) -> Any:
    """Return what stands in a YAML or JSON file.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise InputError(f"{path}: cannot be read as {kind} ({reason(error)})") from None


def pixels_of_file(path: Path) -> Pixels:
    """Return what a file says of a classifier's pixels, whichever of the three kinds it is.

    Raises:
        InputError: when it is none of them.
    """
    tree = read_tree(path)
    if isinstance(tree, Mapping):
        if "image_mean" in tree or "do_resize" in tree or "do_normalize" in tree or "image_processor_type" in tree:
            return _hugging_face(tree, path)
        if timm := _of_timm(tree):
            return _timm(timm, path)
    return pixels_from(tree, path)


def pixels_beside(folder: Path) -> tuple[Pixels, Path] | None:
    """Return what the files in a folder say of a classifier's pixels, and which of them; None where none does."""
    for name in (*OWN, HUGGING_FACE):
        if (folder / name).is_file():
            return pixels_of_file(folder / name), folder / name
    path = folder / CONFIG
    if path.is_file():
        tree = read_tree(path)
        if isinstance(tree, Mapping) and (timm := _of_timm(tree)):
            return _timm(timm, path), path
    return None


def names_beside(folder: Path) -> tuple[list[str], Path] | None:
    """Return the names of a classifier's outputs that stand in a folder, and where; None where there are none."""
    path = folder / NAMES
    if path.is_file():
        return read_names(path), path
    path = folder / CONFIG
    tree = read_tree(path) if path.is_file() else None
    if not isinstance(tree, Mapping):
        return None
    names = tree.get("id2label")
    if isinstance(names, Mapping) and names:
        try:
            ordered = {int(number): str(name) for number, name in names.items()}
        except ValueError:
            raise InputError(f"{path}: id2label: found {next(iter(names))!r}; accepted: numbers of outputs") from None
        if sorted(ordered) != list(range(len(ordered))):
            raise InputError(f"{path}: id2label: the numbers are not 0 to {len(ordered) - 1}")
        found = [ordered[number] for number in range(len(ordered))]
        return None if all(name == f"LABEL_{number}" for number, name in enumerate(found)) else (found, path)
    inner = tree.get("pretrained_cfg") if isinstance(tree.get("pretrained_cfg"), Mapping) else {}
    names = tree.get("label_names") or inner.get("label_names")
    return ([str(name) for name in names], path) if isinstance(names, list) and names else None


def read_names(path: Path) -> list[str]:
    """Return the names in a text file, one a line.

    Raises:
        InputError: when it cannot be read, or has no names.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as text ({reason(error)})") from None
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise InputError(f"{path}: found {'no names' if not names else 'an empty line'}; accepted: a name a line")
    return names


def _side_before(tree: Mapping, side: int, path: Path) -> int:
    """Return the shorter side of the picture from which the middle is cut, where `size` says another.

    By transformers, `image_processing_poolformer.py` and `image_processing_levit.py`.
    """
    if tree.get("crop_pct"):
        return int(side / checked("crop", tree["crop_pct"], f"{path}: crop_pct"))
    kind = str(tree.get("image_processor_type") or tree.get("feature_extractor_type"))
    fixed = isinstance(tree.get("size"), Mapping) and "height" in tree["size"]
    return int(256 / 224 * side) if kind.startswith("Levit") and not fixed else side


def _hugging_face(tree: Mapping, path: Path) -> Pixels:
    """Return what `preprocessor_config.json` says: of an image processor of transformers."""
    resized, cut = (
        checked("size", _sides(tree.get(key)), f"{path}: {key}") if tree.get(switch, default) else None
        for key, switch, default in (("size", "do_resize", True), ("crop_size", "do_center_crop", False))
    )
    described: dict[str, Any] = {"size": cut or resized}
    squash = isinstance(tree.get("size"), Mapping) and "height" in tree["size"]
    if tree.get("crop_pct") and resized and not cut:  # ConvNeXt: from 384 pixels on the image is squashed
        if min(resized) < 384:
            described |= {"resize": "shorter", "crop": checked("crop", tree["crop_pct"], f"{path}: crop_pct")}
    elif cut and resized:
        side = _side_before(tree, min(resized), path)
        squash = squash and side == min(resized)
        described |= {"resize": "squash" if squash else "shorter", "crop": min(1.0, min(cut) / side)}
    elif resized and isinstance(tree.get("size"), Mapping) and "shortest_edge" in tree["size"]:
        described["resize"] = "shorter"
    resample = Image.Resampling.BILINEAR if tree.get("resample") is None else tree["resample"]
    try:
        filter_ = Image.Resampling[resample.upper()] if isinstance(resample, str) else Image.Resampling(resample)
        described["interpolation"] = filter_.name.lower()
    except (ValueError, KeyError):
        raise InputError(f"{path}: resample: found {resample!r}; accepted: 0 to 5, Pillow's numbers") from None
    rescale = tree.get("do_rescale", True)
    described["scale"] = tree.get("rescale_factor", 1 / 255) if rescale else 1.0
    mean, std = [0.0], [1.0]
    if tree.get("do_normalize", "image_mean" in tree):
        mean = checked("mean", tree.get("image_mean") or mean, f"{path}: image_mean")
        std = checked("std", tree.get("image_std") or std, f"{path}: image_std")
    if rescale and tree.get("rescale_offset"):  # EfficientNet: one is subtracted first
        mean = [value + 1 for value in mean]
    if tree.get("include_top"):  # of EfficientNet: divided by the deviation once more
        std = [value**2 for value in std]
    if tree.get("do_flip_channel_order"):
        described["channels"] = "bgr"
    return pixels_from(described | {"mean": mean, "std": std}, path)


def _sides(size: Any) -> Any:
    """Return (height, width) of a size as transformers writes it."""
    if isinstance(size, Mapping):
        if "shortest_edge" in size:
            return [size["shortest_edge"]] * 2
        return [size["height"], size["width"]] if {"height", "width"} <= set(size) else None
    if isinstance(size, list | tuple) and len(size) == 2:
        return list(size)
    return None if size is None else [size, size]


def _of_timm(tree: Mapping) -> Mapping | None:
    """Return timm's `pretrained_cfg`, also where it stands alone; None in a file that is not timm's."""
    if isinstance(tree.get("pretrained_cfg"), Mapping):
        return tree["pretrained_cfg"]
    return tree if isinstance(tree.get("input_size"), list) else None


def _timm(tree: Mapping, path: Path) -> Pixels:
    """Return what timm's `pretrained_cfg` says. `input_size` is (channels, height, width)."""
    size = tree.get("input_size")
    if not isinstance(size, list | tuple) or len(size) != 3:
        raise InputError(f"{path}: input_size: found {size!r}; accepted: [channels, height, width]")
    mode = tree.get("crop_mode") or "center"
    described = {
        "size": list(size[1:]),
        "resize": "squash" if mode == "squash" else "shorter",
        "crop": tree.get("crop_pct") or 0.875,
        "interpolation": tree.get("interpolation") or "bilinear",
        "scale": 1 / 255,
        "mean": tree.get("mean") or SCALE_OF_TIMM["mean"],
        "std": tree.get("std") or SCALE_OF_TIMM["std"],
    }
    if str(described["interpolation"]).upper() not in Image.Resampling.__members__:
        described["interpolation"] = "bilinear"  # timm's `random`
    return pixels_from(described, path)


SCALE_OF_TIMM = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
