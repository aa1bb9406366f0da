"""Pictures that are no squares: kept as a whole for crops, shown as a square everywhere else."""

import io

import numpy as np
import pytest
from conftest import model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from distillery.data.errors import InputError
from distillery.data.prepared import Joined, load_info, load_shown, load_split, save_prepared
from distillery.data.whole_pictures import Pictures, WholePictures, whole_pictures
from distillery.datasets.dataset import Rows
from distillery.datasets.image_folder import read_folder, read_images
from distillery.datasets.pictures import TURNED, Preprocessing, read_picture, read_with_whole, squared, whole_size
from distillery.distillation.transfer_set import view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Batches, Examples
from distillery.learning.prediction import predict_logits

SHAPES = [(16, 24, 3), (16, 16, 3), (31, 16, 3), (16, 48, 3), (17, 16, 3)]


@pytest.fixture
def pictures() -> Pictures:
    """Each has its number as grey in the square, and 200 beside it."""
    wholes, squares = [], np.empty((len(SHAPES), 16, 16, 3), np.uint8)
    for number, shape in enumerate(SHAPES):
        squares[number] = number
        whole = np.full(shape, 200, np.uint8)
        top, left = (shape[0] - 16) // 2, (shape[1] - 16) // 2
        whole[top : top + 16, left : left + 16] = number
        wholes.append(whole)
    sizes = np.array([shape[:2] if shape[:2] != (16, 16) else (0, 0) for shape in SHAPES])
    values = np.concatenate([whole.ravel() for whole, size in zip(wholes, sizes, strict=True) if size.any()])
    return Pictures(squares, WholePictures(values, sizes, 3))


def test_pictures_are_squares_that_know_the_whole(pictures):
    assert (len(pictures), pictures.shape) == (5, (5, 16, 16, 3))
    np.testing.assert_array_equal(pictures[np.array([3, 0])][:, 0, 0, 0], [3, 0])
    assert [picture.shape for picture in whole_pictures(pictures, np.arange(5))] == SHAPES
    assert (pictures.whole(1) == 1).all()
    some = Joined([Rows(pictures, np.array([4, 2])), np.full((1, 16, 16, 3), 9, np.uint8), pictures])
    found = whole_pictures(some, np.array([0, 1, 2, 6]))
    assert [picture.shape for picture in found] == [SHAPES[4], SHAPES[2], (16, 16, 3), SHAPES[3]]
    assert (found[2] == 9).all()
    assert whole_pictures(pictures[:2], np.arange(2)) is None


@pytest.mark.parametrize("crop", [0.05, 0.9])
def test_crops_show_what_lies_beside_the_square(pictures, crop):
    indices, numbers = np.repeat(np.arange(5), 200), np.tile(np.arange(200), 5)
    views = Views(Policy(crop=crop), 5, 200)
    shown = views.show(pictures[indices], indices, numbers, pictures)
    np.testing.assert_array_equal(shown[numbers == 0], pictures[:])
    beside = (shown == 200).any(axis=(1, 2, 3)).reshape(5, 200).mean(axis=1)
    assert (beside[[0, 2, 3]] > 0.3).all()
    assert beside[1] == 0  # it is the square
    without = Views(Policy(1, True), 5, 200).show(pictures[indices], indices, numbers, pictures)
    assert not (without == 200).any()


def test_a_view_is_the_same_whatever_the_batch_and_the_order(pictures):
    policy = Policy(1, True, 0.2, 0.3, mixup=0.4, cutmix=1.0)
    indices, numbers = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)
    views = Views(policy, 5, 6).show(pictures[indices], indices, numbers, pictures)
    order = np.random.default_rng(0).permutation(30)
    others = Views(policy, 5, 9)
    again = others.show(pictures[indices[order]], indices[order], numbers[order], pictures)
    np.testing.assert_array_equal(again, views[order])
    alone = others.show(pictures[indices[[7]]], indices[[7]], 1, pictures)
    np.testing.assert_array_equal(alone[0], views[7])


