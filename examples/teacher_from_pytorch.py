"""A classifier of PyTorch as a folder that Distillery takes as a teacher: `train_teacher.model=FOLDER`.

    python examples/teacher_from_pytorch.py weights.pth --model package.module:function_or_class \\
        --size 32 --mean 0.4914 0.4822 0.4465 --std 0.2470 0.2435 0.2616 --classes names.txt --out teacher

The folder has `model.onnx`, `preprocessing.yaml` and, with --classes, `classes.txt`. ONNX Runtime must give what
PyTorch gives. Needs: pip install -r requirements/pytorch.txt
"""

import argparse
import importlib
import logging
import sys
import textwrap
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from new_folder import new_folder

OPSET = 18
CHECKED = 5  # images; another number than the export saw
EXPORTED = 2  # images: a batch of one would be taken for a constant
TOLERANCE = 1e-3
INNER = ("state_dict", "model_state_dict", "model")  # what training scripts call the weights in a checkpoint
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
NAMED = 3  # weights that a message shows


class Logits(torch.nn.Module):
    """A network that returns its logits alone, whatever else it returns with them."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.network(pixels)
        if isinstance(found, dict):  # ModelOutput of transformers is one, too
            return found["logits"]
        return found[0] if isinstance(found, tuple | list) else found


def read_network(weights: str, model: str | None, arguments: dict) -> torch.nn.Module:
    """Return the network of a file of weights, or of TorchScript.

    Args:
        weights: the file; `-` for the weights that the network is built with.
        model: what builds the network, `package.module:name`; TorchScript needs none.
        arguments: of what builds it.

    Raises:
        ValueError: when the file holds no weights of this network.
    """
    kind = "weights" if weights == "-" else _kind(Path(weights))
    if kind == "torchscript":
        return torch.jit.load(weights, map_location="cpu").eval()
    if not model:
        raise ValueError("--model: missing; accepted: what builds the network, package.module:function_or_class")
    network = build(model, arguments)
    if weights != "-":
        load_weights(network, read_weights(Path(weights)), weights)
    return network.eval()


def _kind(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    names = [Path(name).parts[1:] for name in zipfile.ZipFile(file).namelist()] if zipfile.is_zipfile(file) else []
    if any(parts[:1] == ("code",) for parts in names):
        return "torchscript"
    if ("models", "model.json") in names:  # torch.export.load falls back on pickle
        raise ValueError(
            f"{file}: a program of torch.export, whose loading can run code of the file; accepted: what"
            " torch.onnx.export makes of it, which train_teacher.model takes as it is"
        )
    return "weights"


def build(model: str, arguments: dict) -> torch.nn.Module:
    """Return the network that a function or class makes.

    Args:
        model: `package.module:name`, or `file.py:name`; the current folder is searched, too.
        arguments: of the function or class.
    """
    module, found, name = model.partition(":")
    if not found or not name:
        raise ValueError(f"--model: found {model!r}; accepted: package.module:function_or_class")
    path = Path(module)
    sys.path.insert(0, str(path.parent.resolve() if path.suffix == ".py" else Path.cwd()))
    try:
        made = importlib.import_module(path.stem if path.suffix == ".py" else module)
        for part in name.split("."):
            made = getattr(made, part)
        network = made(**arguments)
    except Exception as error:  # it is anyone's code
        raise ValueError(f"--model: {model}: {type(error).__name__}: {error}") from None
    if not isinstance(network, torch.nn.Module):
        raise ValueError(f"--model: {model}: found {type(network).__name__}; accepted: a torch.nn.Module")
    return network


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a file of torch.save or safetensors, by name. No code of the file is run.

    Raises:
        ValueError: when it holds no weights, or more than weights.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file  # not every user of PyTorch has it

        state = load_file(file)
    else:
        try:
            with torch.serialization.safe_globals([argparse.Namespace]):  # checkpoints often hold their options
                state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # the kind depends on what the file is
            if "Unsupported global" not in str(error):
                raise ValueError(
                    f"{file}: cannot be read as weights ({type(error).__name__}: {one_line(error)})"
                ) from None
            found = str(error).split("GLOBAL ")[-1].split(" ")[0]
            raise ValueError(
                f"{file}: it holds an object of {found}, not weights alone, and loading it would run code; accepted:"
                " what torch.save(network.state_dict(), file) writes"
            ) from None
    for key in INNER:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{file}: found no weights; accepted: a state_dict, or a checkpoint with one of {INNER}")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_weights(network: torch.nn.Module, state: dict[str, torch.Tensor], file: str | Path) -> None:
    """Load weights into a network, each of them.

    Raises:
        ValueError: when one is missing, is of no layer or has another shape.
    """
    own = network.state_dict()
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    differ = {
        "missing": [name for name in own if name not in state],
        "of no layer": [name for name in state if name not in own],
        "of another shape": [f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in other],
    }
    if any(differ.values()):
        found = "; ".join(
            f"{len(names)} {what}: {', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}"
            for what, names in differ.items()
            if names
        )
        raise ValueError(f"{file}: not the weights of this network: {found}")
    network.load_state_dict(state)


def export(
    network: torch.nn.Module, pixels: torch.Tensor, file: Path, name: str = "pixels", any_size: bool = False
) -> tuple[int, float]:
    """Write a network as ONNX, and check that ONNX Runtime gives what PyTorch gives.

    Args:
        network: in evaluation mode.
        pixels: images as the network takes them, float32, (`CHECKED`, channels, height, width).
        file: to write.
        name: of the ONNX model's input; its output is `logits`.
        any_size: height and width may vary, too.

    Returns:
        The number of outputs, and the largest difference, absolute.

    Raises:
        ValueError: when it cannot be exported, or the difference is above `TOLERANCE`.
    """
    axes = {0: "batch", 2: "height", 3: "width"} if any_size else {0: "batch"}
    options = {"input_names": [name], "output_names": ["logits"], "opset_version": OPSET, "verbose": False}
    if isinstance(network, torch.jit.ScriptModule):  # which the newer exporter does not take
        options |= {"dynamo": False, "dynamic_axes": {name: axes, "logits": {0: "batch"}}}
    else:
        network = Logits(network).eval()
        shapes = {axis: torch.export.Dim(axis_name) for axis, axis_name in axes.items()}
        options |= {"dynamo": True, "dynamic_shapes": (shapes,), "external_data": False}
    answers(network, pixels)  # first, since the exporter's errors are hard to read
    try:
        torch.onnx.export(network, (pixels[:EXPORTED],), file, **options)
    except Exception as error:  # the exporters raise whatever they raise
        raise ValueError(f"PyTorch cannot export the network to ONNX ({one_line(error.__cause__ or error)})") from None
    forget_origin(file)
    batches = [pixels, pixels[:1]]
    if any_size:
        batches.append(torch.nn.functional.pad(pixels, (0, 64, 0, 32), mode="replicate"))
    difference, outputs = 0.0, 0
    for batch in batches:
        width, found = compare(network, file, batch)
        difference, outputs = max(difference, found), width
    if not difference <= TOLERANCE:  # NaN, too
        raise ValueError(f"ONNX Runtime differs from PyTorch by {difference:.1e}; accepted: up to {TOLERANCE:g}")
    return outputs, difference


def forget_origin(file: Path) -> None:
    """Remove from an ONNX file the lines of code that each node came from, with this machine's paths."""
    model = onnx.load(file)
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, file)


