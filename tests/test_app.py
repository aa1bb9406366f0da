"""The demo: its functions against independent truth, its pages over a real run and over what may be left of one."""

import base64
import io
import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFile, ImageFilter
from scipy.ndimage import center_of_mass
from streamlit.testing.v1 import AppTest

from app import charts, loaded, recorded, results, uploads
from app.handwriting import LAYOUTS, ink_of_canvas, ink_of_picture, placed
from app.predictions import classes_to_show, other_classes, probabilities
from app.results import find_models, read_evaluation
from app.uploads import MAX_BYTES, open_picture, picture_input
from distillery.data.errors import InputError
from distillery.data.files import write_json
from distillery.data.prepared import save_prepared
from distillery.datasets.image_folder import FORMATS
from distillery.learning.models import build_model, save_model

MNIST = LAYOUTS["mnist"]
SEVEN, TWO = (  # the first two images of MNIST's test set
    np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8).reshape(28, 28)
    for text in (
        "c-muN7%m`W=ltn5D%j=j{R4uJ$Dm-939_7Xkw?+u$NwGzRs4GT?_UpwW<e)DXJ=<?(Kr9HaM>OF_o5IEDY2LTgK=qV{P#`=hm`fte|EUE"
        "wf@`9ibIO?><=qk+Uovo!zJbY`-3G8DdD^Smf?_MKK<{uG7dSlfB$@ONXb9=SImghYyV7eNZEeEEm!&P-)#+?a_5DJPelM)he#I",
        "c-muNpd~1&UH$+6v{-CXEB}JQEjjE`SNk^n{ab}0W%BFqB?TS^wsU`bFywrHUy=k;RX_eZVwx#01R^i~#U=*^rQiP^<H9cG^ZoC0dmP#t"
        "{{EeSLu$jfzw>#pOG&=^`%)Q)wqt+)_TrH8`|)=#4ikk>;MUgm_wQO9+8BQP{VU0UTTWX92v`|dMMPAmO`A5E3t0{fR`f4}vZ~>7>;59Z"
        "&+p$?mX=x~3@xj!t_EqDU0tooF!%rfb*6B$",
    )
)


def enlarged(image: np.ndarray, factor: int = 10) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def on_canvas(ink: np.ndarray, top: int = 0, left: int = 0, side: int = 500) -> np.ndarray:
    """Black ink on a white canvas as the browser gives it: red, green, blue, opacity."""
    canvas = np.full((side, side, 4), 255, np.uint8)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1], :3] = 255 - ink[..., np.newaxis]
    return canvas


def png(pixels: np.ndarray, **options) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", **options)


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


# Drawings as MNIST has them


@pytest.mark.parametrize("image", [SEVEN, TWO])
def test_an_image_of_mnist_drawn_large_anywhere_comes_back_the_same(image):
    canvas = on_canvas(enlarged(image), top=170, left=33)
    assert np.array_equal(placed(ink_of_canvas(canvas), 28, MNIST), image)


@pytest.mark.parametrize("image", [SEVEN, TWO])
def test_a_smooth_drawing_comes_close_to_the_image(image):
    smooth = np.asarray(Image.fromarray(image).resize((420, 420), Image.Resampling.BICUBIC))
    again = placed(ink_of_canvas(on_canvas(smooth)), 28, MNIST)
    assert np.abs(again.astype(int) - image).mean() < 12  # moved by a single pixel it would be 13 and more
    assert np.corrcoef(again.ravel(), image.ravel())[0, 1] > 0.95


def test_a_canvas_without_strokes_has_no_ink_transparent_or_white():
    for canvas in (np.zeros((50, 50, 4), np.uint8), np.full((50, 50, 4), 255, np.uint8)):
        assert not ink_of_canvas(canvas).any()
    with pytest.raises(ValueError, match="no ink"):
        placed(np.zeros((50, 50), np.uint8), 28, MNIST)


strokes = st.lists(st.tuples(st.integers(30, 270), st.integers(30, 270)), min_size=2, max_size=8, unique=True)


def drawing(points: list[tuple[int, int]]) -> np.ndarray:
    image = Image.new("L", (300, 300))
    ImageDraw.Draw(image).line(points, fill=255, width=20, joint="curve")
    return np.asarray(image)


