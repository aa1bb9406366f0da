"""Names as figures write them: whatever a name holds, it is drawn as it is or by its number."""

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import fontManager

from distillery import figures
from distillery.figures.labels import WIDTH, make_labels, width


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("$a_b^{c}$", "$a_b^{c}$"),
        ("50 % \\ {x}", "50 % \\ {x}"),
        ("Größe №7", "Größe №7"),
        ("שלום", "שלום"),
        ("خرگوش", "خرگوش"),
        ("😀 smile", "😀 smile"),
        ("tab\there", "tab\\there"),
        ("line\nend", "line\\nend"),
        ("a\u2028b", "a\\u2028b"),
        ("\u202eabc", "\\u202eabc"),  # would turn the figure's own text around
        ("bad \udcff byte", "bad \\udcff byte"),
        (" cat ", "␣cat␣"),
        ("  ", "␣␣"),
        ("", "#0"),
        ("犬", "#0"),
        ("fox 🦊", "#0"),
    ],
)
def test_name_is_written_as_it_is_where_it_can_be_seen(name, label):
    labels = make_labels([name, "other"])
    assert labels.names == [label, "other"]
    assert bool(labels.note) == (label == "#0")


def test_names_that_look_the_same_get_their_numbers():
    long = ["a very long name of a left hand", "a very long name, but of another left hand"]
    labels = make_labels(["cat", long[0], "e\u0301", "\u00e9", long[1]]).names
    assert labels[0] == "cat"
    assert [label.split()[-1] for label in labels[1:]] == ["#1", "#2", "#3", "#4"]
    assert make_labels(["#1", "犬"]).names == ["#1 #0", "#1 #1"]


CHARACTERS = st.characters(codec=None) | st.sampled_from("$_^\\{}%#\t\n 犬🦊م\u200d\u0301\udc80")


@given(st.lists(st.text(CHARACTERS, max_size=30), min_size=1, max_size=8, unique=True))
def test_labels_of_any_names_differ_and_are_narrow(names):
    labels = make_labels(names).names
    assert len(set(labels)) == len(names)
    assert all(label.strip() and width(label) <= WIDTH + 0.5 for label in labels)


ODD = [
    "$a_b$",
    "$\\frac{",
    "a\tb",
    "",
    " x",
    "犬",
    "🦊",
    "שלום",
    "%s {0}",
    "_hidden",
    "x" * 300,
    "e\u0301",
    "\udcff",
    "👩‍🚀",
]


def test_any_name_is_drawn_without_a_box_and_without_a_warning(recwarn, caplog):
    """Matplotlib warns of each character that it draws as a box."""
    classes, random = len(ODD), np.random.default_rng(0)
    confusion = np.eye(classes, dtype=int) + np.eye(classes, k=1, dtype=int)
    images = random.integers(256, size=(4, 8, 8, 1), dtype=np.uint8)
    accuracy = {role: random.random(classes) for role in figures.COLOURS}
    with caplog.at_level(logging.WARNING):
        for figure in (
            figures.confusion_matrices({"teacher": confusion}, ODD),
            figures.per_class_accuracy(accuracy, ODD),
            figures.per_class_gain(accuracy["teacher"], ODD),
            figures.omitted_classes({"distilled": {"accuracy": 0.1, "accuracy_corrected": 0.2}}, ODD),
            figures.sheet(images, [3, 5, 6, 7], {"teacher": random.dirichlet(np.ones(classes), 4)}, ODD),
            figures.sample_sheet(images, [0, 1, 2, 3], ODD, "$_犬\t: training images"),
            figures.class_balance({"train": [1] * classes}, ODD),
        ):
            assert len(figures.png(figure)) > 1000
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.records == []


@pytest.fixture
def installed(tmp_path):
    """A font with one character of its own, 犬 as a square, installed."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "dog"])
    builder.setupCharacterMap({ord("犬"): "dog"})
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf(glyphs | {"dog": pen.glyph()})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "dog"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Dogs", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "dogs.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    fontManager.addfont(path)
    yield path
    fontManager.ttflist = before


def test_another_font_of_the_machine_has_the_character(installed):
    assert figures.png(figures.per_class_gain([1.0, -1.0], ["犬", "cat"]))
    labels = make_labels(["犬", "cat"])
    assert labels.names == ["犬", "cat"]
    assert labels.families == ["DejaVu Sans", "Dogs"]
    assert make_labels(["cat"]).families == ["DejaVu Sans"]
    installed.unlink()  # Matplotlib's list of fonts is older than the machine's
    assert make_labels(["犬", "cat"]).names == ["#0", "cat"]
