"""Every file of `methods/`: trains a student of the digits from a real teacher, and goes on when it was stopped."""

from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, model, run, spec

from distillery import Distiller, load_method
from distillery.data.prepared import Split
from distillery.learning.batches import Examples
from distillery.learning.inner_outputs import with_inner_outputs
from distillery.learning.onnx_model import OnnxModel
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import TrainingSet

METHODS = sorted(path.stem for path in (ROOT / "methods").glob("[a-z]*.py"))
TRAINING = Training(epochs=8, batch_size=64, learning_rate=0.01, precision="float32")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def stored(digits) -> dict[str, np.ndarray]:
    """What a teacher that learned the digits answers, its embedding and its attention, as `transfer` keeps them."""
    images, labels = digits
    teacher = model("cnn", seed=5)
    teacher.compile(keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    teacher.fit(images[:1000], labels[:1000], epochs=8, verbose=0)
    seen = with_inner_outputs(teacher, ["embedding", "attention"], "cnn").predict(images[:1000], verbose=0)
    return {name: np.asarray(values, np.float32)[np.newaxis] for name, values in seen.items()}


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_method_trains_goes_on_and_is_exported(digits, stored, tmp_path, method):
    images, labels = digits
    soft_loss = load_method(method)
    teacher = soft_loss.read(stored)
    known, built_from = soft_loss.over(teacher), spec("cnn_16_32")
    examples = Examples(images[:1000], labels[:1000], np.arange(1000), None, teacher, classes=10)
    data = TrainingSet(examples, Split(images[1000:], labels[1000:], "validation"), "train")

    def train(folder: Path, resume_folder: Path | None = None, stop_at: int = 0) -> list[dict[str, float]]:
        seen = []

        def on_epoch_end(_, epoch):
            seen.append(epoch.metrics)
            if epoch.number == stop_at:
                raise Stopped

        trainer = SeedTrainer(built_from, TRAINING, 5, 1000, lambda own: Distiller(own, 4.0, 0.5, soft_loss=known))
        train_students(trainer, [5], data, folder, on_epoch_end, resume_folder)
        return seen

    seen = train(tmp_path / "undisturbed")
    with pytest.raises(Stopped):
        train(tmp_path / "never", tmp_path / "left", stop_at=2)
    assert train(tmp_path / "resumed", tmp_path / "left") == seen
    files = {folder: tmp_path / folder / "seed_5.keras" for folder in ("undisturbed", "resumed")}
    assert files["resumed"].read_bytes() == files["undisturbed"].read_bytes()
    assert seen[-1]["soft_loss"] < seen[0]["soft_loss"]
    assert seen[-1]["val_accuracy"] > 0.5
    exported = OnnxModel(files["resumed"].with_suffix(".onnx")).predict(images[1000:])
    expected = predict_logits(keras.models.load_model(files["resumed"]), images[1000:])
    np.testing.assert_allclose(exported, expected, atol=1e-4)


UNDER_JAX = """
import sys
import numpy as np
from conftest import model
from distillery import Distiller, load_method
from distillery.learning.inner_outputs import with_inner_outputs
random = np.random.default_rng(0)
images, labels = random.integers(0, 255, (64, 8, 8, 1), np.uint8), random.integers(0, 10, 64)
seen = with_inner_outputs(model("cnn", seed=5), ["embedding", "attention"], "cnn").predict(images, verbose=0)
stored = {name: np.asarray(values, np.float32)[np.newaxis] for name, values in seen.items()}
for name in sys.argv[1:]:
    method = load_method(name)
    teacher = method.read(stored)
    distiller = Distiller(model("cnn_16_32"), 4.0, 0.5, soft_loss=method.over(teacher))
    distiller.compile("adam", metrics=["accuracy"])
    targets = {"labels": labels, **{output: values[0] for output, values in teacher.items()}}
    logged = distiller.fit(images, targets, batch_size=64, verbose=0).history
    assert np.isfinite(logged["soft_loss"]).all(), name
    print(name)
"""


@pytest.mark.long
def test_every_method_takes_a_step_under_jax():
    answer = run(ROOT / "tests", "python", "-c", UNDER_JAX, *METHODS, KERAS_BACKEND="jax", PYTHONPATH=str(ROOT))
    assert answer.stdout.split() == METHODS