@given(strokes)
@settings(max_examples=60, deadline=None)
def test_any_drawing_fits_the_box_and_has_its_centre_of_mass_in_the_middle(points):
    image = placed(drawing(points), 28, MNIST)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    for found, centre in ((rows, center_of_mass(image)[0]), (columns, center_of_mass(image)[1])):
        at_the_edge = found[0] == 0 or found[-1] == 27  # ink is not pushed out of the image
        assert at_the_edge or abs(centre - 14) <= 0.5 + 1e-9


@given(strokes, st.integers(0, 150), st.integers(0, 150))
@settings(max_examples=30, deadline=None)
def test_where_on_the_canvas_one_draws_is_no_matter(points, top, left):
    ink = drawing(points)
    moved = np.zeros((450, 450), np.uint8)
    moved[top : top + 300, left : left + 300] = ink
    assert np.array_equal(placed(moved, 28, MNIST), placed(ink, 28, MNIST))


@pytest.mark.parametrize(("height", "width"), [(200, 40), (40, 200), (10, 5)])
def test_the_aspect_ratio_is_kept(height, width):
    image = placed(np.full((height, width), 255, np.uint8), 28, MNIST)
    side = 20 / max(height, width)
    assert image.any(axis=1).sum() == round(height * side)
    assert image.any(axis=0).sum() == round(width * side)
    assert image[image > 0].min() == 255  # full ink stays full ink


def test_digits_fill_all_eight_rows_as_those_of_the_data_set_do():
    image = placed(enlarged(SEVEN), 8, LAYOUTS["digits"])
    assert image.shape == (8, 8)
    assert image.any(axis=1).all()


# Photographs of handwriting


