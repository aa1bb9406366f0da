"""What a picture shows, by ONNX Runtime. Needs no TensorFlow: pip install onnxruntime numpy pillow."""

import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image

model, classes, picture = sys.argv[1:]
session = InferenceSession(model, providers=["CPUExecutionProvider"])
pixels = session.get_inputs()[0]
_, height, width, channels = pixels.shape
image = Image.open(picture).convert("L" if channels == 1 else "RGB").resize((width, height))
(logits,) = session.run(None, {pixels.name: np.asarray(image, np.uint8).reshape(1, height, width, channels)})
print(Path(classes).read_text("utf-8").splitlines()[logits[0].argmax()])
