"""A table of outputs as a teacher: an image's row is found by its path, and its outputs again by its pixels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from foreign import CLASSES, info_of, pictures, settings
from scipy.special import softmax

from distillery.data.errors import InputError
from distillery.teachers.configuration import pixels_beside, pixels_of_file
from distillery.teachers.table import rows_of
from distillery.teachers.take import take_teacher
from distillery.teachers.teacher import load_teacher

PARTS = {"train": pictures(100, seed=1), "validation": pictures(50, seed=2), "test": pictures(50, seed=3)}
FILES = {part: [f"{part}/{number}.png" for number in range(len(split.labels))] for part, split in PARTS.items()}
INFO = info_of(PARTS, files=FILES)


def table() -> pd.DataFrame:
    """Probabilities that are mostly right, in another order than the images'."""
    random = np.random.default_rng(0)
    labels = np.concatenate([split.labels for split in PARTS.values()])
    values = softmax(random.normal(0, 1, (len(labels), len(CLASSES))) + 4 * np.eye(len(CLASSES))[labels], axis=1)
    paths = [file for of_part in FILES.values() for file in of_part]
    return pd.DataFrame({"path": paths} | dict(zip(CLASSES, values.T, strict=True))).sample(frac=1, random_state=0)


def taken(folder, file, **changes):
    take_teacher(settings(file, **changes), INFO, PARTS, folder / "teacher", "/data/pictures")
    return load_teacher(folder / "teacher")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_each_image_has_the_outputs_of_its_row(tmp_path, suffix, capsys):
    rows = table()
    written = rows.assign(path=[f"/data/pictures/{path}" for path in rows["path"]])
    written = pd.concat([written, written.head(1).assign(path="other.png")])
    path = tmp_path / f"outputs.{suffix}"
    written.to_csv(path, index=False) if suffix == "csv" else written.to_parquet(path)
    teacher = taken(tmp_path, path)
    assert "1 rows belong to no image in use: other.png" in capsys.readouterr().out
    by_path = rows.set_index("path")[CLASSES]
    for part, split in PARTS.items():
        found = softmax(teacher.outputs(split.images[::-1])["logits"].astype(float), axis=1)
        np.testing.assert_allclose(found, by_path.loc[FILES[part][::-1]].to_numpy(), atol=1e-5)
    assert (teacher.parameters, teacher.bytes, teacher.runtime, teacher.logged) == (None, None, None, None)
    with pytest.raises(InputError, match=r"a table knows the images of the data set alone.*student.views 1"):
        teacher.outputs(255 - PARTS["test"].images)


def test_columns_by_name_and_in_another_order(tmp_path):
    rows = table()
    rows[["path", *CLASSES[::-1]]].to_csv(tmp_path / "outputs.csv", index=False)
    found = taken(tmp_path, tmp_path / "outputs.csv").outputs(PARTS["test"].images)["logits"]
    expected = rows.set_index("path").loc[FILES["test"], CLASSES].to_numpy()
    np.testing.assert_allclose(softmax(found.astype(float), axis=1), expected, atol=1e-5)


@pytest.mark.parametrize(
    "way",
    [
        "semicolons",
        "decimal commas",
        "tabs",
        "pandas's numbers",
        "paths as index",
        "a label",
        "a confidence",
        "whether it is right",
        "percent",
    ],
)
def test_ways_to_write_a_table(tmp_path, way):
    rows, path = table(), tmp_path / ("outputs.parquet" if way == "paths as index" else "outputs.csv")
    expected = rows.set_index("path").loc[FILES["test"], CLASSES].to_numpy()
    if way == "paths as index":
        rows.set_index("path").to_parquet(path)
    elif way == "percent":
        rows.assign(**{name: 100 * rows[name] for name in CLASSES}).to_csv(path, index=False)
    elif way == "decimal commas":
        rows.to_csv(path, sep=";", decimal=",", index=False)
    elif way == "a label":
        rows.assign(label=3).to_csv(path, index=False)
    elif way == "a confidence":
        rows.assign(confidence=rows[CLASSES].max(axis=1)).to_csv(path, index=False)
    elif way == "whether it is right":
        rows.assign(correct=np.arange(len(rows)) % 2).to_csv(path, index=False)
    else:
        rows.to_csv(path, sep={"semicolons": ";", "tabs": "\t"}.get(way, ","), index=way == "pandas's numbers")
    found = taken(tmp_path, path).outputs(PARTS["test"].images)["logits"]
    np.testing.assert_allclose(softmax(found.astype(float), axis=1), expected, atol=1e-5)