def photograph(image: np.ndarray, seed: int, fall_off: int = 40) -> np.ndarray:
    """Dark ink on light paper, unevenly lit from one side, with noise, and with specks of dirt."""
    random = np.random.default_rng(seed)
    ink = np.asarray(Image.fromarray(enlarged(image, 30)).filter(ImageFilter.GaussianBlur(4))).astype(float)
    page = np.pad(ink, ((150, 100), (260, 300)))
    for row, column in random.integers(30, 800, (6, 2)):
        page[row : row + 5, column : column + 5] = 200
    light = 240 - fall_off * np.linspace(1, 0, page.shape[1])
    return np.clip(light - 0.7 * page + random.normal(0, 5, page.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("image", [SEVEN, TWO])
@pytest.mark.parametrize(("seed", "fall_off"), [(0, 40), (1, 40), (0, 60), (0, 100)])
def test_a_photograph_of_ink_on_paper_is_inverted_cleaned_and_centred(image, seed, fall_off):
    photo = saved(Image.fromarray(photograph(image, seed, fall_off)), "JPEG")
    made = picture_input(photo, "photo.jpg", "mnist", (28, 28, 1))
    assert np.corrcoef(made.pixels.ravel(), image.ravel())[0, 1] > 0.9
    assert "its border is light, so it was inverted" in made.changes


@pytest.mark.parametrize("width", [6, 12, 40])
def test_a_thin_pens_stroke_is_full_ink_too(width):
    page = Image.new("L", (1200, 1200), 230)
    ImageDraw.Draw(page).line([(400, 300), (800, 300), (550, 900)], fill=30, width=width)
    made = picture_input(png(np.asarray(page)), "thin.png", "mnist", (28, 28, 1))
    assert made.pixels.max() == 255


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_large_picture_is_worked_on_at_a_part_of_its_size(mode):
    page = Image.new("L", (4100, 4600), 230)
    ImageDraw.Draw(page).line([(1000, 1000), (3000, 1000), (1500, 3500)], fill=30, width=200)
    assert min(open_picture(saved(page.convert(mode), "PNG"), "large.png", "L", 1000).size) == 2050
    made = picture_input(saved(page.convert(mode), "PNG"), "large.png", "mnist", (28, 28, 1))
    small = page.resize((1025, 1150), Image.Resampling.BOX)
    assert np.corrcoef(made.pixels.ravel(), _pixels(small).ravel())[0, 1] > 0.98


def _pixels(page: Image.Image) -> np.ndarray:
    return picture_input(saved(page, "PNG"), "small.png", "mnist", (28, 28, 1)).pixels


def test_light_ink_on_black_is_not_inverted_and_an_image_of_the_data_set_stays_as_it_is():
    ink, inverted = ink_of_picture(enlarged(TWO))
    assert not inverted
    assert np.array_equal(placed(ink, 28, MNIST), TWO)
    made = picture_input(png(TWO), "two.png", "mnist", (28, 28, 1))
    assert np.array_equal(made.pixels[..., 0], TWO)
    assert made.changes == ""


@given(arrays(np.uint8, (60, 60)))
@settings(max_examples=40, deadline=None)
def test_of_any_picture_there_is_ink_or_none_but_no_failure(grey):
    ink, _ = ink_of_picture(grey)
    assert ink.shape == (60, 60)
    if ink.any():
        assert ink.max() == 255
        assert placed(ink, 28, MNIST).any()


def message(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        picture_input(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_in_which_nothing_is_to_be_seen_is_told(shade):
    text = message(png(np.full((90, 90), shade, np.uint8)), "blank.png", "mnist", (28, 28, 1))
    assert text.startswith("blank.png: nothing stands out from its background; accepted:")


# Uploads

COLOURS = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("JPEG", "GIF")])
def test_pictures_of_every_lossless_format_arrive_as_they_are(form):
    content = saved(Image.fromarray(COLOURS), form, **({"lossless": True} if form == "WEBP" else {}))
    made = picture_input(content, "picture", "cifar10", (32, 32, 3))
    assert np.array_equal(made.pixels, COLOURS)
    assert made.changes == ""


@pytest.mark.parametrize("form", ["JPEG", "GIF"])
def test_lossy_pictures_arrive_nearly_as_they_are(form):
    smooth = np.asarray(Image.fromarray(COLOURS[:4, :4]).resize((32, 32), Image.Resampling.BICUBIC))
    made = picture_input(saved(Image.fromarray(smooth), form), "picture", "cifar10", (32, 32, 3))
    assert np.abs(made.pixels.astype(int) - smooth).mean() < 16


def test_a_large_picture_is_cropped_in_the_middle_and_scaled():
    wide = np.zeros((64, 200, 3), np.uint8)
    wide[:, 68:132] = (200, 100, 50)
    made = picture_input(png(wide), "wide.png", "folder", (32, 32, 3))
    assert (made.pixels == (200, 100, 50)).all()
    assert made.changes == "the middle square, scaled to 32 × 32"


def test_a_grey_picture_suits_a_model_of_colours_and_a_coloured_one_a_grey_model():
    grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
    assert np.array_equal(picture_input(png(grey), "a", "cifar10", (32, 32, 3)).pixels, np.stack([grey] * 3, axis=-1))
    made = picture_input(png(COLOURS), "a", "folder", (32, 32, 1)).pixels
    assert np.array_equal(made[..., 0], np.asarray(Image.fromarray(COLOURS).convert("L")))


def test_a_photograph_is_turned_upright_and_transparency_is_white():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = picture_input(saved(Image.fromarray(COLOURS), "PNG", exif=exif), "a", "cifar10", (32, 32, 3))
    assert np.array_equal(turned.pixels, COLOURS[::-1, ::-1])
    glass = np.concatenate([COLOURS, np.zeros((32, 32, 1), np.uint8)], axis=2)
    assert (picture_input(png(glass), "a", "cifar10", (32, 32, 3)).pixels == 255).all()


def header_of_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height", "found"),
    [
        (8_000, 7_000, "8,000 × 7,000 pixels"),  # below what Pillow itself warns of
        (12_000, 12_000, "12,000 × 12,000 pixels"),  # Pillow would warn,
        (60_000, 60_000, "more pixels than can be safe to decode"),  # and here refuse
    ],
)
def test_bombs_are_refused_by_their_header_before_anything_is_decoded(monkeypatch, width, height, found):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    text = message(header_of_png(width, height), "bomb.png", "cifar10", (32, 32, 3))
    assert text == f"bomb.png: {found}; accepted: {uploads.ACCEPTED}"


def test_files_that_are_too_large_of_another_format_or_damaged_are_refused_in_one_line():
    arguments = ("cifar10", (32, 32, 3))
    assert (
        message(b"\0" * (MAX_BYTES + 1), "film.png", *arguments) == f"film.png: 10.0 MB; accepted: {uploads.ACCEPTED}"
    )
    for name, content in {
        "notes.png": b"not a picture",
        "empty.png": b"",
        "drawing.png": saved(Image.fromarray(COLOURS), "EPS"),  # Pillow would start a program to read it
        "icon.png": saved(Image.fromarray(COLOURS), "ICO"),
    }.items():
        assert (
            message(content, name, *arguments) == f"{name}: cannot be read as an image; accepted: {', '.join(FORMATS)}"
        )
    half = png(np.random.default_rng(0).integers(256, size=(200, 200, 3), dtype=np.uint8))[:5000]
    assert message(half, "half.png", *arguments).startswith("half.png: cannot be read as an image (")


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size():
    content = saved(Image.new("RGB", (4000, 3000), (10, 200, 30)), "JPEG")
    assert open_picture(content, "photo.jpg", "RGB", 32).size == (100, 75)


# Probabilities


@given(arrays(np.float32, (3, 7), elements=st.floats(-50, 50, width=32)), st.floats(0.1, 100))
def test_probabilities_are_the_softmax_of_logits_over_temperature(logits, temperature):
    exponentials = np.exp(logits.astype(np.longdouble) / temperature)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert probabilities(logits, temperature) == pytest.approx(expected.astype(np.float64), abs=1e-12)
    rest = other_classes(logits[0], temperature)
    assert rest == pytest.approx(float(1 - expected[0].max()), abs=1e-12)


@given(arrays(np.float32, 6, elements=st.floats(-30, 30, width=32)), st.floats(1, 20), st.floats(1.1, 5))
def test_a_higher_temperature_leaves_more_to_the_other_classes(logits, temperature, factor):
    assert other_classes(logits, factor * temperature) >= other_classes(logits, temperature) - 1e-12


def test_of_many_classes_each_models_best_are_shown_and_of_few_all_in_their_order():
    logits = np.random.default_rng(0).normal(size=(3, 300))
    shown = classes_to_show(logits)
    assert len(shown) == len(set(shown)) == 10
    assert set(logits.argmax(axis=1)) <= set(shown[:3])
    for row in logits:
        assert set(np.argsort(-row)[:3]) <= set(shown)
    assert classes_to_show(logits[:, :10]) == list(range(10))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00 %"),
        (1e-9, "< 0.01 %"),
        (0.00123, "0.12 %"),
        (0.4567, "45.7 %"),
        (0.9999999, "> 99.99 %"),
        (1, "100.00 %"),
    ],
)
def test_no_small_probability_is_called_nothing_and_no_large_one_certain(value, text):
    assert charts.percent(value) == text