def answers(network: torch.nn.Module, pixels: torch.Tensor) -> np.ndarray:
    """Return the logits that PyTorch gives, (n, outputs).

    Raises:
        ValueError: when the network does not take such images, or gives something else.
    """
    try:
        with torch.inference_mode():
            found = network(pixels)
    except Exception as error:  # it is anyone's code
        raise ValueError(f"the network takes no images of shape {tuple(pixels.shape)} ({one_line(error)})") from None
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(pixels):
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ValueError(f"the network gives {shape} for {len(pixels)} images; accepted: a row of logits for each")
    return found.numpy()


def compare(network: torch.nn.Module, file: Path, pixels: torch.Tensor) -> tuple[int, float]:
    """Return the number of outputs, and the largest difference between ONNX Runtime and PyTorch."""
    expected = answers(network, pixels)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    if found.shape != expected.shape:
        raise ValueError(f"ONNX Runtime gives {found.shape} for {len(pixels)} images, PyTorch {expected.shape}")
    return expected.shape[1], float(np.abs(found - expected).max())


def noise(channels: int, size: tuple[int, int], scale: float, mean: list[float], std: list[float]) -> torch.Tensor:
    """Return `CHECKED` images of noise as a network takes them, float32, (n, channels, height, width)."""
    images = np.random.default_rng(0).integers(0, 256, (CHECKED, channels, *size)).astype(np.float32)
    mean, std = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (mean, std))
    return torch.from_numpy((images * np.float32(scale) - mean) / std)


def command(parser: argparse.ArgumentParser, write: Callable[[argparse.Namespace, Path], None]) -> None:
    """Write the folder that a command line asks for; what goes wrong is one line and exit code 1.

    Args:
        parser: of the command line; `--out` is added.
        write: from what is given, and an empty folder, to the files in it.
    """
    parser.add_argument("--out", required=True, type=Path, help="the folder to write; it must not exist")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")  # the exporter's, of PyTorch's own code
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with new_folder(given.out) as folder:
            write(given, folder)
            files = [f"{file.name} {file.stat().st_size:,} bytes" for file in sorted(folder.iterdir())]
    except ValueError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split())}")
    except Exception as error:  # what PyTorch and others raise is of many kinds
        sys.exit(f"{Path(sys.argv[0]).name}: {type(error).__name__}: {one_line(error)}")
    print(f"{given.out}: {', '.join(files)}")


