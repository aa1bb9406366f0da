"""A classifier of Hugging Face as a folder that Distillery takes as a teacher: `train_teacher.model=FOLDER`.

    python examples/teacher_from_huggingface.py google/vit-base-patch16-224 --out teacher

The folder has `model.onnx` and what transformers saves beside a model: `preprocessor_config.json`, which says what its
pixels mean, and `config.json`, which names its outputs; as `optimum-cli export onnx` writes them. ONNX Runtime must
give what PyTorch gives. Needs: pip install -r requirements/pytorch.txt
"""

import argparse
import json
from pathlib import Path

from teacher_from_pytorch import command, export, noise, one_line
from transformers import AutoImageProcessor, AutoModelForImageClassification, logging

PREPROCESSOR = "preprocessor_config.json"


def image_size(processor: dict, config: dict) -> tuple[int, int]:
    """Return (height, width) of the images that a network takes.

    Args:
        processor: the content of `preprocessor_config.json`.
        config: the content of `config.json`.

    Raises:
        ValueError: when neither says it.
    """
    given = (processor.get("crop_size") if processor.get("do_center_crop") else None, processor.get("size"))
    for size in (*given, config.get("image_size")):
        if isinstance(size, int):
            return size, size
        if isinstance(size, list) and len(size) == 2:
            return size[0], size[1]
        if isinstance(size, dict) and {"height", "width"} <= set(size):
            return size["height"], size["width"]
        if isinstance(size, dict) and "shortest_edge" in size:
            return size["shortest_edge"], size["shortest_edge"]
    raise ValueError(f"{PREPROCESSOR} and config.json have no size of the images; accepted: --size")


def write(given: argparse.Namespace, folder: Path) -> None:
    """Write the teacher's folder."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, loaded = AutoModelForImageClassification.from_pretrained(
            given.model, dtype="float32", output_loading_info=True
        )
        processor = AutoImageProcessor.from_pretrained(given.model)
    except Exception as error:  # the hub, the files and their contents each have errors of their own
        raise ValueError(f"{given.model}: no image classifier of Hugging Face that loads ({one_line(error)})") from None
    if loaded["missing_keys"]:  # transformers fills them with random numbers
        missing = ", ".join(sorted(loaded["missing_keys"])[:3])
        raise ValueError(f"{given.model}: it has no trained classifier: its weights lack {missing}")
    network.eval().config.save_pretrained(folder)
    processor.save_pretrained(folder)
    described = json.loads((folder / PREPROCESSOR).read_text("utf-8"))
    size = (given.size[0], given.size[-1]) if given.size else image_size(described, network.config.to_dict())
    pixels = noise(getattr(network.config, "num_channels", 3), size, 1 / 255, [0.5], [0.5])
    outputs, difference = export(network, pixels, folder / "model.onnx", "pixel_values", given.any_size)
    print(f"{outputs} outputs of {size[0]} × {size[1]} pixels; ONNX Runtime differs from PyTorch by {difference:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder that save_pretrained wrote, or a name on the hub")
    parser.add_argument("--size", type=int, nargs="+", help="of the images, side or height width; its own if not given")
    parser.add_argument("--any-size", action="store_true", help="the ONNX model takes images of any size")
    command(parser, write)
