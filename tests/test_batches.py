"""Batches: order, views and named targets, on real digits."""

import keras
import numpy as np
import pytest
from conftest import model

from distillery.data.random_streams import Purpose, generator
from distillery.learning.augmentation import Policy, Views, apply
from distillery.learning.batches import Batches, Examples
from distillery.learning.prediction import predict_logits
from distillery.learning.training import train_epoch


def epoch_of(batches: Batches, number: int):
    """Return the images of an epoch, in their order, their labels and the teacher's logits for them."""
    segments = list(batches.segments(number))
    images, labels, logits = (
        np.concatenate(parts)
        for parts in zip(*((images, targets["labels"], targets["logits"]) for images, targets in segments), strict=True)
    )
    return images, labels, logits


@pytest.mark.parametrize("segment_bytes", [1, 50_000, 2**28])
def test_every_epoch_has_every_image_once_with_its_own_label_and_logits(digits, segment_bytes):
    images, labels = digits
    logits = np.arange(len(labels) * 10, dtype=np.float32).reshape(-1, 10)
    examples = Examples(images, labels, teacher={"logits": logits[np.newaxis]})
    batches = Batches(examples, 100, seed=3, segment_bytes=segment_bytes)
    sizes = [len(shown) for shown, _ in batches.segments(1)]
    assert {size % 100 for size in sizes[:-1]} <= {0}
    assert max(sizes) <= max(100, segment_bytes / (64 + 40))
    orders = []
    for epoch in (1, 2):
        shown, shown_labels, shown_logits = epoch_of(batches, epoch)
        index = shown_logits[:, 0].astype(int) // 10
        np.testing.assert_array_equal(np.sort(index), np.arange(len(labels)))
        np.testing.assert_array_equal(shown, images[index])
        np.testing.assert_array_equal(shown_labels, labels[index])
        orders.append(index)
    assert not np.array_equal(*orders)


def test_augmented_batches_depend_on_seed_epoch_and_batch_alone(digits):
    def images(seed, epoch, segment_bytes=2**28):
        batches = Batches(Examples(*digits, augmentation=Policy(max_shift=2)), 50, seed, segment_bytes=segment_bytes)
        return np.concatenate([shown for shown, _ in batches.segments(epoch)])

    np.testing.assert_array_equal(images(1, 3), images(1, 3, segment_bytes=10_000))
    assert not np.array_equal(images(1, 3), images(2, 3))
    assert not np.array_equal(images(1, 3), images(1, 4))


def test_purposes_share_no_random_numbers():
    """Of the same seed and epoch; without a word for the purpose, the first batch would have those of the order."""
    assert np.random.default_rng([5, 3]).random() == np.random.default_rng([5, 3, 0]).random()
    drawn = {generator(purpose, *words).random() for purpose in Purpose for words in ((5,), (5, 3), (5, 3, 1))}
    assert len(drawn) == 3 * len(Purpose)
    assert generator(Purpose.ORDER, 5, 3).random() == generator(Purpose.ORDER, 5, 3).random()


def test_on_several_devices_only_the_rest_of_an_epoch_is_left_out(digits):
    images, labels = digits
    logits = np.arange(len(labels), dtype=np.float32).reshape(1, -1, 1)
    batches = Batches(Examples(images, labels, teacher={"logits": logits}), 64, seed=3, devices=8)
    left_out = []
    for epoch in (1, 2):
        shown = epoch_of(batches, epoch)[2][:, 0].astype(int)
        assert len(shown) % 8 == 0
        left_out.append(set(range(len(labels))) - set(shown.tolist()))
        assert len(left_out[-1]) == len(labels) % 8 == 5
    assert left_out[0] != left_out[1]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("fresh", [None, Policy(max_shift=1), Policy(max_shift=1, crop=0.5, mixup=0.4, cutmix=1.0)])
