"""The distiller, on real digits."""

import keras
import numpy as np
import pytest
from conftest import model
from keras import ops

from distillery import Distiller, load_method
from distillery.distillation.methods import Method
from distillery.distillation.stored_logits import largest_logits


@pytest.fixture
def student():
    return model("dense_800_800", seed=1)


def compiled(distiller: Distiller) -> Distiller:
    distiller.compile(optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"], jit_compile=False)
    return distiller


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.0), (4.0, 0.1), (20.0, 1.0)])
def test_stored_logits_and_live_teacher_give_same_losses_and_weights(digits, temperature, alpha):
    images, labels = digits[0][:64], digits[1][:64]
    teacher = model("cnn", dropout=0.5, seed=5)
    teacher_logits = teacher.predict_on_batch(images)
    results = []
    for live in (True, False):
        student = model("dense_800_800", seed=1)
        distiller = compiled(Distiller(student, temperature, alpha, teacher=teacher if live else None))
        targets = labels if live else {"labels": labels, "logits": teacher_logits}
        losses = distiller.train_on_batch(images, targets, return_dict=True)
        results.append((losses, student.get_weights()))
    (live_losses, live_weights), (cached_losses, cached_weights) = results
    assert set(live_losses) == {"loss", "hard_loss", "soft_loss", "accuracy"}
    for name, value in live_losses.items():
        assert float(value) == pytest.approx(float(cached_losses[name]), rel=1e-5), name
    for mine, other in zip(live_weights, cached_weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_logged_losses_are_means_over_images_and_add_up(digits, student):
    images, labels = digits[0][:100], digits[1][:100]
    logits = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    distiller = Distiller(student, 4.0, 0.3)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    targets = {"labels": labels, "logits": logits}
    history = distiller.fit(images, targets, batch_size=64, shuffle=False, verbose=0).history  # 64 and 36
    at_once = distiller.evaluate(images, targets, batch_size=100, return_dict=True, verbose=0)
    assert history["loss"][0] == pytest.approx(0.3 * history["hard_loss"][0] + 0.7 * history["soft_loss"][0], rel=1e-5)
    for name in ("hard_loss", "soft_loss"):
        assert history[name][0] == pytest.approx(at_once[name], rel=1e-4)


def test_live_teacher_is_neither_trained_nor_counted(digits, student):
    teacher = model("cnn", dropout=0.5, seed=5)
    before = teacher.get_weights()
    distiller = compiled(Distiller(student, 4.0, 0.5, teacher=teacher))
    distiller.train_on_batch(digits[0][:32], digits[1][:32])
    assert len(distiller.trainable_variables) == len(student.trainable_variables)
    assert all(np.array_equal(mine, other) for mine, other in zip(before, teacher.get_weights(), strict=True))


def test_invalid_argument_raises_value_error(digits, student):
    with pytest.raises(ValueError, match="temperature must be above 0, found 0"):
        Distiller(student, 0, 0.5)
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, found 2"):
        Distiller(student, 1.0, 2)
    with pytest.raises(ValueError, match="no teacher outputs"):
        compiled(Distiller(student, 1.0, 0.5)).train_on_batch(digits[0][:8], digits[1][:8])


def test_without_t_squared_the_soft_loss_is_the_plain_divergence(digits, student):
    """The TensorFlow 2 example's loss: 0.5 · soft + 0.5 · hard."""
    images, labels = digits[0][:64], digits[1][:64]
    logits = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    own = student.predict_on_batch(images)
    plain = compiled(Distiller(student, 3.0, 0.5, t_squared=False))
    losses = plain.evaluate(images, {"labels": labels, "logits": logits}, return_dict=True, verbose=0)
    assert losses["soft_loss"] == pytest.approx(
        np.mean(load_method("kd")(labels, {"logits": logits}, {"logits": own}, 3.0)), rel=1e-4
    )
    assert losses["loss"] == pytest.approx(0.5 * losses["soft_loss"] + 0.5 * losses["hard_loss"], rel=1e-5)


def test_live_teacher_with_named_outputs_gives_them_to_the_method(digits, student):
    """A method sees every output by its name, the teacher's and the student's."""
    teacher = keras.Model(student.input, {"logits": student.output, "twice": 2 * student.output})
    seen = {}

    def loss(labels, teacher, student, temperature):
        seen.update(teacher=sorted(teacher), student=sorted(student))
        return keras.ops.mean(teacher["twice"] - 2 * student["logits"])

    distiller = compiled(Distiller(model("dense_10_10"), 1.0, 0.0, teacher=teacher, soft_loss=loss))
    distiller.train_on_batch(digits[0][:8], digits[1][:8])
    assert seen == {"teacher": ["logits", "twice"], "student": ["logits"]}


class OwnWeights(keras.layers.Layer):
    """The mean square of the teacher's logits, behind a layer that must fit them."""

    def __init__(self, teacher, student, images):
        super().__init__()
        self.shapes = dict(teacher)
        self.scale = keras.layers.Dense(10, use_bias=False, kernel_initializer="identity", trainable=False)
        self.scale.build((None, *teacher["logits"]))
        self.built = True

    def call(self, labels, teacher, student, temperature):
        return ops.mean(ops.square(self.scale(teacher["logits"])))


def test_method_with_weights_is_given_logits_of_all_classes_standardized(digits, student):
    images, labels = digits[0][:64], digits[1][:64]
    logits = np.random.default_rng(0).normal(0, 7, (64, 10))
    stored = {name: values[np.newaxis] for name, values in largest_logits(logits, 3).items()}
    method = Method("own", OwnWeights, standardize=True).over(stored)
    distiller = Distiller(student, 4.0, 0.5, soft_loss=method, t_squared=False)
    assert distiller.loss_layer.shapes == {"logits": (10,)}
    distiller.compile("adam", metrics=["accuracy"])
    targets = {"labels": labels, **{name: values[0] for name, values in stored.items()}}
    assert distiller.fit(images, targets, verbose=0).history["soft_loss"] == [pytest.approx(1.0, abs=1e-4)]


def test_method_with_weights_is_the_mean_over_members(digits, student):
    images, labels = digits[0][:64], digits[1][:64]
    members = np.random.default_rng(0).normal(0, 1, (64, 2, 10)).astype(np.float32)
    stored = {"logits": members.mean(axis=1)[np.newaxis], "member_logits": members[np.newaxis]}
    distiller = Distiller(student, 4.0, 0.5, soft_loss=Method("own", OwnWeights).over(stored), t_squared=False)
    distiller.compile("adam", metrics=["accuracy"])
    targets = {"labels": labels, **{name: values[0] for name, values in stored.items()}}
    logged = distiller.fit(images, targets, batch_size=64, verbose=0).history["soft_loss"]
    assert logged == [pytest.approx((members**2).mean(), rel=1e-5)]


def test_labels_may_have_an_axis_of_one_as_keras_data_sets_have(digits):
    images, labels = digits[0][:128], digits[1][:128]
    logits = np.random.default_rng(0).normal(0, 3, (128, 10)).astype(np.float32)
    logged = []
    for shape in ((128,), (128, 1)):
        distiller = Distiller(model("dense_128"), 4.0, 0.5, soft_loss="dkd")
        distiller.compile("sgd", metrics=["accuracy"])
        targets = {"labels": labels.reshape(shape), "logits": logits}
        logged.append(distiller.fit(images, targets, shuffle=False, verbose=0).history)
    assert logged[0] == logged[1]
