"""Parameters of augmentation, and what goes together with it."""

import pytest
from test_params import TREE, changed, write

from distillery.data.errors import InputError
from distillery.data.prepared import DatasetInfo
from pipeline.params import Augment, load_params


def test_views_without_augmentation_raise_input_error(tmp_path):
    expected = (
        r"student\.views: found 5; with student\.max_shift 0, student\.horizontal_flip false and nothing in"
        r" student\.augment all views are the same; accepted: 1$"
    )
    with pytest.raises(InputError, match=expected):
        load_params(write(tmp_path, changed("student", "max_shift", 0)))


def test_augmentation_without_further_views_raises_input_error(tmp_path):
    for shift, flip in ((2, False), (0, True)):
        tree = changed("student", "views", 1)
        tree["student"] |= {"max_shift": shift, "horizontal_flip": flip}
        with pytest.raises(
            InputError,
            match=r"student\.views: found 1; student\.max_shift, student\.horizontal_flip and student\.augment act",
        ):
            load_params(write(tmp_path, tree))


def augmented(section: str, **values) -> dict:
    return changed(section, "augment", (TREE[section]["augment"] or {}) | values)


def test_anything_in_augment_makes_further_views(tmp_path):
    for name in Augment.model_fields:
        tree = augmented("student", **{name: 0.5})
        tree["student"] |= {"max_shift": 0, "horizontal_flip": False}
        assert load_params(write(tmp_path, tree)).student.views == TREE["student"]["views"]


@pytest.mark.parametrize("section", ["student", "train_teacher", "train_scratch"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": 0.0}, r"augment\.crop: found 0\.0; input should be greater than 0"),
        ({"mixup": -1.0}, r"augment\.mixup: found -1\.0; input should be greater than or equal to 0"),
        ({"blur": 1.0}, r"augment\.blur: unknown key 'blur'; accepted: crop, brightness, .*, cutmix$"),
    ],
)
def test_wrong_values_are_named(tmp_path, section, values, message):
    with pytest.raises(InputError, match=rf"{section}\.{message}"):
        load_params(write(tmp_path, augmented(section, **values)))


def test_what_mixes_any_two_images_keeps_none_apart(tmp_path):
    tree = augmented("student", mixup=0.2)
    tree["student"]["omit_classes"] = ["3"]
    with pytest.raises(InputError, match=r"student\.omit_classes: found .*; images of any class are mixed in"):
        load_params(write(tmp_path, tree))
    tree = augmented("student", cutmix=1.0)
    tree["distill"]["folds"] = 5
    with pytest.raises(InputError, match=r"distill\.folds: found 5; images of every fold are mixed in by .*: 0$"):
        load_params(write(tmp_path, tree))


def test_saturation_of_grey_images_is_refused(tmp_path):
    tree = changed("train_scratch", "augment", {"saturation": 0.5})
    params = load_params(write(tmp_path, tree))
    grey, colour = (DatasetInfo("tiny", ["a", "b"], (8, 8, channels), {}, {}, "", {}) for channels in (1, 3))
    colour.check_augmentation("train_scratch", params.train_scratch)
    grey.check_augmentation("train_teacher", params.train_teacher)
    with pytest.raises(InputError, match=r"train_scratch\.augment\.saturation: found 0\.5, for grey images"):
        grey.check_augmentation("train_scratch", params.train_scratch)