@pytest.mark.parametrize("segment_bytes", [30_000, 2**28])
def test_the_parts_of_several_processes_are_the_batches_of_one(digits, processes, fresh, segment_bytes):
    images, labels = digits
    logits = np.arange(len(labels), dtype=np.float32).reshape(1, -1, 1)
    views = Views(Policy(max_shift=2, mixup=0.2), len(labels), 1) if fresh is None else None
    examples = Examples(images, labels, None, views, {"logits": logits}, fresh, classes=10)
    options = {"seed": 3, "devices": 4, "segment_bytes": segment_bytes}
    whole = epoch_of(Batches(examples, 64, **options), 2)
    parts = [Batches(examples, 64, **options, part=(number, processes)) for number in range(processes)]
    found = [epoch_of(part, 2) for part in parts]
    assert {(len(part), part.batch_size) for part in parts} == {(29, 64 // processes)}
    for place, expected in enumerate(whole):
        for start in range(0, 1796, 64):
            batch = expected[start : start + 64]
            own = len(batch) // processes
            first = start // processes
            joined = np.concatenate([part[place][first : first + own] for part in found])
            np.testing.assert_array_equal(joined, batch)


def examples_of(digits, views: int, omitted: int | None = None, **teacher) -> Examples:
    images, labels = digits[0][:1000], digits[1][:1000]
    indices = np.flatnonzero(labels != omitted)
    return Examples(images, labels, indices, Views(Policy(max_shift=1), 1000, views), teacher)


def test_each_view_is_shown_with_its_own_logits(digits):
    """Every epoch has each image that is not left out once; over as many epochs as there are views, each view once."""
    logits = np.arange(3 * 1000, dtype=np.float32).reshape(3, 1000, 1)
    examples = examples_of(digits, 3, omitted=7, logits=logits)
    seen = []
    for epoch in (1, 2, 3):
        images, labels, own_logits = epoch_of(Batches(examples, 64, 5), epoch)
        views, rows = np.divmod(own_logits[:, 0].astype(int), 1000)
        expected = apply(examples.images[rows], examples.views.parameters(rows, views))
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, examples.labels[rows])
        seen += list(zip(views.tolist(), rows.tolist(), strict=True))
        assert len(seen) % len(examples.indices) == 0
    assert sorted(seen) == [(view, row) for view in range(3) for row in examples.indices]


def test_several_teacher_outputs_are_carried_by_name(digits):
    logits = np.arange(1000, dtype=np.float32).reshape(1, 1000, 1)
    embeddings = np.repeat(logits[..., None], 3, axis=2)
    examples = examples_of(digits, 1, logits=logits, embeddings=embeddings)
    for _, targets in Batches(examples, 64, 5).segments(1):
        assert set(targets) == {"labels", "logits", "embeddings"}
        np.testing.assert_array_equal(targets["embeddings"][:, 2, 0], targets["logits"][:, 0])


def test_fit_shows_the_next_view_every_epoch(digits):
    """Through Keras itself, which cuts the batches."""
    logits = np.repeat(np.arange(2, dtype=np.float32), 1000).reshape(2, 1000, 1)
    examples = examples_of(digits, 2, logits=logits)
    batches = Batches(examples, 64, 5)
    seen = []

    class Watcher(keras.Model):
        def train_step(self, data):
            images, targets = data
            seen.append((images.numpy(), targets["logits"].numpy()[:, 0]))
            return {"loss": 0.0}

    watcher = Watcher()
    watcher.compile(run_eagerly=True, jit_compile=False)
    for epoch in (1, 2, 3, 4):
        train_epoch(watcher, batches, epoch)
    views = np.concatenate([view for _, view in seen]).reshape(4, 1000)
    assert (views.mean(axis=1) == 0.5).all()
    shown = np.concatenate([images for images, _ in seen]).reshape(4, 1000, -1)
    for epoch in range(4):
        unshifted = {image.tobytes() for image in shown[epoch][views[epoch] == 0]}
        assert unshifted == {image.tobytes() for image in examples.images[(epoch + 1) % 2 :: 2]}


def test_stored_logits_of_views_agree_with_a_live_teacher(digits):
    teacher = model("cnn", dropout=0.5, seed=5)
    examples = examples_of(digits, 3)
    every = np.arange(1000)
    logits = np.stack([predict_logits(teacher, examples.views.show(examples.images, every, v)) for v in range(3)])
    images, _, own_logits = epoch_of(Batches(examples_of(digits, 3, logits=logits), 100, 5), 3)
    np.testing.assert_allclose(own_logits, predict_logits(teacher, images), atol=1e-5)
