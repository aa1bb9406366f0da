"""Views: each is a function of (policy, image, view number), and each operation does what is said of it."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.special import log_softmax

from distillery import figures
from distillery.data.errors import InputError
from distillery.data.prepared import Split
from distillery.distillation.distiller import Distiller
from distillery.distillation.replay import check_views
from distillery.distillation.stored_logits import compact
from distillery.distillation.transfer_set import view_outputs
from distillery.learning.augmentation import Policy, Views, apply, colour, cropping, draw, erasing, mixing
from distillery.learning.batches import Batches, Examples
from distillery.learning.losses import hard_loss
from distillery.learning.prediction import predict_logits
from stages.transfer import draw_views

EVERYTHING = Policy(2, True, 0.3, 0.4, 0.4, 0.4, 0.5, 0.4, 1.0)
POLICIES = st.builds(
    Policy,
    max_shift=st.integers(0, 2),
    horizontal_flip=st.booleans(),
    crop=st.sampled_from([0.1, 0.5, 1.0]),
    **dict.fromkeys(("brightness", "contrast", "saturation", "erase"), st.sampled_from([0.0, 0.4, 1.0])),
    **dict.fromkeys(("mixup", "cutmix"), st.sampled_from([0.0, 0.2, 1.0])),
)
COLOURS = np.random.default_rng(0).integers(256, size=(40, 12, 10, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(policy=POLICIES, channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_view_is_the_same_whatever_the_batch_the_order_and_the_number_of_views(policy, channels, seed):
    images, random = COLOURS[..., :channels], np.random.default_rng(seed)
    every, numbers = np.arange(40), random.integers(4, size=40)
    views = Views(policy, 40, 4).show(images, every, numbers, images)
    assert (views.shape, views.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(views[numbers == 0], images[numbers == 0])
    order, more = random.permutation(40)[:15], Views(policy, 40, 9)
    np.testing.assert_array_equal(more.show(images[order], order, numbers[order], images), views[order])
    for number in order[:3]:
        alone = more.show(images[[number]], np.array([number]), int(numbers[number]), images)
        np.testing.assert_array_equal(alone[0], views[number])


def test_an_operation_is_drawn_alike_whatever_others_there_are():
    one, other = draw(Policy(2, True), 50, np.random.default_rng(3)), draw(EVERYTHING, 50, np.random.default_rng(3))
    for name in one.dtype.names:
        np.testing.assert_array_equal(one[name], other[name])
    mixed = draw(Policy(mixup=0.4, cutmix=1.0), 50, np.random.default_rng(3))
    np.testing.assert_array_equal(mixed["partner"], draw(EVERYTHING, 50, np.random.default_rng(3))["partner"])


@pytest.mark.parametrize("shape", [(12, 10), (12, 16), (19, 12)])
def test_crop_is_a_part_of_the_picture_interpolated_linearly(shape):
    """Of the whole picture, where it is more than the image."""
    images, random = COLOURS[:20], np.random.default_rng(4)
    wholes = None if shape == (12, 10) else list(random.integers(256, size=(20, *shape, 3), dtype=np.uint8))
    crop = cropping.draw(0.25, 20, np.random.default_rng(1))["crop"]
    found = cropping.apply(images, crop, wholes)
    parts = cropping.boxes(crop, np.full(20, shape[0]), np.full(20, shape[1]))
    for image, view, (left, top, right, bottom) in zip(wholes or images, found, parts, strict=True):
        if bottom - top > 12 or right - left > 10:
            continue  # it is made smaller: Pillow then takes the mean of more than two pixels
        rows = top + (bottom - top) * (np.arange(12) + 0.5) / 12 - 0.5
        columns = left + (right - left) * (np.arange(10) + 0.5) / 10 - 0.5
        where = np.meshgrid(rows, columns, indexing="ij")
        expected = np.stack(
            [map_coordinates(image[..., band].astype(float), where, order=1, mode="nearest") for band in range(3)], -1
        )
        assert np.abs(view - expected).max() <= 2  # Pillow rounds after each of the two directions


@pytest.mark.parametrize("least", [0.08, 0.5, 0.999])
def test_crops_have_the_area_and_the_shape_that_are_drawn(least):
    crop, ones = cropping.draw(least, 20_000, np.random.default_rng(1))["crop"], np.ones(20_000)
    for sides in ((200, 300), (300, 200), (200, 200)):
        left, top, right, bottom = cropping.boxes(crop, sides[0] * ones, sides[1] * ones).T
        assert min(left.min(), top.min(), sides[0] - bottom.max(), sides[1] - right.max()) >= -1e-9
        height, width = (bottom - top) / sides[0], (right - left) / sides[1]
        free = (height < 0.9999) & (width < 0.9999)
        np.testing.assert_allclose((height * width)[free], crop[free, 0], rtol=1e-5)
        np.testing.assert_allclose(((bottom - top) / (right - left))[free], crop[free, 1], rtol=1e-5)
    ratios = (height / width)[free]
    assert ratios.min() > 0.7499
    assert ratios.max() < 1.3335
    assert (height * width).min() > 0.45 * least
    if least < 0.5:
        areas = (height * width)[free]
        assert areas.min() < least + 0.01
        assert abs(np.log(ratios).mean()) < 0.01


def test_colours_change_as_pillow_says():
    """The formulas of Pillow's documentation, in float64: blended with black, the mean grey, the grey of the pixel."""
    changes = colour.draw((0.4, 0.4, 0.4), len(COLOURS), np.random.default_rng(2))["colour"]
    found = colour.apply(COLOURS, changes)
    for image, view, (brightness, contrast, saturation) in zip(COLOURS, found, 1 + changes.astype(float), strict=True):
        expected = np.clip(image * brightness, 0, 255)
        grey = expected @ [0.299, 0.587, 0.114]
        expected = np.clip(grey.mean() + contrast * (expected - grey.mean()), 0, 255)
        grey = (expected @ [0.299, 0.587, 0.114])[..., None]
        expected = np.clip(grey + saturation * (expected - grey), 0, 255)
        assert np.abs(view - expected).max() <= 5  # whole numbers in between
        assert np.abs(view - expected).mean() <= 2
    np.testing.assert_array_equal(colour.apply(COLOURS, np.zeros_like(changes)), COLOURS)


