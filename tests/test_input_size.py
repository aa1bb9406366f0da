"""Students that take images of another size than the data set's: scaled after the view, everywhere alike."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, change_params, environment, kill_after, run, started
from PIL import Image

from distillery.data.prepared import Split, load_info, load_split
from distillery.export.formats import FORMATS
from distillery.export.preprocessing import described
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Batches, Examples
from distillery.learning.resizing import ResizedImages, resized, resized_info, resized_split

sys.path.append(str(ROOT / "examples"))
from picture import read_picture


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [3, 400])  # in one thread, and in several
def test_images_are_scaled_as_pillow_does_it(channels, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 20, 24, channels)).astype(np.uint8)
    found = resized(images, (32, 48))
    for number in (0, count // 2, count - 1):
        picture = Image.fromarray(images[number].squeeze()).resize((48, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found[number].squeeze(), np.asarray(picture))
    lazy = ResizedImages(images, (32, 48))
    assert (len(lazy), lazy.shape) == (count, found.shape)
    np.testing.assert_array_equal(lazy[1:3], found[1:3])
    np.testing.assert_array_equal(lazy[np.array([2, 0])], found[[2, 0]])


def test_images_of_the_size_are_not_touched(digits):
    split = Split(*digits, "")
    assert resized(digits[0], (8, 8)) is resized(digits[0], None) is digits[0]
    assert resized_split(split, (8, 8)).images is split.images
    assert resized_split(split, (9, 9)).images.shape == (1797, 9, 9, 1)


def test_students_see_the_scaled_view_whatever_the_segments(digits):
    images, labels = digits[0][:100], digits[1][:100]
    views = Views(Policy(max_shift=2, horizontal_flip=True), 100, 3)
    plain, small = (Examples(images, labels, views=views, size=size) for size in (None, (12, 12)))
    expected = [resized(shown, (12, 12)) for shown, _ in Batches(plain, 16, seed=5).segments(2)]
    for segment_bytes in (2**28, 1):
        found = [shown for shown, _ in Batches(small, 16, seed=5, segment_bytes=segment_bytes).segments(2)]
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
    np.testing.assert_array_equal(small.as_they_are[[3, 1]], resized(images[[3, 1]], (12, 12)))


@pytest.fixture(scope="module")
def other_size(pipeline):
    """The clone after a run with a student with batch normalisation of 12 pixels, killed once while it trained."""
    change_params(
        pipeline,
        {
            "student": {
                "model": "architectures/resnet_20.py",
                "width": 0.5,
                "input_size": 12,
                "batch_size": 60,
                "seeds": [0],
            }
        },
    )
    undisturbed = shutil.copytree(pipeline, pipeline.parent / "undisturbed", symlinks=True)
    shutil.rmtree(undisturbed / "models/distilled")
    run(undisturbed, "python", "-m", "pipeline", "distill", DVC_ROOT=str(undisturbed))
    kill_after(started(pipeline, "distill"), "Epoch 3/3")
    said = run(pipeline, "dvc", "repro").stdout
    assert "going on after epoch 2" in said
    return pipeline, undisturbed


@pytest.mark.long
def test_killed_training_with_batch_normalisation_gives_the_same_bytes(other_size):
    folder, undisturbed = other_size
    for path in sorted((undisturbed / "models/distilled").iterdir()):
        assert path.read_bytes() == (folder / "models/distilled" / path.name).read_bytes(), path.name
    model = keras.models.load_model(folder / "models/distilled/seed_0.keras")
    statistics = [weight.numpy() for weight in model.weights if weight.path.endswith("moving_variance")]
    assert len(statistics) == 19
    assert all(np.abs(variance - 1).max() > 0.1 for variance in statistics)


@pytest.mark.long
def test_what_ships_takes_the_students_size_and_says_so(other_size, tmp_path):
    folder, _ = other_size
    preprocessing = json.loads((folder / "models/exported/preprocessing.json").read_text())
    assert (preprocessing["size"], preprocessing["prepared_size"]) == ([12, 12], [8, 8])
    assert preprocessing == described(resized_info(load_info(folder / "data/prepared"), (12, 12)))
    assert json.loads((folder / "models/distilled/students.json").read_text())["prepared_size"] == [8, 8]
    assert "`uint8`, 12 x 12" in (folder / "MODEL_CARD.md").read_text()
    test = load_split(folder / "data/prepared", "test")
    images = resized(np.asarray(test.images), (12, 12))
    metrics = json.loads((folder / "metrics/export.json").read_text())
    for name, format in FORMATS.items():
        logits = format.load(folder / "models/exported" / format.FILE)(images)
        assert np.mean(logits.argmax(axis=1) == test.labels) == pytest.approx(metrics[name]["accuracy"])
    assert metrics["onnx"]["accuracy"] == metrics["keras"]["accuracy"] > 0.6
    evaluated = json.loads((folder / "metrics/evaluate.json").read_text())
    assert evaluated["distilled"]["accuracy"] > 0.6

    Image.fromarray(test.images[0, :, :, 0]).save(tmp_path / "digit.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "digit.png", preprocessing), images[0])
    exported = folder / "models/exported"
    answer = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples/classify_litert.py"), str(exported / "student_int8.tflite")),
            *(str(exported / "classes.txt"), str(tmp_path / "digit.png")),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    int8 = FORMATS["litert_int8"].load(exported / "student_int8.tflite")(images[:1])
    assert answer.stdout.strip() == str(int8.argmax())