def one_line(error: BaseException) -> str:
    """Return what a library says of an error, cut where it is long."""
    return textwrap.shorten(str(error), 200, placeholder=" …")


def pixels_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of what is done to an image before the network sees it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", type=int, nargs="+", required=True, help="that the network takes: side, or height width"
    )
    parser.add_argument(
        "--mean", type=float, nargs="+", required=True, help="subtracted after scaling; one, or one a channel"
    )
    parser.add_argument("--std", type=float, nargs="+", required=True, help="divided by then; one, or one a channel")
    parser.add_argument(
        "--scale", type=float, default=1 / 255, help="values 0 to 255 are multiplied by it; 1/255 if not given"
    )
    parser.add_argument(
        "--resize", choices=("squash", "shorter"), default="squash", help="both sides, or the shorter side"
    )
    parser.add_argument("--crop", type=float, default=1.0, help="part of each side that is kept, 0.875 for 224 of 256")
    parser.add_argument(
        "--interpolation",
        choices=("nearest", "bilinear", "bicubic", "lanczos"),
        default="bilinear",
        help="bilinear if not given",
    )
    parser.add_argument("--channels", choices=("rgb", "bgr", "grey"), default="rgb", help="that the network takes")
    return parser


def preprocessing(given: argparse.Namespace, channels: int) -> dict:
    """Return the content of `preprocessing.yaml`.

    Raises:
        ValueError: when a value makes no sense.
    """
    accepted = {
        "size": (len(given.size) in (1, 2) and min(given.size) > 0, "a side, or height and width"),
        "mean": (len(given.mean) in (1, channels), "one number, or one a channel"),
        "std": (len(given.std) in (1, channels) and min(given.std) > 0, "one number above 0, or one a channel"),
        "scale": (given.scale > 0, "a number above 0"),
        "crop": (0 < given.crop <= 1, "a number above 0, up to 1"),
    }
    for name, (fits, text) in accepted.items():
        if not fits:
            raise ValueError(f"--{name}: found {getattr(given, name)}; accepted: {text}")
    tree = {"size": given.size[0] if len(given.size) == 1 else given.size}
    tree |= {name: getattr(given, name) for name in ("resize", "crop", "interpolation")}
    if given.channels != "grey":
        tree["channels"] = given.channels
    return tree | {name: getattr(given, name) for name in ("scale", "mean", "std")}


def read_arguments(text: str) -> dict:
    """Return names and values in YAML."""
    try:
        arguments = yaml.safe_load(text)
    except yaml.YAMLError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ValueError(f"--arguments: found {text!r}; accepted: names and values, {{width: 2, depth: 16}}")
    return arguments


def write(given: argparse.Namespace, folder: Path) -> None:
    """Write the teacher's folder."""
    channels = 1 if given.channels == "grey" else 3
    tree = preprocessing(given, channels)
    names = given.classes.read_text("utf-8").splitlines() if given.classes else None
    network = read_network(given.weights, given.model, read_arguments(given.arguments))
    size = (given.size[0], given.size[-1])
    pixels = noise(channels, size, given.scale, given.mean, given.std)
    outputs, difference = export(network, pixels, folder / "model.onnx", any_size=given.any_size)
    if names and len(names) != outputs:
        raise ValueError(
            f"--classes: {given.classes}: found {len(names)} names; accepted: one for each of {outputs} outputs"
        )
    (folder / "preprocessing.yaml").write_text(yaml.safe_dump(tree, sort_keys=False, default_flow_style=None), "utf-8")
    if names:
        (folder / "classes.txt").write_text("\n".join(names) + "\n", "utf-8")
    print(f"{outputs} outputs; ONNX Runtime differs from PyTorch by at most {difference:.1e}")


if __name__ == "__main__":
    parser = pixels_parser(__doc__)
    parser.add_argument("weights", help="a state_dict, a checkpoint with one, .safetensors or TorchScript; - for none")
    parser.add_argument("--model", help="what builds the network: package.module:function_or_class or file.py:name")
    parser.add_argument("--arguments", default="{}", help="of what builds it, as YAML: {width: 2, depth: 16}")
    parser.add_argument("--classes", type=Path, help="names of the outputs, one a line")
    parser.add_argument("--any-size", action="store_true", help="the ONNX model takes images of any size")
    command(parser, write)
