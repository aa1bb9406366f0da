"""The transfer set: stored logits belong to these views of these images."""

import numpy as np
import pytest
from scipy.special import softmax

from distillery.data.errors import InputError
from distillery.distillation.stored_logits import compact
from distillery.distillation.transfer_set import HALF_PRECISION_FROM, load_transfer_set, save_transfer_set
from distillery.learning.augmentation import Policy, Views


def test_logits_are_those_of_these_views_of_these_images(tmp_path):
    views = Views(Policy(1, True), 4, 2)
    with pytest.raises(InputError, match=r"transfer\.json: no such file; run `dvc repro`"):
        load_transfer_set(tmp_path, "images", views)
    logits = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    outputs = [{"logits": view, "embeddings": 2 * view[:, :2]} for view in logits]
    save_transfer_set(tmp_path, outputs, "teacher", "images", views)
    outputs, teacher_digest = load_transfer_set(tmp_path, "images", views)
    np.testing.assert_array_equal(outputs["logits"], logits)
    np.testing.assert_array_equal(outputs["embeddings"], 2 * logits[..., :2])
    assert teacher_digest == "teacher"
    with pytest.raises(InputError, match="belong to other training images"):
        load_transfer_set(tmp_path, "others", views)
    for policy, count in ((Policy(1, True), 3), (Policy(2, True), 2), (Policy(1, False), 2)):
        with pytest.raises(InputError, match=r"belong to other views than student\.views"):
            load_transfer_set(tmp_path, "images", Views(policy, 4, count))
    array = tmp_path / "logits.npy"
    whole = array.read_bytes()
    np.save(array, logits[:1])
    with pytest.raises(InputError, match="found float32 of shape"):
        load_transfer_set(tmp_path, "images", views)
    array.write_bytes(whole[:100])
    with pytest.raises(InputError, match="damaged"):
        load_transfer_set(tmp_path, "images", views)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_half_precision_changes_no_prediction_and_hardly_a_probability(temperature):
    logits = np.random.default_rng(0).normal(scale=6, size=(2000, 1000)).astype(np.float32) + 50
    kept = compact(logits)
    assert kept.dtype == np.float16
    np.testing.assert_array_equal(kept.argmax(axis=1), logits.argmax(axis=1))
    exact, found = (softmax(values.astype(np.float64) / temperature, axis=1) for values in (logits, kept))
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=1e-9)
    assert np.abs(found - exact).sum(axis=1).max() < 2e-3
    far = compact(np.array([[0, 1e6, -1e30]], np.float32))
    np.testing.assert_array_equal(softmax(far.astype(np.float64), axis=1), [[0, 1, 0]])


def test_logits_of_many_classes_are_stored_in_half_precision(tmp_path):
    views = Views(Policy(1), 50, 2)
    for classes, dtype in ((HALF_PRECISION_FROM - 1, np.float32), (HALF_PRECISION_FROM, np.float16)):
        logits = np.random.default_rng(0).normal(size=(2, 50, classes)).astype(np.float32)
        save_transfer_set(tmp_path, ({"logits": view} for view in logits), "teacher", "images", views)
        outputs, _ = load_transfer_set(tmp_path, "images", views)
        assert outputs["logits"].dtype == dtype
        np.testing.assert_array_equal(outputs["logits"].argmax(axis=2), logits.argmax(axis=2))