def test_a_grey_rectangle_is_erased_of_a_part_of_the_images():
    black = np.zeros((10_000, 20, 30, 1), np.uint8)
    drawn = erasing.draw(0.25, 10_000, np.random.default_rng(0))["erased"]
    erased = erasing.apply(black, drawn)[..., 0]
    changed = erased.any(axis=(1, 2))
    assert 2300 < changed.sum() < 2700
    assert set(np.unique(erased)) == {0, erasing.GREY}
    areas = (erased[changed] > 0).mean(axis=(1, 2))
    assert 0.005 < areas.min() < 0.03
    assert 0.3 < areas.max() < 0.39  # in whole pixels
    for view in erased[changed][:50]:
        rows, columns = np.nonzero(view)
        assert (view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == erasing.GREY).all()


@settings(max_examples=40, deadline=None)
@given(mixup=st.sampled_from([0.0, 0.2, 1.0]), cutmix=st.sampled_from([0.0, 0.3, 1.0, 8.0]), seed=st.integers(0, 10**6))
def test_mixing_matches_the_formula(mixup, cutmix, seed):
    random = np.random.default_rng(seed)
    drawn = draw(Policy(mixup=mixup, cutmix=cutmix, horizontal_flip=not mixup + cutmix), 40, random)
    if not mixup + cutmix:
        assert "partner" not in drawn.dtype.names
        return
    labels, partners = random.integers(7, size=(2, 40))
    part = mixing.partners_part(drawn, 12, 10)
    assert ((part >= 0) & (part <= 1)).all()
    black, white = np.zeros((40, 12, 10, 1), np.uint8), np.full((40, 12, 10, 1), 255, np.uint8)
    np.testing.assert_allclose(mixing.mix(black, white, drawn).mean(axis=(1, 2, 3)) / 255, part, atol=0.5 / 255)
    shown, others = COLOURS, COLOURS[::-1]
    mixed = mixing.mix(shown, others, drawn)
    blended = drawn["blended"] > 0
    weight = (drawn["blended"][blended] / 256)[:, None, None, None]
    expected = (1 - weight) * shown[blended] + weight * others[blended]
    assert np.abs(mixed[blended] - expected).max(initial=0) <= 0.5
    pasted = mixed[~blended]
    same, other = (pasted == shown[~blended]).all(axis=-1), (pasted == others[~blended]).all(axis=-1)
    assert (same | other).all()
    np.testing.assert_allclose((~same).mean(axis=(1, 2)), part[~blended], atol=1e-9)
    targets = mixing.mixed_labels(labels, partners, part, 7)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(targets, (1 - part)[:, None] * np.eye(7)[labels] + part[:, None] * np.eye(7)[partners])


def test_half_are_blended_where_views_are_both_blended_and_pasted():
    drawn = draw(Policy(mixup=1.0, cutmix=1.0), 20_000, np.random.default_rng(0))
    assert 9_700 < (drawn["blended"] > 0).sum() < 10_200
    only = draw(Policy(mixup=0.2), 20_000, np.random.default_rng(0))
    part = only["blended"] / 256
    assert abs(part.mean() - 0.5) < 0.01
    assert abs(part.var() - 1 / (4 * 1.4)) < 0.01  # of Beta(a, a): 1 / (4 (2a + 1))
    assert not only["pasted"].any()


def test_loss_of_mixed_labels_is_the_mean_of_the_losses_of_both(digits):
    random = np.random.default_rng(0)
    logits, part = random.normal(size=(30, 10)).astype(np.float32), random.uniform(size=30)
    labels, partners = random.integers(10, size=(2, 30))
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    expected = -np.mean((1 - part) * log_p[range(30), labels] + part * log_p[range(30), partners])
    targets = mixing.mixed_labels(labels, partners, part, 10)
    assert float(hard_loss(targets, logits)) == pytest.approx(expected, abs=1e-5)
    smoothed = 0.9 * expected - 0.1 * log_p.mean()
    assert float(hard_loss(targets, logits, 0.1)) == pytest.approx(smoothed, abs=1e-5)


