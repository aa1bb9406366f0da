"""The model card: its sections, its numbers, and names that Markdown could trip over."""

import re
from dataclasses import replace

import numpy as np
import pytest
from mlflow.utils.validation import _validate_model_name

from distillery.data.prepared import DatasetInfo
from distillery.model_card import CardData, model_card, student_name

PARAMETERS = {
    "student.model": "architectures/dense_10.py",
    "student.seeds": [0, 1],
    "train_teacher.model": "architectures/cnn.py",
    "distill.method": "kd",
}
COUNTED = {"accuracy": 0.75, "balanced_accuracy": 0.7, "macro_f1": 0.65, "errors": 1.0}
METRICS = COUNTED | {"agreement_with_keras": 1.0, "bytes": 1234, "parameters": 100}
COMPARISON = "Beside its teacher and plain training"
TITLES = ["Intended use and limits", "Weaknesses", COMPARISON, "Data", "Teacher", "Formats", "Parameters"]


def card_data(classes=("a", "b|c", "## d"), predicted=(0, 1, 1, 1), omitted=(), **parameters) -> CardData:
    return CardData(
        name="shapes-student",
        info=DatasetInfo(
            name="shapes",
            classes=list(classes),
            image_shape=(8, 8, 3),
            sizes={"train": 10_000, "test": 4},
            class_counts={},
            source="somewhere",
            digests={"train": "f" * 64, "test": "0" * 64},
        ),
        parameters=PARAMETERS | {key.replace("__", "."): value for key, value in parameters.items()},
        labels=np.array([0, 1, 1, 2]),
        predicted=np.array(predicted),
        omitted_classes=omitted,
        digests={"student": "1" * 64, "teacher": "2" * 64},
        headline={
            **dict.fromkeys(("teacher", "distilled", "scratch", "same_recipe"), METRICS),
            "gain": {"points": 0.5, "ci_low": -0.1, "ci_high": 1.1, "p": 0.25},
            "gain_over_same_recipe": {"points": 1.5, "ci_low": 0.9, "ci_high": 2.1, "p": 0.001},
            "compression": {"parameters": 2.5, "bytes": 2.0},
        },
        quality={"distilled": {"calibration_error": 0.026, "calibration_error_by_chance": 0.011}},
        exported={"keras": METRICS, "onnx": METRICS},
    )


def test_card_has_one_section_per_heading():
    sections = model_card(card_data())
    assert [section.splitlines()[0] for section in sections] == [
        "# shapes-student",
        *(f"## {title}" for title in TITLES),
    ]
    assert all(section.endswith("\n") and not section.endswith("\n\n") for section in sections)


def test_card_shows_the_numbers_of_the_run():
    summary, limits, weaknesses, comparison, data, teacher, formats, parameters = model_card(card_data())
    assert "- **accuracy 75.00 %** on 4 test images, 1 error (95 % interval 30.06 to 95.44 %, Wilson)" in summary
    assert "- 100 parameters, 1.2 kB; network `dense_10`" in summary
    assert "8 x 8, red, green, blue; gives logits, `float32`, one per class" in summary
    assert "by 2.6 points on average" in limits
    assert (
        "Every class, the weakest first:\n\n| class | accuracy | 95 % interval | test images |\n|---|---|---|---|\n"
        "| \\#\\# d | 0.0 % | 0.0 to 79.3 % | 1 |"
    ) in weaknesses
    assert "| label | prediction | images |\n|---|---|---|\n| \\#\\# d | b\\|c | 1 |\n" in weaknesses
    assert "| teacher | 75.00 % | 70.00 % | 65.00 % | 1.0 |\n" in comparison
    assert "Whether distilling is better than plain training is not shown.\n" in comparison
    assert "| plain training with its own recipe | +0.50 | -0.10 to +1.10 | 0.25 |\n" in comparison
    assert "| the same recipe without a teacher | +1.50 | +0.90 to +2.10 | 0.001 |\n" in comparison
    assert f"| train | 10,000 | `{'f' * 64}` |" in data
    assert "network `cnn`, 250 parameters (2.50 times the student's), accuracy 75.00 %" in teacher
    assert "| onnx | 1.2 | 75.00 % | 100.00 % |" in formats
    assert "| `student.seeds` | [0, 1] |" in parameters


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.9, "better than plain training with this recipe, for this teacher"),
        (-0.9, -0.1, "worse than plain training with this recipe, for this teacher"),
    ],
)
def test_card_says_better_or_worse_only_where_the_interval_does(low, high, verdict):
    data = card_data()
    gain = {"points": (low + high) / 2, "ci_low": low, "ci_high": high, "p": 0.01}
    assert f"Distilling is {verdict}.\n" in model_card(replace(data, headline=data.headline | {"gain": gain}))[3]


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.1, 0.9, "better"), (-0.9, -0.1, "worse")])
def test_card_of_one_seed_says_nothing_of_distilling_as_such(low, high, verdict):
    data = card_data(student__seeds=[7])
    gain = {"points": (low + high) / 2, "ci_low": low, "ci_high": high, "p": 0.01}
    comparison = model_card(replace(data, headline=data.headline | {"gain": gain}))[3]
    assert (
        f"This distilled student is {verdict} than this one from plain training with this recipe; one seed"
        in comparison
    )
    assert "Distilling is" not in comparison


