"""A linear head on the features of a classifier trained on other images, as a teacher: `train_teacher.model=FOLDER`.

    python examples/teacher_from_features.py imagenet_classifier --data data/prepared --out teacher

Takes a folder with `model.onnx` and `preprocessing.yaml`, as teacher_from_pytorch.py writes it. What the last layer
takes are the features. A logistic regression learns the data set's classes from those of the training images;
validation images choose its strength. The new folder's `model.onnx` ends in that head, and its `classes.txt` names the
classes. Needs no PyTorch: pip install -r requirements.txt
"""

import argparse
import json
import shutil
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import yaml
from new_folder import new_folder
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

BATCH = 64
SECONDS = 10  # between two lines on how far it is
STRENGTHS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)  # C, the strongest regularization first
STEPS = 300  # of one logistic regression
PASSED_ON = ("Identity", "Softmax", "LogSoftmax", "Flatten", "Squeeze", "Reshape")  # what may follow the classifier
TOLERANCE = 1e-3  # of the logits, between ONNX Runtime and scikit-learn


def read_pixels(folder: Path) -> dict:
    """Return what `preprocessing.yaml` says, with both sides of the size.

    Raises:
        ValueError: when it is missing, or says no size.
    """
    file = folder / "preprocessing.yaml"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; accepted: a folder as teacher_from_pytorch.py writes it")
    given = yaml.safe_load(file.read_text("utf-8"))
    if not isinstance(given, dict) or not given.get("size"):
        raise ValueError(
            f"{file}: found no size; accepted: a side, or [height, width], and what else is done to an image"
        )
    sides = given["size"] if isinstance(given["size"], list) else [given["size"]] * 2
    defaults = {"resize": "squash", "crop": 1.0, "interpolation": "bilinear", "channels": "rgb", "scale": 1.0}
    return defaults | {"mean": 0.0, "std": 1.0} | given | {"size": sides}