# Experiments


def dvc_state(rev: str, name: str | None, temperature: float, accuracy: float, seeds=2, **more) -> dict:
    params = {
        "prepare": {"dataset": "mnist"},
        "train_teacher": {"architecture": "cnn"},
        "student": {"architecture": "dense_128", "seeds": seeds},
        "distill": {"temperature": temperature},
    }
    metrics = {kind: {"accuracy": accuracy} for kind in ("teacher", "distilled", "scratch")}
    return {
        "rev": rev,
        "name": name,
        "data": {
            "timestamp": None if rev == "workspace" else "2026-01-02T03:04:05",
            "params": {"params.yaml": {"data": params}},
            "metrics": {
                "metrics/evaluate.json": {"data": metrics},
                "metrics/timing.json": {"error": {"msg": "damaged"}},
            },
        },
        "experiments": None,
    } | more


def test_an_experiment_is_one_row_however_many_record_it():
    experiment = {"name": "hot", "revs": [dvc_state("c" * 40, "hot", 8, 0.97)]}
    rows = recorded.rows_of_dvc(
        [
            dvc_state("workspace", None, 8, 0.97, seeds=[0, 1]),
            dvc_state("a" * 40, "main", 4, 0.95, experiments=[experiment]),
            dvc_state("b" * 40, None, 4, 0.95),  # the same results: only a text changed
            {"rev": "d" * 40, "name": None, "data": None, "experiments": None},  # no pipeline yet
            dvc_state("e" * 40, None, 4, None),  # never evaluated
        ]
    )
    assert [row["experiment"] for row in rows] == ["workspace", "hot", "commit bbbbbbb"]
    tracked = [dict(rows[1], experiment="hot", recorded="MLflow") | {"student.parameters": 100}, dict(rows[0])]
    tracked[1] |= {"recorded": "MLflow", "distilled.accuracy": 0.5, "now": False}
    found = recorded.merged(rows, tracked)
    assert [(row["experiment"], row["recorded"], row["now"], row["distill.temperature"]) for row in found] == [
        ("workspace", "MLflow", False, 8),
        ("hot", "DVC + MLflow", True, 8),
        ("commit bbbbbbb", "DVC", False, 4),
    ]
    sizes = [row["student.parameters"] for row in recorded.with_sizes(found, {})]
    assert sizes == [100, 100, 100]  # the same architecture on the same data set
    assert [row["teacher.parameters"] for row in recorded.with_sizes(found, {("mnist", "cnn"): 7})] == [7, 7, 7]