def test_students_learn_from_the_views_that_the_teacher_saw(pictures):
    teacher = model("dense_10_10", seed=3, image_shape=(16, 16, 3))
    views = Views(Policy(crop=0.2), 5, 4)
    logits = np.stack([predict_logits(teacher, views.show(pictures[:], np.arange(5), n, pictures)) for n in range(4)])

    class Teacher:
        """With the interface that `transfer` knows."""

        digest = "0" * 64

        def outputs(self, images):
            return {"logits": predict_logits(teacher, np.asarray(images))}

    for number in range(4):
        np.testing.assert_allclose(
            view_outputs(Teacher(), pictures, views, number)["logits"], logits[number], atol=1e-2
        )
    examples = Examples(pictures, np.zeros(5, np.int32), views=views, teacher={"logits": logits}, classes=10)
    for images, targets in Batches(examples, 5, seed=0).segments(2):
        np.testing.assert_allclose(predict_logits(teacher, images), targets["logits"], atol=1e-4)
    fresh = Examples(pictures, np.zeros(5, np.int32), augmentation=Policy(crop=0.1), classes=10)
    seen = np.concatenate([next(Batches(fresh, 5, seed=0).segments(epoch))[0] for epoch in range(1, 40)])
    assert (seen == 200).any()


def encoded(picture: Image.Image, orientation: int | None = None, kind: str = "PNG") -> io.BytesIO:
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    picture.save(file, kind, exif=exif)
    return file


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", [None, *TURNED])
def test_whole_picture_is_upright_and_has_the_square_in_its_middle(orientation, kind):
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(256, size=(6, 9, 3), dtype=np.uint8)).resize((450, 300))
    preprocessing = Preprocessing(32)
    square, whole = read_with_whole(encoded(smooth, orientation, kind), preprocessing)
    upright = smooth.transpose(TURNED[orientation]) if orientation else smooth
    shape = (32, 48) if upright.width == 450 else (48, 32)
    assert whole.shape == (*shape, 3)
    scaled = np.asarray(upright.resize(shape[::-1], Image.Resampling.LANCZOS)).astype(int)
    differences = np.abs(whole - scaled).max(axis=(shape.index(32), 2))
    assert differences[[*range(5), *range(11, 37), *range(43, 48)]].max() <= (20 if kind == "JPEG" else 0)
    assert differences.max() < 40  # at the square's edges, where its pixels know nothing of what lies beside it
    np.testing.assert_array_equal(whole[(shape[0] - 32) // 2 :, (shape[1] - 32) // 2 :][:32, :32], square)
    np.testing.assert_array_equal(square, read_picture(encoded(smooth, orientation, kind), preprocessing))
    if kind == "PNG":
        np.testing.assert_array_equal(square, squared(upright, 32))


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 600)] * 2), st.sampled_from([8, 31, 96]), st.sampled_from(["PNG", "JPEG"]))
def test_whole_picture_of_any_sides_has_the_square_in_its_middle(sides, size, kind):
    pixels = np.random.default_rng(0).integers(256, size=(*sides, 3), dtype=np.uint8)
    square, whole = read_with_whole(encoded(Image.fromarray(pixels), kind=kind), Preprocessing(size))
    shape = whole_size(*sides, size)
    if whole is None:
        assert shape == (size, size)
        return
    assert whole.shape == (*shape, 3)
    top, left = ((side - size) // 2 for side in shape)
    np.testing.assert_array_equal(whole[top : top + size, left : left + size], square)


def test_of_a_panorama_the_middle_is_kept():
    pixels = np.zeros((20, 400, 3), np.uint8)
    pixels[:, 170:230] = 255  # three times the height
    _, whole = read_with_whole(encoded(Image.fromarray(pixels)), Preprocessing(10))
    assert whole.shape == (10, 30, 3)
    assert whole[:, 1:-1].min() > 250  # the filter looks a little beyond
    _, whole = read_with_whole(encoded(Image.fromarray(pixels.swapaxes(0, 1))), Preprocessing(10))
    assert whole.shape == (30, 10, 3)
    assert read_with_whole(encoded(Image.fromarray(pixels[:, :21])), Preprocessing(10))[1] is None  # 10 × 10.5


def test_a_folder_keeps_what_may_be_learned_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    for part, count in (("train", 6), ("val", 2), ("unlabelled", 3), ("test", 2)):
        for name in ("a", "b"):
            folder = tmp_path / "photos" / part / ("" if part == "unlabelled" else name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                shape = [(40, 60), (60, 40), (40, 40)][number % 3]
                turned = Image.Exif()
                turned[ExifTags.Base.Orientation] = 6 if number == 0 else 1
                pixels = random.integers(256, size=(*shape, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}{number}.png", exif=turned)
    dataset = read_folder("photos", 20, 0.2)
    splits = dataset.parts() | {"unlabelled": (dataset.unlabelled_images, np.full(6, -1, np.int32))}
    info = save_prepared(tmp_path / "prepared", "photos", dataset.classes, "", splits)
    assert info.whole_values == {"train": 12 * 20 * 20 * 3 * 2 // 3 * 3 // 2, "unlabelled": 6 * 20 * 20 * 3}
    assert load_info(tmp_path / "prepared") == info
    shown, test = load_shown(tmp_path / "prepared"), load_split(tmp_path / "prepared", "test")
    assert [picture.shape[:2] for picture in whole_pictures(shown.images, np.arange(3))] == [
        (30, 20),
        (30, 20),
        (20, 20),
    ]
    for number, name in enumerate(dataset.files["train"]):
        square, whole = read_with_whole(tmp_path / "photos" / name, Preprocessing(20))
        np.testing.assert_array_equal(shown.images[np.array([number])][0], square)
        np.testing.assert_array_equal(shown.images.whole(number), square if whole is None else whole)
    assert not hasattr(test.images, "whole")
    (tmp_path / "prepared/train_whole.npy").unlink()
    with pytest.raises(InputError, match=r"train_whole\.npy: no such file"):
        load_split(tmp_path / "prepared", "train")


def test_digest_knows_what_lies_beside_the_squares(pictures, tmp_path):
    digests = []
    for number in range(2):
        values = pictures._wholes.values.copy()
        values[0] += number
        changed = Pictures(pictures[:], WholePictures(values, pictures._wholes.sizes, 3))
        splits = dict.fromkeys(("train", "validation", "test"), (changed, np.array([0, 1, 0, 1, 0], np.int32)))
        info = save_prepared(tmp_path / str(number), "two", ["a", "b"], "", splits)
        digests.append(info.digests)
        assert not (tmp_path / str(number) / "test_whole.npy").exists()
    assert digests[0]["train"] != digests[1]["train"]
    assert digests[0]["test"] == digests[1]["test"]


def test_images_that_are_whole_themselves_are_not_written_twice(digits, tmp_path):
    images, labels = digits
    parts = {name: (Rows(images, np.arange(20)), labels[:20]) for name in ("train", "validation", "test")}
    info = save_prepared(tmp_path, "digits", [str(digit) for digit in range(10)], "", parts)
    assert info.whole_values is None
    assert not list(tmp_path.glob("*whole*"))
    assert info.digests["train"] == info.digests["test"]
    assert whole_pictures(load_shown(tmp_path).images, np.arange(3)) is None
    assert whole_pictures(Rows(images, np.arange(3)), np.arange(3)) is None


def test_squares_alone_are_a_plain_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "a.png")
    assert isinstance(read_images([tmp_path / "a.png"], 8).images, np.ndarray)


def test_pictures_that_do_not_fit_on_the_disk_as_a_whole_are_refused_before_one_is_decoded(tmp_path, monkeypatch):
    from distillery.datasets import image_folder

    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(tmp_path / "a.png")
    usage = type("Usage", (), {"free": 2 * 3 * 32 * 32 * 3 - 1})
    monkeypatch.setattr(image_folder, "disk_usage", lambda _: usage)
    monkeypatch.setattr(image_folder, "read_with_whole", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"prepare\.image_size: 1 images of 32 × 32 × 3 need .* accepted: up to 31,"):
        read_images([tmp_path / "a.png"], 32)