def fit_size(image: np.ndarray, pixels: dict) -> np.ndarray:
    """Return an image, uint8, (height, width, channels), of the size that the network takes."""
    height, width = (max(side, int(side / pixels["crop"] + 1e-6)) for side in pixels["size"])
    if pixels["resize"] == "shorter":
        rows, columns = image.shape[:2]
        shorter = min(height, width)
        height, width = max(shorter, shorter * rows // columns), max(shorter, shorter * columns // rows)
        height, width = max(height, pixels["size"][0]), max(width, pixels["size"][1])
    picture = Image.fromarray(image).resize((width, height), Image.Resampling[pixels["interpolation"].upper()])
    top, left = (round((side - kept) / 2) for side, kept in zip((height, width), pixels["size"], strict=True))
    return np.asarray(picture.crop((left, top, left + pixels["size"][1], top + pixels["size"][0])))


def as_taken(images: np.ndarray, pixels: dict) -> np.ndarray:
    """Return images as the network takes them, float32, (n, 3, height, width).

    Args:
        images: uint8, (n, height, width, 1 or 3).
        pixels: what is done to them.
    """
    images = np.stack([fit_size(image, pixels) for image in np.broadcast_to(images, (*images.shape[:3], 3))])
    if pixels["channels"] == "bgr":
        images = images[..., ::-1]
    mean, std = (np.asarray(pixels[key], np.float32) for key in ("mean", "std"))
    values = (images.astype(np.float32) * np.float32(pixels["scale"]) - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def cut(model: onnx.ModelProto, file: Path) -> tuple[onnx.ModelProto, str]:
    """Return a classifier up to what its last layer takes, and the name of that.

    Raises:
        ValueError: when its last layer is not dense.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    fixed = {tensor.name for tensor in model.graph.initializer}
    node = made_by.get(model.graph.output[0].name)
    while node and (node.op_type in PASSED_ON or (node.op_type == "Add" and set(node.input) & fixed)):
        node = made_by.get(next(name for name in node.input if name not in fixed))
    if node is None or node.op_type not in ("Gemm", "MatMul"):
        found = node.op_type if node else "its input"
        raise ValueError(f"{file}: its logits come from {found}; accepted: a dense layer last, Gemm or MatMul")
    features = node.input[0]
    inferred = onnx.shape_inference.infer_shapes(model)
    backbone = onnx.utils.Extractor(inferred).extract_model([model.graph.input[0].name], [features])
    return backbone, features


def embed(session: onnxruntime.InferenceSession, images: np.ndarray, pixels: dict, what: str) -> np.ndarray:
    """Return the features of images, float32, (n, features), and print how far it is.

    Args:
        session: of the network without its last layer.
        images: uint8, (n, height, width, channels).
        pixels: what is done to them.
        what: the images, for people.
    """
    name, found = session.get_inputs()[0].name, []
    began = told = time.monotonic()
    for start in range(0, len(images), BATCH):
        found.append(session.run(None, {name: as_taken(images[start : start + BATCH], pixels)})[0])
        now, done = time.monotonic(), min(start + BATCH, len(images))
        if now - told >= SECONDS or done == len(images):
            told, rate = now, done / (now - began)
            left = round((len(images) - done) / rate)
            print(f"features of {what}: {done:,} of {len(images):,}, {rate:.0f} a second, {left} s left", flush=True)
    features = np.concatenate(found)
    if features.ndim != 2:
        raise ValueError(f"its last layer takes arrays of shape {features.shape[1:]}; accepted: a row of features")
    return features


def fit_head(train: tuple, validation: tuple, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (features, classes) and biases (classes,) of a logistic regression on features as they are.

    Its strength is the one with the least log loss on validation images: students learn from probabilities.

    Args:
        train, validation: features, float32, (n, features), and labels, int, (n,).
        classes: number of them.
    """
    mean, std = train[0].mean(axis=0), train[0].std(axis=0)
    std = np.where(std > 0, std, 1).astype(np.float32)
    scaled, checked = ((features - mean) / std for features in (train[0], validation[0]))
    regression = LogisticRegression(max_iter=STEPS, warm_start=True)
    least, weights, biases = np.inf, None, None
    for strength in STRENGTHS:
        began = time.monotonic()
        regression.set_params(C=strength).fit(scaled, train[1])
        loss = log_loss(validation[1], regression.predict_proba(checked), labels=range(classes))
        accuracy = 100 * np.mean(regression.predict(checked) == validation[1])
        seconds = time.monotonic() - began
        print(f"C {strength:g}: validation log loss {loss:.4f}, accuracy {accuracy:.2f} %, {seconds:.0f} s", flush=True)
        if loss >= least:
            break
        least, weights, biases = loss, regression.coef_.T.copy(), regression.intercept_.copy()
    if classes == 2:  # one logit, that of the second class
        weights, biases = np.hstack([np.zeros_like(weights), weights]), np.hstack([np.zeros_like(biases), biases])
    weights = weights.astype(np.float64) / std[:, np.newaxis]
    return weights.astype(np.float32), (biases - mean.astype(np.float64) @ weights).astype(np.float32)


def with_head(backbone: onnx.ModelProto, features: str, weights: np.ndarray, biases: np.ndarray) -> onnx.ModelProto:
    """Return a network that ends in a dense layer on its features."""
    model = onnx.ModelProto()
    model.CopyFrom(backbone)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch"
    for name, values in (("head.weight", weights), ("head.bias", biases)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    model.graph.node.append(onnx.helper.make_node("Gemm", [features, "head.weight", "head.bias"], ["logits"]))
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [batch, len(biases)])
    del model.graph.output[:]
    model.graph.output.append(logits)
    onnx.checker.check_model(model)
    return model


def read_data(data: Path) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the names of the classes, and images and labels of `train` and `validation`, as `prepare` wrote them."""
    if not (data / "dataset.json").is_file():
        raise ValueError(f"{data}/dataset.json: no such file; run `dvc repro prepare`")
    classes = json.loads((data / "dataset.json").read_text("utf-8"))["classes"]
    parts = {
        part: (np.load(data / f"{part}_images.npy", mmap_mode="r"), np.load(data / f"{part}_labels.npy"))
        for part in ("train", "validation")
    }
    return classes, parts


def write(given: argparse.Namespace, folder: Path) -> None:
    """Write the teacher's folder."""
    pixels, file = read_pixels(given.folder), given.folder / "model.onnx"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; accepted: a folder as teacher_from_pytorch.py writes it")
    classes, parts = read_data(given.data)
    backbone, features = cut(onnx.load(file), file)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(backbone.SerializeToString(), providers=providers)
    _, channels, *sides = session.get_inputs()[0].shape
    if channels != 3 or any(
        isinstance(side, int) and side != own for side, own in zip(sides, pixels["size"], strict=True)
    ):
        raise ValueError(f"{file}: it takes {channels} × {sides}; accepted: 3 channels of {pixels['size']} pixels")
    found = {part: (embed(session, images, pixels, part), labels) for part, (images, labels) in parts.items()}
    weights, biases = fit_head(found["train"], found["validation"], len(classes))
    onnx.save(with_head(backbone, features, weights, biases), folder / "model.onnx")
    (folder / "classes.txt").write_text("\n".join(classes) + "\n", "utf-8")
    shutil.copyfile(given.folder / "preprocessing.yaml", folder / "preprocessing.yaml")

    expected = found["validation"][0][:BATCH] @ weights + biases
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=providers)
    images = as_taken(parts["validation"][0][:BATCH], pixels)
    difference = np.abs(session.run(None, {session.get_inputs()[0].name: images})[0] - expected).max()
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the new model's logits differ from the regression's by {difference:.1e}; a mistake of this script"
        )
    print(f"{len(classes)} outputs; ONNX Runtime differs from the regression by at most {difference:.1e}")


def main() -> None:
    """Write the folder that the command line asks for; what goes wrong is one line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the classifier whose features are used")
    parser.add_argument("--data", type=Path, default=Path("data/prepared"), help="what `prepare` wrote; data/prepared")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write; it must not exist")
    given = parser.parse_args()
    try:
        with new_folder(given.out) as folder:
            write(given, folder)
    except Exception as error:  # ONNX Runtime, Pillow and YAML have errors of many kinds
        said = textwrap.shorten(str(error), 300, placeholder=" …")
        sys.exit(
            f"teacher_from_features.py: {said if isinstance(error, ValueError) else f'{type(error).__name__}: {said}'}"
        )
    print(f"{given.out}: {', '.join(file.name for file in sorted(given.out.iterdir()))}")


if __name__ == "__main__":
    main()