def test_stored_logits_of_mixed_views_and_a_live_teacher_give_the_same_losses(digits):
    """The teacher sees the pixels that the student sees; each with the labels of its two images."""
    images, labels = digits[0][:200], digits[1][:200]
    views = Views(Policy(1, False, 0.5, mixup=0.4, cutmix=1.0), 200, 3)
    network = model("dense_128", seed=5)

    class Teacher:
        digest = "0" * 64

        def outputs(self, shown):
            return {"logits": predict_logits(network, shown)}

    stored = np.stack([view_outputs(Teacher(), images, views, number)["logits"] for number in range(3)])
    examples = Examples(images, labels, views=views, teacher={"logits": stored}, classes=10)
    every = np.arange(200)
    for shown, targets in Batches(examples, 50, seed=1, segment_bytes=10_000).segments(2):
        np.testing.assert_allclose(predict_logits(network, shown), targets["logits"], atol=1e-5)
        np.testing.assert_allclose(targets["labels"].sum(axis=1), 1, atol=1e-6)
        losses = []
        for teacher, y in ((None, targets), (network, targets["labels"])):
            distiller = Distiller(model("dense_128", seed=1), 4.0, 0.5, teacher)
            distiller.compile(optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"])
            losses.append(distiller.evaluate(shown, y, batch_size=50, verbose=0, return_dict=True))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    numbers = (every + 2) % 3
    whole = views.mixed_labels(labels, every, numbers, 10, (8, 8))
    np.testing.assert_array_equal(whole[numbers == 0], np.eye(10)[labels[numbers == 0]])


def test_fresh_mixing_depends_on_seed_epoch_and_batch_alone(digits):
    examples = Examples(*digits, augmentation=Policy(crop=0.5, mixup=1.0), classes=10)

    def epoch(number: int, segment_bytes: int = 2**28) -> tuple[np.ndarray, np.ndarray]:
        segments = [*Batches(examples, 50, 1, segment_bytes=segment_bytes).segments(number)]
        return tuple(np.concatenate(arrays) for arrays in zip(*segments, strict=True))

    (images, labels), (again, again_labels) = epoch(3), epoch(3, segment_bytes=10_000)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, again_labels)
    assert not np.array_equal(images, epoch(4)[0])
    assert ((labels > 0).sum(axis=1) == 2).mean() > 0.7  # of the rest both images are of one class


def test_views_of_an_image_as_it_is_are_not_copied():
    drawn = np.zeros(40, draw(Policy(2, True), 1, np.random.default_rng(0)).dtype)
    assert apply(COLOURS, drawn) is COLOURS


def test_logits_of_another_teacher_or_of_other_views_are_refused(digits):
    images = digits[0][:300]
    network = model("dense_128", seed=5)

    def teacher(digest: str) -> SimpleNamespace:
        return SimpleNamespace(digest=digest, outputs=lambda shown: {"logits": predict_logits(network, shown)})

    own, views = teacher("a" * 64), Views(Policy(1, False, 0.5, mixup=0.4), 300, 3)
    stored = {"logits": np.stack([view_outputs(own, images, views, number)["logits"] for number in range(3)])}
    check_views(own, images, views, stored, own.digest)
    check_views(own, images, views, {"logits": np.stack([compact(of) for of in stored["logits"]])}, own.digest)
    kept = {}
    for count in (1, 4):
        largest = [view_outputs(own, images, views, number, top_classes=count) for number in range(3)]
        kept[count] = {name: np.stack([outputs[name] for outputs in largest]) for name in largest[0]}
        check_views(own, images, views, kept[count], own.digest)
    with pytest.raises(InputError, match="its logits are another teacher's than models/teacher; run `dvc repro"):
        check_views(teacher("b" * 64), images, views, stored, own.digest)
    others = Views(Policy(1, False, 0.5, mixup=0.5), 300, 3)
    with pytest.raises(InputError, match=r"of 32 views .* differ from those stored in \d+, first in view [12] of"):
        check_views(own, images, others, stored, own.digest)
    for count in (1, 4):
        with pytest.raises(InputError, match=r"differ from those stored"):
            check_views(own, images, others, kept[count], own.digest)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 10, 25])
def test_a_row_of_the_sheet_of_views_has_all_views_of_an_image(digits, count):
    drawn = {}
    run = SimpleNamespace(figure=lambda function, name, **arguments: drawn.update(arguments))
    train, views = Split(*digits, ""), Views(Policy(1), len(digits[1]), count)
    draw_views(train, views, [str(number) for number in range(10)], run)
    shown = min(count, 10)
    assert drawn["columns"] % shown == 0
    assert len(drawn["images"]) % drawn["columns"] == 0
    firsts = drawn["images"][::shown]
    assert len({image.tobytes() for image in firsts}) == len(firsts)
    assert all((digits[0] == image).all(axis=(1, 2, 3)).any() for image in firsts)
    figures.sample_sheet(**drawn)
