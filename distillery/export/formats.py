"""The formats by name. A format is a module with FILE, `write(student, path)` and `load(path)` -> prediction."""

from distillery.export import keras, litert, litert_int8, onnx

FORMATS = {"keras": keras, "litert": litert, "litert_int8": litert_int8, "onnx": onnx}
