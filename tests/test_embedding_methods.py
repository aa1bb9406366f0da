"""The methods on embeddings against float64 NumPy, and what does not change them."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, special_ortho_group

from distillery import Distiller, InputError, load_method
from distillery.distillation.methods import Method
from distillery.learning.inner_outputs import with_inner_outputs

RELATIONAL = ["rkd", "pkt", "sp"]


def embeddings(seed: int, batch: int = 12, units: int = 7):
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, 5)).astype(np.float32), random.normal(size=(batch, units)).astype(np.float32)


def value(method: str, teacher, student, **parameters) -> float:
    loss = load_method(method, **parameters)(None, {"embedding": teacher}, {"embedding": student}, 1.0)
    return float(keras.ops.mean(loss))


def huber(x, y):
    error = np.abs(np.asarray(x) - np.asarray(y))
    return np.where(error < 1, 0.5 * error**2, error - 0.5).mean()


def rkd(teacher, student, distance, angle):
    """Distance by distance and angle by angle, as the paper writes it."""
    distances, angles = [], []
    for x in (teacher.astype(np.float64), student.astype(np.float64)):
        n = len(x)
        d = np.array([[np.linalg.norm(x[i] - x[j]) for j in range(n)] for i in range(n)])
        distances.append(d / d[~np.eye(n, dtype=bool)].mean())
        cosines = np.zeros((n, n, n))
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    if i not in (j, k):
                        a, b = x[j] - x[i], x[k] - x[i]
                        cosines[i, j, k] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        angles.append(cosines)
    return distance * huber(*distances) + angle * huber(*angles)


def pkt(teacher, student, weight):
    found = []
    for x in (teacher.astype(np.float64), student.astype(np.float64)):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        alike = (x @ x.T + 1) / 2
        found.append(alike / alike.sum(axis=1, keepdims=True))
    return weight * entropy(*found, axis=1).mean()


def sp(teacher, student, weight):
    found = []
    for x in (teacher.astype(np.float64), student.astype(np.float64)):
        gram = x @ x.T
        found.append(gram / np.linalg.norm(gram, axis=1, keepdims=True))
    return weight * ((found[0] - found[1]) ** 2).mean()


@pytest.mark.parametrize(
    ("method", "independent", "parameters"),
    [
        ("rkd", rkd, {"distance": 2.0, "angle": 3.0}),
        ("pkt", pkt, {"weight": 5.0}),
        ("sp", sp, {"weight": 7.0}),
    ],
)
def test_is_what_the_paper_says(method, independent, parameters):
    teacher, student = embeddings(0)
    expected = independent(teacher, student, **parameters)
    assert value(method, teacher, student, **parameters) == pytest.approx(expected, rel=1e-3)


def test_rkd_cuts_large_batches_into_groups():
    teacher, student = embeddings(1, batch=64 * 2 + 9)
    groups = [rkd(teacher[part], student[part], 1.0, 0.0) for part in (slice(64), slice(64, 128))]
    assert value("rkd", teacher, student, distance=1.0, angle=0.0) == pytest.approx(np.mean(groups), rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), method=st.sampled_from(RELATIONAL))
def test_rotating_and_scaling_an_embedding_changes_nothing(seed, scale, method):
    teacher, student = embeddings(seed)
    rotation = special_ortho_group(student.shape[1], seed=seed).rvs()
    turned = (scale * student @ rotation).astype(np.float32)
    assert value(method, teacher, turned) == pytest.approx(value(method, teacher, student), rel=2e-3, abs=1e-4)
    assert value(method, teacher, scale * teacher) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("method", RELATIONAL)
def test_gradients_are_finite_and_lead_to_the_teacher(method):
    """Also where two images of a batch are the same, and with a single one."""
    teacher, start = embeddings(2)
    student = keras.Variable(np.concatenate([start[:-1], start[:1]]))
    loss = load_method(method)
    optimizer = keras.optimizers.Adam(0.05)
    losses = []
    for _ in range(60):
        with tf.GradientTape() as tape:
            losses.append(keras.ops.mean(loss(None, {"embedding": teacher}, {"embedding": student.value}, 1.0)))
        gradient = tape.gradient(losses[-1], student.value)
        assert np.isfinite(gradient.numpy()).all()
        optimizer.apply([gradient], [student])
    assert float(losses[-1]) < 0.5 * float(losses[0])
    assert np.isfinite(value(method, teacher[:1], start[:1]))


def contrastive(images=50, **parameters):
    method = replace(load_method("crd", **parameters), shapes={"embedding": (5,)}, images=images)
    keras.utils.set_random_seed(3)
    return method.with_weights({"embedding": (7,)})


def test_crd_is_the_sum_over_the_drawn_images():
    """In float64, image by image, from the layer's own projections, bank and drawn numbers."""
    loss, (teacher, student) = contrastive(negatives=20, dimensions=6, weight=2.0), embeddings(3)
    numbers = np.arange(12) + 30
    bank = {side: values.numpy().astype(np.float64) for side, values in loss.bank.items()}
    keras.utils.set_random_seed(3)
    drawn = np.array(keras.random.randint((20,), 0, 50, seed=contrastive(negatives=20, dimensions=6).drawn))
    sides = {"teacher": teacher, "student": student}
    projected = {}
    for side, x in sides.items():
        kernel, bias = (weights.numpy().astype(np.float64) for weights in loss.project[side].weights)
        y = x @ kernel + bias
        projected[side] = y / np.linalg.norm(y, axis=1, keepdims=True)
    expected = 0.0
    for side, of in (("teacher", "student"), ("student", "teacher")):
        scores = np.exp(projected[of] @ bank[side][drawn].T / 0.07)
        own = np.exp((projected[of] * bank[side][numbers]).sum(axis=1) / 0.07)
        scale, noise = scores.mean() * 50, 20 / 50
        h, others = own / scale / (own / scale + noise), scores / scale / (scores / scale + noise)
        expected -= (np.log(h) + np.log(1 - others).sum(axis=1)).mean()
    found = loss(None, {"embedding": teacher, "image": numbers}, {"embedding": student}, temperature=1.0)
    assert float(found) == pytest.approx(2.0 * expected, rel=1e-3)
    moved = loss.bank["teacher"].numpy()
    after = 0.5 * bank["teacher"][numbers] + 0.5 * projected["teacher"]
    np.testing.assert_allclose(moved[numbers], after / np.linalg.norm(after, axis=1, keepdims=True), atol=1e-4)
    others = np.setdiff1d(np.arange(50), numbers)
    np.testing.assert_array_equal(moved[others], bank["teacher"][others].astype(np.float32))