def test_images_without_labels_have_rows_too(tmp_path):
    extra = pictures(20, seed=4)
    parts = PARTS | {"unlabelled": replace(extra, labels=np.full(20, -1, np.int32))}
    files = FILES | {"unlabelled": [f"unlabelled/{number}.png" for number in range(20)]}
    more = table().head(20).assign(path=files["unlabelled"])
    pd.concat([table(), more]).to_csv(tmp_path / "outputs.csv", index=False)
    info = info_of(parts, files=files)
    take_teacher(settings(tmp_path / "outputs.csv"), info, parts, tmp_path / "teacher", "/data/pictures")
    found = load_teacher(tmp_path / "teacher").outputs(extra.images)["logits"]
    np.testing.assert_allclose(softmax(found.astype(float), axis=1), more[CLASSES].to_numpy(), atol=1e-5)


@pytest.mark.parametrize("names", [["photos/cat/1.png", "dog/1.png"], ["photos/photos/cat/1.png", "photos/dog/1.png"]])
def test_a_folder_may_have_the_name_of_the_data_sets(names):
    files = {"train": ["photos/cat/1.png", "dog/1.png"]}
    assert rows_of(Path("outputs.csv"), names, files, "photos")["train"].tolist() == [0, 1]


def test_one_column_is_the_second_of_two_classes(tmp_path):
    info = info_of(PARTS, ["colour", "grey"], files=FILES)
    parts = {part: replace(split, labels=(split.labels > 2).astype(np.int32)) for part, split in PARTS.items()}
    rows = table()
    rows = rows.assign(grey=rows["night"] + rows["day"])[["path", "grey"]]
    rows.to_csv(tmp_path / "outputs.csv", index=False)
    for classes in (None, {"grey": 1, "colour": 0}):
        own = settings(tmp_path / "outputs.csv", classes=classes)
        take_teacher(own, info, parts, tmp_path / "teacher", "/data/pictures")
        logits = load_teacher(tmp_path / "teacher").outputs(PARTS["test"].images)["logits"].astype(float)
        np.testing.assert_allclose(
            softmax(logits, axis=1)[:, 1], rows.set_index("path").loc[FILES["test"], "grey"], atol=1e-5
        )