def test_names_of_classes_are_shown_as_they_are():
    names = ("_background_noise_", "<unk>", "a`b*c~d$e[f]")
    card = "".join(model_card(card_data(classes=names, omitted=names[:2])))
    assert "| \\_background\\_noise\\_ | " in card
    assert "| \\<unk\\> | " in card
    assert "| a\\`b\\*c\\~d\\$e\\[f\\] | " in card
    assert "**It never saw images of: \\_background\\_noise\\_, \\<unk\\>.**" in card


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(2.5, "a larger one"), (1.0, "one with as many parameters"), (0.45, "one that is smaller than itself")],
)
def test_card_says_how_large_the_teacher_is(ratio, words):
    data = card_data()
    headline = data.headline | {"compression": {"parameters": ratio, "bytes": ratio}}
    assert f" 3 classes, distilled from {words}.\n" in model_card(replace(data, headline=headline))[0]


def test_card_of_one_seed_has_no_means():
    sections = model_card(card_data(student__seeds=[7]))
    assert "(expected calibration error);" in sections[1]
    assert "The students' numbers are those of one seed.\n\n| model" in sections[3]
    assert not re.search(r"\b1 \w+s\b", "".join(sections[:-1]))
    calibration = "mean over the seeds); on 4 test images, chance alone makes 1.1 of a perfectly calibrated model."
    assert f"(expected calibration error, {calibration}" in model_card(card_data())[1]
    assert "are means over 2 seeds; the student that is best" in model_card(card_data())[3]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("mnist", "mnist-student"),
        ("flowers.v2", "flowers.v2-student"),
        ("größe", "größe-student"),
        ("my flowers: 'red/blue' #2?", "my-flowers-red-blue-2-student"),
        ("..", "own-student"),
    ],
)
def test_student_has_the_name_of_its_data_set(dataset, name):
    assert student_name(dataset) == name
    _validate_model_name(name)


def test_card_without_errors_has_no_confusions():
    assert "confusions" not in model_card(card_data(predicted=(0, 1, 1, 2)))[2]


def test_card_of_many_classes_names_the_weakest():
    classes = [f"class {number}" for number in range(40)]
    assert "The 3 weakest of 40 classes, the weakest first:" in model_card(card_data(classes=classes))[2]


@pytest.mark.parametrize(("model", "words"), [("own/net.py", "network `net`"), ("own/big.keras", "own/big.keras")])
def test_card_says_where_the_teacher_comes_from(model, words):
    assert f"\n{words}, 250 parameters" in model_card(card_data(train_teacher__model=model))[5]


def test_card_of_omitted_classes_warns():
    assert "- **It never saw images of: a, b.**\n" in model_card(card_data(omitted=["a", "b"]))[1]


def test_card_says_that_plain_training_had_none_of_the_images_without_a_label():
    data = card_data()
    info = replace(data.info, sizes=data.info.sizes | {"unlabelled": 1234})
    assert "1,234 images without a label, on which the teacher alone taught" in model_card(replace(data, info=info))[3]
    assert "without a label" not in "".join(model_card(data))
