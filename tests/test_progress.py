"""A line every few seconds with the time left, and a bar on a terminal."""

import sys

import numpy as np
import pytest
from conftest import model

from distillery import Distiller
from distillery.data import progress
from distillery.data.progress import Progress, duration
from distillery.learning.batches import Batches, Examples
from distillery.learning.prediction import predict_logits
from distillery.learning.settings import Training
from distillery.learning.training import compile_model, train_epoch


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose element is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_ten_seconds_with_the_time_left(capsys, clock):
    work = Progress("epoch 1/2", total=1000, later=1000)
    for done in range(1, 1001):  # 30 s, after 5 s to compile
        clock[0] = 5 + 0.03 * done
        work.update(done, {"loss": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "epoch 1/2, step 167 of 1,000, loss 0.5000, 55 s left",
        "epoch 1/2, step 501 of 1,000, loss 0.5000, 45 s left",
        "epoch 1/2, step 835 of 1,000, loss 0.5000, 35 s left",
    ]


def test_short_work_says_nothing(capsys, clock):
    work = Progress("predicting", total=3)
    for done in (1, 2, 3):
        clock[0] += 3
        work.update(done)
    work.close()
    assert capsys.readouterr().out == ""


def test_a_terminal_has_a_bar_that_is_redrawn_and_removed(capsys, clock, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    work = Progress("epoch 1/1", total=2)
    for done in (1, 2):
        clock[0] += 1
        work.update(done)
    work.close()
    said = capsys.readouterr().out
    assert "\n" not in said
    assert f"\r[{'=' * 15}{' ' * 15}] epoch 1/1, step 1 of 2\x1b[K" in said
    assert said.endswith("\r\x1b[K")


@pytest.mark.parametrize("at_once", [1, 4])  # of 4 steps at once, each segment's last have fewer
def test_training_and_prediction_say_how_far_they_are(digits, capsys, monkeypatch, at_once):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    images, labels = digits
    built = model("dense_128")
    distiller = Distiller(built, temperature=4.0, alpha=0.1)
    teacher = {"logits": np.zeros((1, len(labels), 10), np.float32)}
    batches = Batches(Examples(images, labels, teacher=teacher), 100, seed=0, segment_bytes=50_000)
    compile_model(distiller, Training(3, 100, 0.01, steps_per_execution=at_once), len(batches), label_smoothing=None)
    train_epoch(distiller, batches, number=2, epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 2/3, step ")
    assert lines[-1].startswith("epoch 2/3, step 18 of 18, ")
    assert ", soft_loss " in lines[-1]
    assert " s left" in lines[-1]
    predict_logits(built, images)
    assert capsys.readouterr().out.splitlines()[-1] == "predicting, step 2 of 2, 0 s left"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 00 min"), (6790, "1 h 53 min")]
)
def test_durations_are_those_that_people_say(seconds, said):
    assert duration(seconds) == said
