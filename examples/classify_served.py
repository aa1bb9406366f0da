"""What a picture shows, by `mlflow models serve`: the model is the server's address. pip install numpy pillow."""

import json
from urllib.request import Request, urlopen

import numpy as np
from picture import classify


def load(model):
    """Return the prediction of the server at an address."""

    def predict(images):
        content = json.dumps({"inputs": images.tolist()}).encode()
        request = Request(f"{model.rstrip('/')}/invocations", content, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return np.array([image["logits"] for image in json.load(answer)["predictions"]])

    return predict


if __name__ == "__main__":
    classify(__doc__, load)