def test_what_is_no_table_of_this_data_set_is_refused(tmp_path):
    path, rows = tmp_path / "outputs.csv", table()

    def refused(said, written, **changes):
        written.to_csv(path, index=False)
        with pytest.raises(InputError, match=said) as caught:
            taken(tmp_path, path, **changes)
        assert "\n" not in str(caught.value)

    missing = rows[~rows["path"].isin(["test/3.png", "train/7.png"])]
    refused(r"no row for 2 of 200 images: train/7.png, test/3.png", missing)
    refused(r"no row for 200 of .*; its first row is of /elsewhere/", rows.assign(path="/elsewhere/" + rows["path"]))
    refused(r"it has no column besides the paths", rows[["path"]])
    refused(r"no rows; accepted: a row for each image", rows.head(0))
    refused(r"stands in rows \d+ and 201", pd.concat([rows, rows.head(1)]))
    refused(r"has a value that is not finite", rows.assign(red=np.where(rows["path"] == "test/3.png", np.nan, 0.1)))
    refused(r"it gives 4 outputs, the data set has 5 classes", rows.drop(columns="red"))
    refused(r"found the columns .*accepted: one with the path", rows.drop(columns="path"))
    refused(r"train_teacher.input_size: .* is a table of outputs", rows, input_size=32)
    shuffled = rows.assign(**{name: rows[name].sample(frac=1, random_state=1).to_numpy() for name in CLASSES})
    refused(r"hardly more than by guessing", shuffled)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a table"):
        taken(tmp_path, path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("preprocessor_config.json", '{"do_resize": true, "size": {"height": 224, "width": 224}, "do_normalize": true,'
         ' "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3}', "−1…1"),
        ("config.json", '{"pretrained_cfg": {"input_size": [3, 160, 160], "interpolation": "bicubic", "crop_pct": 0.9,'
         ' "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}', "−1…1"),
        ("own.yaml", "size: 96\nscale: 0.00784313725\nmean: 1\n", "−1…1"),
    ],
)  # fmt: skip
def test_configurations_of_all_kinds(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert pixels_of_file(tmp_path / name).in_words().replace("-", "−") == words


@pytest.mark.parametrize(
    ("changes", "side"),  # those from which transformers cuts the middle
    [
        ({}, 224),
        ({"size": {"shortest_edge": 256}}, 256),
        ({"crop_pct": 0.9, "image_processor_type": "PoolFormerImageProcessor"}, 248),
        ({"image_processor_type": "LevitImageProcessor"}, 256),
        ({"feature_extractor_type": "LevitFeatureExtractor", "size": 224}, 256),
        ({"image_processor_type": "LevitImageProcessor", "size": {"height": 256, "width": 256}}, 256),
    ],
)
def test_the_middle_is_cut_from_the_size_that_transformers_makes(tmp_path, changes, side):
    tree = {"do_resize": True, "size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224} | changes
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(tree))
    pixels = pixels_of_file(tmp_path / "preprocessor_config.json")
    assert pixels.size == (224, 224)
    assert pixels.crop == pytest.approx(224 / side)


def test_an_unknown_filter_is_refused(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text('{"size": 8, "do_normalize": false, "resample": 99}')
    with pytest.raises(InputError, match="resample: found 99; accepted: 0 to 5"):
        pixels_of_file(path)
    path.write_text('{"size": 8, "do_normalize": false, "resample": 3}')
    assert pixels_of_file(path).interpolation == "bicubic"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size: 0", r"size: found 0; accepted: a whole number from 1 to 4096"),
        ("std: [1, 0, 1]", r"std: found \[1, 0, 1\]; accepted: a number above 0"),
        ("sise: 3", r"unknown key 'sise'; accepted: size, resize"),
        ("[1]", "found no description of pixels"),
        ("a: [", "cannot be read as YAML"),
        ("interpolation: cubic", "interpolation: found 'cubic'; accepted: nearest, box"),
    ],
)
def test_a_bad_description_is_refused(tmp_path, text, said):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        pixels_of_file(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("name", "tree", "said"),
    [
        ("preprocessor_config.json", {"resample": [3]}, r"resample: found \[3\]; accepted: 0 to 5"),
        ("preprocessor_config.json", {"crop_pct": "x"}, "crop_pct: found 'x'; accepted: a number above 0, up to 1"),
        ("preprocessor_config.json", {"size": 0, "do_center_crop": True, "crop_size": 8}, r"size: found \[0, 0\]"),
        ("preprocessor_config.json", {"image_mean": ["a"], "rescale_offset": True}, r"image_mean: found \['a'\]"),
        ("preprocessor_config.json", {"image_std": "x", "include_top": True}, "image_std: found 'x'"),
        ("config.json", {"pretrained_cfg": {"input_size": 8}}, r"input_size: found 8; accepted: \[channels, height"),
    ],
)
def test_a_bad_configuration_of_other_libraries_is_refused(tmp_path, name, tree, said):
    whole = {"size": 8, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / name).write_text(json.dumps(tree if name == "config.json" else whole | tree))
    with pytest.raises(InputError, match=said):
        pixels_beside(tmp_path)


def test_a_configuration_that_is_not_timms_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"input_size": 8, "pretrained_cfg": None}))
    assert pixels_beside(tmp_path) is None