def test_crd_refuses_a_sphere_of_no_dimensions():
    with pytest.raises(InputError, match=r"distill.crd: found dimensions 0, negatives 4096; accepted: 1 or more"):
        contrastive(dimensions=0)


@pytest.mark.parametrize("method", [*RELATIONAL, "crd"])
def test_distiller_trains_the_features_and_the_methods_own_weights(digits, method):
    images, labels = digits[0][:64], digits[1][:64]
    student, teacher = model("dense_10_10", seed=1), with_inner_outputs(model("cnn", seed=5), ["embedding"], "cnn")
    outputs = teacher.predict_on_batch(images) | {"image": np.arange(64, dtype=np.int32)}
    known = load_method(method).over({name: values[np.newaxis] for name, values in outputs.items()})
    distiller = Distiller(student, 4.0, 0.5, soft_loss=known)
    distiller.compile(optimizer=keras.optimizers.Adam(0.003), metrics=["accuracy"], jit_compile=False)
    targets = {"labels": labels, **outputs}
    first, *_, last = (distiller.train_on_batch(images, targets, return_dict=True) for _ in range(100))
    assert last["soft_loss"] < 0.9 * first["soft_loss"]
    assert last["accuracy"] > first["accuracy"]
    own = [variable.path for variable in distiller.trainable_variables][len(student.trainable_variables) :]
    assert len(own) == (4 if method == "crd" else 0)
    np.testing.assert_array_equal(distiller.predict_on_batch(images), student.predict_on_batch(images))


def test_live_teacher_gives_its_embedding(digits):
    images, labels = digits[0][:32], digits[1][:32]
    losses = []
    for live in (True, False):
        student, teacher = model("dense_10_10", seed=1), model("cnn", seed=5)
        stored = with_inner_outputs(teacher, ["embedding"], "cnn").predict_on_batch(images)
        distiller = Distiller(student, 4.0, 0.5, teacher=teacher if live else None, soft_loss="sp")
        distiller.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        targets = labels if live else {"labels": labels, **stored}
        losses.append(distiller.train_on_batch(images, targets, return_dict=True)["soft_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_is_not_stored_is_named():
    method = load_method("rkd")
    with pytest.raises(InputError, match=r"distill.method: rkd reads 'embedding'; data/transfer holds logits alone"):
        method.read({"logits": np.zeros((1, 4, 3))})
    read = Method("mine", None, ("logits", "image")).read(
        {"logits": np.zeros((2, 4, 3)), "embedding": np.zeros((2, 4, 9))}
    )
    assert set(read) == {"logits", "image"}
    np.testing.assert_array_equal(read["image"][1], [0, 1, 2, 3])


def test_a_network_without_a_dense_layer_is_refused():
    pixels = keras.Input((8, 8, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(pixels))
    with pytest.raises(InputError, match="mine: none of its layers is dense"):
        with_inner_outputs(keras.Model(pixels, pooled), ["embedding"], "mine")


def test_a_method_with_weights_needs_to_know_the_shapes():
    with pytest.raises(ValueError, match="crd has weights of its own"):
        Distiller(model("dense_10_10"), 4.0, 0.5, soft_loss="crd")
