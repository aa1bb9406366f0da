"""What a picture shows, by ONNX Runtime. Needs no TensorFlow: pip install onnxruntime numpy pillow."""

from onnxruntime import InferenceSession
from picture import classify


def load(model):
    """Return the prediction of the model in a file."""
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    return lambda images: session.run(None, {pixels.name: images})[0]


if __name__ == "__main__":
    classify(__doc__, load)
