import os
import pickle
import resource
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from distillery.data import progress
from distillery.data.errors import InputError
from distillery.datasets.folder_layout import list_images
from distillery.datasets.image_folder import read_folder, read_images

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(256, size=(16, 16, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray = COLOURS, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def images_of(files: list[Path], size: int) -> np.ndarray:
    return read_images(files, size)[0]


def plain(number: int) -> np.ndarray:
    return np.full((8, 8), number, np.uint8)


def make_classes(root: Path, **counts: int) -> Path:
    """Grey images, each of one value, that counts them through the classes in the order given."""
    number = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for _ in range(count):
            write(root / name / f"{number:03}.png", plain(number))
            number += 1
    return root


def message(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_lossless_formats_are_read_exactly(tmp_path, name, options):
    file = write(tmp_path / name, COLOURS, **options)
    np.testing.assert_array_equal(images_of([file], 16), [COLOURS])
    grey = write(tmp_path / f"grey {name}", COLOURS[..., 0], **options)
    expected = COLOURS[..., :1]
    if name == "a.webp":  # which has no grey
        expected = np.repeat(expected, 3, axis=2)
    np.testing.assert_array_equal(images_of([grey], 16), [expected])


def test_lossy_formats_are_read_closely(tmp_path):
    rows, columns = np.mgrid[:16, :16]
    smooth = np.stack([rows * 16, columns * 16, 255 - rows * 16], axis=2).astype(np.uint8)
    for name in ("a.jpg", "a.webp"):
        read = images_of([write(tmp_path / name, smooth, quality=95)], 16)[0]
        assert np.abs(read.astype(int) - smooth).max() < 30
        assert np.abs(read.astype(int) - smooth).mean() < 4
    cmyk = tmp_path / "cmyk.jpg"
    Image.fromarray(smooth).convert("CMYK").save(cmyk, quality=95)
    assert np.abs(images_of([cmyk], 16)[0].astype(int) - smooth).mean() < 6


def test_of_an_animation_the_first_image_counts(tmp_path):
    frames = [
        Image.fromarray(np.where(COLOURS > 127, 255, 0).astype(np.uint8)[..., [channel] * 3]) for channel in (0, 1)
    ]
    for name, options in (("a.gif", {}), ("b.png", {}), ("c.webp", {"lossless": True})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 2
        read = images_of([tmp_path / name], 16)
        np.testing.assert_array_equal(read, np.broadcast_to(np.asarray(frames[0])[..., : read.shape[3]], read.shape))


ORIENTATIONS = {  # the EXIF standard: where the 0th row and column of what is stored are seen
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen, 1),  # 0th row at the right: stored turned to the left
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(ORIENTATIONS[orientation](COLOURS))
    for name, options in (("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})):
        file = write(tmp_path / name, stored, exif=exif, **options)
        np.testing.assert_array_equal(images_of([file], 16), [COLOURS])
    large = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))
    photograph = write(
        tmp_path / "a.jpg", np.ascontiguousarray(ORIENTATIONS[orientation](large)), exif=exif, quality=95
    )
    assert np.corrcoef(images_of([photograph], 16).ravel(), COLOURS.ravel())[0, 1] > 0.95


def test_transparent_images_lie_on_white(tmp_path):
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[:8] = 255
    alpha[8:12] = 51  # a fifth
    for name, options in (("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True, "exact": True})):
        file = write(tmp_path / name, np.concatenate([COLOURS, alpha], axis=2), **options)
        read = images_of([file], 16)[0].astype(int)
        np.testing.assert_array_equal(read[:8], COLOURS[:8])
        assert np.abs(read[8:12] - (0.2 * COLOURS[8:12] + 0.8 * 255)).max() <= 1
        assert (read[12:] == 255).all()

    grey = write(tmp_path / "grey.png", np.concatenate([COLOURS[..., :1], alpha], axis=2))
    read = images_of([grey], 16)[0]
    assert read.shape == (16, 16, 1)
    np.testing.assert_array_equal(read[:8], COLOURS[:8, :, :1])
    assert (read[12:] == 255).all()

    palette = Image.fromarray(np.arange(16, dtype=np.uint8).repeat(16).reshape(16, 16), "P")
    palette.putpalette([value for number in range(16) for value in (number * 16, 0, 255 - number)])
    for name in ("palette.png", "palette.gif"):
        palette.save(tmp_path / name, transparency=3)
        read = images_of([tmp_path / name], 16)[0]
        expected = [[255, 255, 255] if number == 3 else [number * 16, 0, 255 - number] for number in range(16)]
        np.testing.assert_array_equal(read[:, 5], expected)


def test_one_channel_if_all_are_grey_and_three_if_one_is_not(tmp_path):
    grey = write(tmp_path / "grey.png", COLOURS[..., 0])
    bilevel = tmp_path / "bilevel.png"
    Image.fromarray(COLOURS[..., 0] > 127).save(bilevel)
    both = images_of([grey, bilevel], 16)
    np.testing.assert_array_equal(both, [COLOURS[..., :1], np.where(COLOURS[..., :1] > 127, 255, 0)])
    mixed = images_of([grey, write(tmp_path / "colours.png")], 16)
    np.testing.assert_array_equal(mixed, [np.repeat(COLOURS[..., :1], 3, axis=2), COLOURS])


def test_sixteen_bits_become_eight(tmp_path):
    values = np.arange(0, 65536, 256, np.uint16).reshape(16, 16) + RANDOM.integers(256, size=(16, 16), dtype=np.uint16)
    for name in ("a.png", "a.tif", "a.pgm"):
        read = images_of([write(tmp_path / name, values)], 16)
        np.testing.assert_array_equal(read, np.arange(256).reshape(1, 16, 16, 1))
    turned = Image.Exif()
    turned[0x0112] = 3
    read = images_of([write(tmp_path / "turned.png", values, exif=turned)], 16)
    np.testing.assert_array_equal(read, np.arange(256)[::-1].reshape(1, 16, 16, 1))
    see_through = np.where(values < 4096, np.uint16(7), values)
    read = images_of([write(tmp_path / "see_through.png", see_through, transparency=7)], 16)[0, ..., 0]
    np.testing.assert_array_equal(read, np.where(values < 4096, 255, values >> 8))
    for wrong in (np.full((16, 16), 70_000, np.int32), np.zeros((16, 16), np.float32)):
        file = write(tmp_path / "wrong.tif", wrong)
        assert f"{file}: cannot be read as an image (" in message(images_of, [file], 16)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), size=st.integers(1, 6), more=st.integers(0, 7), upright=st.booleans())
def test_the_middle_of_the_longer_side_is_kept(tmp_path_factory, data, size, more, upright):
    shape = (size + more, size, 3) if upright else (size, size + more, 3)
    pixels = data.draw(arrays(np.uint8, shape))
    file = write(tmp_path_factory.mktemp("images") / "a.png", pixels)
    cut = slice(more // 2, more // 2 + size)
    np.testing.assert_array_equal(images_of([file], size), [pixels[cut] if upright else pixels[:, cut]])


def test_large_images_are_averaged_and_small_ones_smoothed(tmp_path):
    chequered = np.indices((128, 128)).sum(axis=0) % 2 * np.uint8(255)
    read = images_of([write(tmp_path / "a.png", chequered.astype(np.uint8))], 16)
    assert np.abs(read.astype(int) - 127.5).max() < 3  # by leaving pixels out it would be all black or all white

    blocks = np.kron(COLOURS, np.ones((8, 8, 1), np.uint8))
    read = images_of([write(tmp_path / "b.png", blocks)], 16)[0]
    assert np.corrcoef(read.ravel(), COLOURS.ravel())[0, 1] > 0.98

    assert images_of([write(tmp_path / "c.png", plain(7))], 32).tolist() == np.full((1, 32, 32, 1), 7).tolist()


def test_reading_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for file in files:
        Image.new("L", (9, 9)).save(file)
    read_images(files, 8)
    assert "reading images, step 20 of 20, 0 s left" in capsys.readouterr().out.splitlines()


def test_each_class_gives_its_part_to_the_test(tmp_path):
    root = make_classes(tmp_path, few=3, some=10, many=40)
    dataset = read_folder(str(root), 8, 0.2)
    assert dataset.classes == ["few", "many", "some"]
    assert np.bincount(dataset.train_labels).tolist() == [2, 32, 8]
    assert np.bincount(dataset.test_labels).tolist() == [1, 8, 2]
    assert dataset.train_images.shape == (42, 8, 8, 1)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int32
    assert (dataset.source, dataset.retrieved_from) == ("own images", str(root))
    values = [*dataset.train_images[:][:, 0, 0, 0], *dataset.test_images[:][:, 0, 0, 0]]
    assert sorted(values) == list(range(53))
    owners = np.repeat([0, 2, 1], [3, 10, 40])  # the values count through few, some, many
    np.testing.assert_array_equal(owners[values], [*dataset.train_labels, *dataset.test_labels])
    assert np.bincount(read_folder(str(root), 8, 0.5).test_labels).tolist() == [1, 20, 5]


def test_neither_place_nor_order_of_writing_matters(tmp_path):
    first = make_classes(tmp_path / "first", b=5, a=9)
    second = tmp_path / "second"
    for file in sorted(first.rglob("*.png"), reverse=True):
        (second / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, second / file.parent.name)
    one, other = read_folder(str(first), 8, 0.3), read_folder(str(second), 8, 0.3)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    assert (one.classes, one.source) == (other.classes, other.source)


def test_given_parts_are_kept(tmp_path):
    make_classes(tmp_path / "train", cat=3, dog=2)
    make_classes(tmp_path / "test", dog=1, cat=1)
    classes, parts = list_images(str(tmp_path))
    train, test = parts["train"], parts["test"]
    assert classes == ["cat", "dog"]
    assert [(file.relative_to(tmp_path).parts[:2], label) for file, label in train] == [
        *[(("train", "cat"), 0)] * 3,
        *[(("train", "dog"), 1)] * 2,
    ]
    assert [(file.parent.name, label) for file, label in test] == [("cat", 0), ("dog", 1)]


def test_any_name_names_a_class(tmp_path):
    names = ["Mädchen und Bären", "犬", "a.b", "Zebra", "a'b", *(f"class {number:03}" for number in range(300))]
    root = tmp_path / "own images"
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(3):
            write(root / name / f"{number} größer.png", RANDOM.integers(256, size=(8, 8), dtype=np.uint8))
    (root / "Mädchen und Bären").rename(root / unicodedata.normalize("NFD", "Mädchen und Bären"))  # as macOS writes it
    dataset = read_folder(str(root), 8, 0.2)
    assert dataset.classes == sorted(names)
    assert np.bincount(dataset.test_labels).tolist() == [1] * len(names)
    (root / "Mädchen und Bären").mkdir()
    assert "has two subfolders named 'Mädchen und Bären'" in message(list_images, str(root))


def test_what_is_hidden_or_beside_the_classes_is_left_out(tmp_path):
    root = make_classes(tmp_path, cat=3, dog=3)
    (root / "README.md").write_text("My pets.")
    (root / ".cache").mkdir()
    (root / "cat" / ".DS_Store").write_bytes(b"\0")
    assert len(read_folder(str(root), 8, 0.3).train_labels) == 4


def test_wrong_layout_raises_input_error(tmp_path):
    assert message(list_images, str(tmp_path / "nowhere")) == (
        f"prepare.dataset: '{tmp_path}/nowhere' does not exist; accepted: a folder with one subfolder per class"
    )
    file = write(tmp_path / "file.png")
    assert "is not a folder; accepted: a folder" in message(list_images, str(file))
    assert "has no subfolders; accepted: one subfolder per class" in message(list_images, str(tmp_path))
    root = make_classes(tmp_path / "pets", cat=3)
    assert "has one subfolder only, 'cat'; accepted" in message(list_images, str(root))
    (root / "dog").mkdir()
    (root / "dog" / ".DS_Store").touch()
    assert f"{root}/dog has no images; accepted: 3 images or more" in message(list_images, str(root))
    write(root / "dog" / "1.png")
    assert f"{root}/dog has 1 image; accepted: 3 images or more" in message(list_images, str(root))
    write(root / "dog" / "2.png")
    assert f"{root}/dog has 2 images; accepted: 3 images or more" in message(list_images, str(root))
    (root / "dog" / "puppies").mkdir()
    assert message(list_images, str(root)).startswith(f"{root}/dog/puppies: in the folder of a class, but not a file")
    (root / "dog" / "puppies").rmdir()
    (root / "dog" / "3.png").symlink_to(tmp_path / "lost.png")
    assert message(list_images, str(root)).startswith(f"{root}/dog/3.png: in the folder of a class, but not a file")


def test_name_that_is_no_text_raises_input_error(tmp_path):
    root = make_classes(tmp_path / "pets", cat=3, dog=3)
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert message(list_images, str(root)) == f"'{root}/caf\\udce9': the name is not in UTF-8; accepted: one that is"


def test_wrong_given_parts_raise_input_error(tmp_path):
    make_classes(tmp_path / "train", cat=3, dog=2, emu=2, fox=2)
    make_classes(tmp_path / "test", cat=1, dog=1, ant=1)
    assert message(list_images, str(tmp_path)) == (
        "prepare.dataset: the classes in train and test differ: emu and 1 more only in train, ant only in test; "
        "accepted: the same subfolders in both"
    )
    for part, name in (("train", "emu"), ("train", "fox"), ("test", "ant")):
        shutil.rmtree(tmp_path / part / name)
    (tmp_path / "test" / "dog" / "001.png").unlink()
    assert "/test/dog has no images; accepted: 1 image or more, one to test on" in message(list_images, str(tmp_path))
    next((tmp_path / "train" / "dog").iterdir()).unlink()
    assert "/train/dog has 1 image; accepted: 2 images or more" in message(list_images, str(tmp_path))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif", "a.ppm"])
def test_truncated_image_raises_input_error(tmp_path, name):
    file = write(tmp_path / name, np.kron(COLOURS, np.ones((8, 8, 1), np.uint8)))
    whole = file.read_bytes()
    for length in (0, 5, len(whole) // 2):
        file.write_bytes(whole[:length])
        assert message(images_of, [file], 16).startswith(f"{file}: cannot be read as an image")


def test_other_file_in_a_class_raises_input_error(tmp_path):
    root = make_classes(tmp_path, cat=4, dog=4)
    notes = root / "dog" / "notes.txt"
    notes.write_text("fetches sticks")
    assert message(read_folder, str(root), 8, 0.2) == (
        f"{notes}: cannot be read as an image; accepted: PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM"
    )
    notes.write_bytes(pickle.dumps(plain(0)))
    assert "notes.txt: cannot be read as an image;" in message(read_folder, str(root), 8, 0.2)
    notes.write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )  # would start Ghostscript
    assert "notes.txt: cannot be read as an image;" in message(read_folder, str(root), 8, 0.2)


def test_many_unreadable_files_leave_none_open(tmp_path):
    files = [write(tmp_path / f"{number}.tif", np.zeros((4, 4), np.float32)) for number in range(60)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 40, before[1]))
    try:
        read = read_images([*files, write(tmp_path / "good.png")], 16, unreadable="leave_out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert read.unreadable.tolist() == [True] * 60 + [False]


def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    files = [write(tmp_path / f"{side}.png", np.zeros((side, side), np.uint8)) for side in (11, 20)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow itself warns of the first and refuses the second
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    for file in files:
        expected = f"{file}: more pixels than can be safe to decode; accepted: up to 100"
        assert message(images_of, [file], 16) == expected
