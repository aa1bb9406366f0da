"""What a picture shows, by LiteRT. Needs no TensorFlow: pip install ai-edge-litert numpy pillow."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model, classes, picture = sys.argv[1:]
interpreter = Interpreter(model)
interpreter.allocate_tensors()
pixels, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
_, height, width, channels = pixels["shape"]
image = Image.open(picture).convert("L" if channels == 1 else "RGB").resize((width, height))
interpreter.set_tensor(pixels["index"], np.asarray(image, np.uint8).reshape(pixels["shape"]))
interpreter.invoke()
print(Path(classes).read_text("utf-8").splitlines()[interpreter.get_tensor(logits["index"])[0].argmax()])