def test_without_records_nothing_is_made_and_the_reason_is_told(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"^mlflow\.db: no such file"):
        recorded.mlflow_experiments()
    with pytest.raises(InputError, match=r"`dvc exp show` failed: .+"):
        recorded.dvc_experiments()
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(InputError, match=r"^MLflow cannot be read"):
        recorded.mlflow_experiments()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


# Pages


def enter(monkeypatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


def copied(pipeline: Path, target: Path) -> Path:
    """What a run left, without Git, DVC's cache and MLflow, to be damaged."""
    for name in ("params.yaml", "dvc.lock", "data/prepared", "models", "metrics", "plots"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (pipeline / name).is_dir() else shutil.copy2
        copy(pipeline / name, target / name)
    return target


def open_page(name: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "app/demo.py"), default_timeout=200)
    return page.switch_page(name).run()


def told(page: AppTest) -> str:
    """Everything that the page says; no page ever shows a traceback."""
    assert not page.exception, page.exception
    kinds = (page.markdown, page.caption, page.info, page.warning, page.error, page.title, page.code, page.html)
    said = "\n".join(str(element.value) for elements in kinds for element in elements)
    return re.sub(r"\\(.)", r"\1", said)  # a backslash keeps Markdown from taking a character for its own


def test_compare_shows_what_evaluate_found(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("compare.py")
    says = told(page)
    headline = json.loads((pipeline / "metrics/evaluate.json").read_text())
    assert f"{abs(headline['gain']['points']):.2f} percentage points" in says
    rows = [line.split(",") for line in (pipeline / "plots/evaluate/predictions.csv").read_text().splitlines()]
    header, rows = rows[0], np.array(rows[1:])
    shown = [metric.value for metric in page.metric]
    right = [(rows[:, header.index(kind)] == rows[:, 0]).mean() for kind in ("teacher", "distilled", "scratch")]
    assert shown == [f"{100 * part:.2f} %" for part in right]
    teacher = keras.models.load_model(pipeline / "models/teacher.keras")
    assert f"{teacher.count_params():,}" in says
    assert f"{(pipeline / 'models/teacher.keras').stat().st_size:,} bytes" in says
    assert not page.warning
    for section, count in (("Training", 1), ("Confusion", 1), ("By class", 2)):
        page.button_group[0].set_value(section).run()
        told(page)
        assert len(page.image) == count
    page.button_group[0].set_value("Experiments").run()
    told(page)
    (table,) = page.dataframe
    assert table.value["Distilled (%)"].tolist() == [100 * headline["distilled"]["accuracy"]]
    assert table.value["Known to"].tolist() == ["DVC + MLflow"]  # one row
    assert table.value["Now"].tolist() == [True]
    assert table.value["Seeds"].tolist() == ["[0, 1]"]
    assert table.value["Teacher parameters"].tolist() == [teacher.count_params()]
    student = keras.models.load_model(find_models()[0]["distilled"].path)
    assert table.value["Student parameters"].tolist() == [student.count_params()]
    assert not page.warning


def test_try_shows_what_the_models_say_of_a_test_image(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("tryout.py")
    assert "Nothing to look at yet" in told(page)
    assert page.button_group[0].options == ["Draw", "Test image", "Upload"]
    page.button_group[0].set_value("Test image").run()
    page.number_input[0].set_value(5).run()
    says = told(page)
    label = np.load(pipeline / "data/prepared/test_labels.npy")[4]
    assert f"Test image 4, label **{label}**" in says
    image = np.load(pipeline / "data/prepared/test_images.npy")[4:5]
    models = {kind: keras.models.load_model(file.path) for kind, file in find_models()[0].items()}
    logits = {kind: model.predict(image, verbose=0)[0].astype(float) for kind, model in models.items()}
    assert [metric.value for metric in page.metric] == [str(one.argmax()) for one in logits.values()]
    page.slider[0].set_value(5.0).run()
    says = told(page)
    for one, metric in zip(logits.values(), page.metric, strict=True):
        softened = np.exp(one / 5) / np.exp(one / 5).sum()
        assert metric.delta == f"{charts.percent(softened.max())} at temperature 5"
    assert "*dark knowledge*" in says
    assert says.count(" ms</span>") == 3


def test_try_picks_among_the_images_on_which_the_models_differ(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("tryout.py")
    page.button_group[0].set_value("Test image").run()
    evaluation = read_evaluation([str(digit) for digit in range(10)])
    right = {kind: predicted == evaluation.labels for kind, predicted in evaluation.predicted.items()}
    expected = np.flatnonzero(right["distilled"] & ~right["scratch"])
    name = "distilled right, scratch wrong"
    assert [option for option in page.selectbox[0].options if option.startswith(name)] == (
        [f"{name} ({len(expected)})"] if len(expected) else []
    )
    if len(expected):
        page.selectbox[0].set_value(name).run()
        assert f"Test image {expected[0]:,}, " in told(page)
    page.button[0].click().run()
    told(page)
    assert 1 <= page.number_input[0].value <= page.number_input[0].max


def test_try_takes_uploads_and_refuses_what_is_none(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("tryout.py")
    page.button_group[0].set_value("Upload").run()
    image = np.load(pipeline / "data/prepared/test_images.npy")[7]
    page.file_uploader[0].set_value(("digit.png", png(image[..., 0]), "image/png")).run()
    told(page)
    teacher = keras.models.load_model(pipeline / "models/teacher.keras")
    assert page.metric[0].value == str(teacher.predict(image[np.newaxis], verbose=0).argmax())
    page.file_uploader[0].set_value(("notes.png", b"not a picture", "image/png")).run()
    assert "notes.png: cannot be read as an image; accepted: PNG" in told(page)
    assert not page.metric


def test_speed_measures_the_models_and_batches_that_were_chosen(pipeline, monkeypatch):
    enter(monkeypatch, pipeline)
    page = open_page("speed.py")
    told(page)
    assert not page.dataframe
    page.multiselect[0].set_value(["teacher", "scratch"])
    page.multiselect[1].set_value([1, 100])
    page.slider[0].set_value(3)
    page.button[0].click().run()
    told(page)
    measured = page.dataframe[0].value
    assert measured["Model"].tolist() == ["Teacher", "Scratch student"] * 2
    assert measured["Images at once"].tolist() == [1, 1, 100, 100]
    assert (measured["Quartile low"] <= measured["Milliseconds"]).all()
    assert measured["Images per second"].tolist() == pytest.approx(
        (1000 * measured["Images at once"] / measured["Milliseconds"]).tolist(), abs=1
    )
    assert measured["Against teacher"][0] == measured["Against teacher"][2] == 1
    page.multiselect[0].set_value([])
    page.button[0].click().run()
    assert "Choose at least one model" in told(page)


def test_a_new_run_shows_without_a_restart(pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    before, problems = loaded.models()
    assert problems == []
    assert loaded.models()[0]["teacher"].model is before["teacher"].model
    shutil.copy(find_models()[0]["scratch"].path, "models/teacher.keras")
    after, _ = loaded.models()
    assert after["teacher"].parameters == before["scratch"].parameters != before["teacher"].parameters
    assert after["distilled"].model is before["distilled"].model


# What may be left of a run

PAGES = ["compare.py", "tryout.py", "speed.py"]


@pytest.mark.parametrize("name", PAGES)
def test_before_the_first_run_each_page_says_what_to_run(name, tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    enter(monkeypatch, tmp_path)
    says = told(open_page(name))
    assert "There are no models to show yet" in says
    assert "dvc repro" in says
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_outside_the_project_the_demo_says_where_to_start_it(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    says = told(open_page("compare.py"))
    assert "Start the demo from the project's folder" in says
    assert "streamlit run app/demo.py" in says


def only_a_teacher(folder: Path) -> str:
    for name in ("models/distilled", "models/scratch", "metrics", "plots"):
        shutil.rmtree(folder / name)
    return "models/distilled/students.json: no such file; run `dvc repro`"


def a_damaged_model(folder: Path) -> str:
    path = folder / "models/teacher.keras"
    path.write_bytes(path.read_bytes()[:5000])
    return "models/teacher.keras: not a Keras model that can be read"


def a_choice_of_another_form(folder: Path) -> str:
    write_json(folder / "models/scratch/students.json", ["seed"])
    return "models/scratch/students.json: not as the pipeline writes it"


def no_metrics(folder: Path) -> str:
    shutil.rmtree(folder / "metrics")
    return "metrics/evaluate.json: no such file; run `dvc repro`"


def a_teacher_for_other_images(folder: Path) -> str:
    save_model(build_model("dense_10_10", (9, 9, 1), 10, dropout=0, seed=0), folder / "models/teacher.keras")
    return "the models in models/ are not of one run"


def data_replaced(folder: Path) -> str:
    images, labels = np.zeros((4, 9, 9, 1), np.uint8), np.arange(4, dtype=np.int32)
    save_prepared("other", list("abcd"), "", dict.fromkeys(("train", "validation", "test"), (images, labels)))
    return "; run `dvc repro`"


def damaged_test_images(folder: Path) -> str:
    (folder / "data/prepared/test_images.npy").write_bytes(b"half of ")
    return "test_images.npy: damaged"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("compare.py", only_a_teacher),
        ("tryout.py", only_a_teacher),
        ("speed.py", only_a_teacher),
        ("compare.py", a_damaged_model),
        ("tryout.py", a_damaged_model),
        ("speed.py", a_choice_of_another_form),
        ("compare.py", no_metrics),
        ("compare.py", a_teacher_for_other_images),
        ("tryout.py", a_teacher_for_other_images),
        ("compare.py", data_replaced),
        ("tryout.py", data_replaced),
        ("tryout.py", damaged_test_images),
    ],
)
def test_half_a_run_is_told_and_what_is_whole_is_shown(name, damage, pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    expected = damage(tmp_path)
    page = open_page(name)
    if name == "tryout.py" and page.button_group:
        told(page)
        page.button_group[0].set_value("Test image").run()
    assert expected in told(page)
    if name == "speed.py":
        page.button[0].click().run()
        told(page)
        assert set(page.dataframe[0].value["Model"]) == {charts.NAMES[kind] for kind in find_models()[0]}


def test_numbers_of_an_earlier_run_are_called_so(pipeline, tmp_path, monkeypatch):
    enter(monkeypatch, copied(pipeline, tmp_path))
    assert results.stages_since_evaluation() == []
    lock = Path("dvc.lock").read_text()
    output = lock.index("path: models/scratch", lock.index("  train_scratch:"))
    digest = lock.index("md5: ", lock.index("md5\n", output)) + len("md5: ")
    Path("dvc.lock").write_text(lock[:digest] + "0" * 32 + lock[digest + 32 :])
    assert results.stages_since_evaluation() == ["train_scratch"]
    assert "`train_scratch` ran after the last `evaluate`" in told(open_page("compare.py"))


# Other data sets


def small_project(name: str, classes: list[str], shape: tuple[int, int, int]) -> None:
    """A project in this folder with data and untrained models, as if the pipeline had come so far."""
    random = np.random.default_rng(0)
    splits = {
        part: (random.integers(256, size=(20, *shape), dtype=np.uint8), np.arange(20, dtype=np.int32) % len(classes))
        for part in ("train", "validation", "test")
    }
    save_prepared(name, classes, "", splits)
    for seed, path in enumerate(["teacher.keras", "distilled/seed_0.keras", "scratch/seed_0.keras"]):
        model = build_model("dense_10_10", shape, len(classes), dropout=0, seed=seed)
        save_model(model, Path("models") / path)
    for kind in ("distilled", "scratch"):
        choice = {"chosen_seed": 0, "val_accuracy": {"0": 0.1}, "omitted_classes": classes[:1], "teacher_sha256": None}
        write_json(Path("models") / kind / "students.json", choice)
    shutil.copy(ROOT / "params.yaml", "params.yaml")


def test_hundreds_of_classes_of_any_name_in_colour(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    classes = [f"Größe *{number}* <b>`$x$`</b> 'ж\\" for number in range(200)]
    small_project("folder", classes, (16, 16, 3))
    page = open_page("tryout.py")
    says = told(page)
    assert page.button_group[0].options == ["Test image", "Upload"]  # nobody can draw a photograph
    assert "Bars show 10 of 200 classes" in says
    assert says.count(f"It never saw: {classes[0]}") == 2
    page.button_group[0].set_value("Upload").run()
    page.file_uploader[0].set_value(("photo.jpg", saved(Image.fromarray(COLOURS), "JPEG"), "image/jpeg")).run()
    assert "What was done: the middle square, scaled to 16 × 16." in told(page)
    assert len(page.metric) == 3
