"""What a picture shows, by LiteRT. Needs no TensorFlow: pip install ai-edge-litert numpy pillow."""

from ai_edge_litert.interpreter import Interpreter
from picture import classify


def load(model):
    """Return the prediction of the model in a file."""
    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    (pixels,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images):
        interpreter.set_tensor(pixels["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])

    return predict


if __name__ == "__main__":
    classify(__doc__, load)
