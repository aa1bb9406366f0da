"""Contrastive representation distillation: Tian, Krishnan & Isola 2020 (arXiv 1910.10699), section 3.1."""

import keras
from keras import ops

from distillery.data.errors import InputError

OUTPUTS = ("embedding", "image")
TEMPERATURE, MOMENTUM, SMALL = 0.07, 0.5, 1e-7  # the first two are the paper's


class Loss(keras.layers.Layer):
    """Teacher's and student's embeddings of the same image are alike, of different images unlike.

    Both are projected to a sphere of few dimensions, by dense layers that learn with the student and are not kept. A
    bank holds the projections of all training images, by their numbers, as moving averages; of images that are never
    shown, as those of omitted classes, what it began with. Each image's student is
    compared with its own teacher in the bank and with those of images drawn from it, and its teacher with students
    likewise: −log h(own) − Σ log(1 − h(drawn)), h = e / (e + negatives / images), where e = exp(cosine / 0.07), divided
    by its mean over the first batch times the images, as in the authors' code. All images of a batch are compared with
    the same drawn ones, where the authors draw others for each: one matrix product instead of a gather of gigabytes.
    What is drawn, bank and projections are variables, so that a stopped training goes on as it would have.

    Args:
        teacher, student: shapes of their outputs of one image, by name; `embedding`: (units,).
        images: number of training images.
        weight: of the loss; the paper's, beside the loss of the labels with equal weight, `distill.alpha` 0.5.
        dimensions: of the sphere.
        negatives: images that each one is compared with.
    """

    def __init__(self, teacher, student, images, *, weight: float = 0.8, dimensions: int = 128, negatives: int = 4096):
        super().__init__(name="crd", dtype="float32")
        if dimensions < 1 or negatives < 1:
            raise InputError(f"distill.crd: found dimensions {dimensions}, negatives {negatives}; accepted: 1 or more")
        self.images, self.negatives = images, negatives
        self.scale = weight
        self.project = {}
        for side, shapes in (("teacher", teacher), ("student", student)):
            dense = keras.layers.Dense(dimensions, name=f"project_{side}", dtype="float32")
            dense.build((None, *shapes["embedding"]))
            self.project[side] = dense
        self.drawn = keras.random.SeedGenerator()
        reach = (3 / dimensions) ** 0.5
        self.bank = {
            side: self.add_weight(
                shape=(images, dimensions),
                initializer=keras.initializers.RandomUniform(-reach, reach),  # one for both would give both the same
                trainable=False,
                name=f"bank_{side}",
            )
            for side in ("teacher", "student")
        }
        self.mean = {
            side: self.add_weight(shape=(), initializer="zeros", trainable=False, name=f"mean_{side}")
            for side in ("teacher", "student")
        }
        self.built = True

    def call(self, labels, teacher, student, temperature):
        """Return the loss, a scalar.

        Args:
            labels: not used.
            teacher: its outputs by name; `embedding`: float, (batch, units); `image`: int, (batch,), their numbers.
            student: the same of the student, without `image`.
            temperature: not used.
        """
        numbers = ops.cast(teacher["image"], "int32")
        drawn = keras.random.randint((self.negatives,), 0, self.images, seed=self.drawn)
        of = {"teacher": teacher["embedding"], "student": student["embedding"]}
        of = {side: _on_sphere(self.project[side](embedding)) for side, embedding in of.items()}
        total = self._contrast(of["student"], "teacher", numbers, drawn)
        total += self._contrast(of["teacher"], "student", numbers, drawn)
        for side, projected in of.items():
            before = ops.take(self.bank[side], numbers, axis=0)
            after = _on_sphere(MOMENTUM * before + (1 - MOMENTUM) * ops.stop_gradient(projected))
            self.bank[side].assign(ops.scatter_update(self.bank[side], ops.expand_dims(numbers, -1), after))
        return self.scale * total

    def _contrast(self, projected, side: str, numbers, drawn):
        """Return the loss of one side's projections, (batch, dimensions), against the bank of the other side."""
        own = ops.exp(ops.sum(projected * ops.take(self.bank[side], numbers, axis=0), axis=-1) / TEMPERATURE)
        others = ops.exp(ops.matmul(projected, ops.transpose(ops.take(self.bank[side], drawn, axis=0))) / TEMPERATURE)
        known = ops.convert_to_tensor(self.mean[side])
        mean = ops.where(known > 0, known, ops.stop_gradient(ops.mean(others)))
        self.mean[side].assign(mean)
        noise = self.negatives / self.images
        own, others = own / (mean * self.images), others / (mean * self.images)
        log_own = ops.log(own / (own + noise + SMALL))
        log_others = ops.log(noise / (others + noise + SMALL))
        return -ops.mean(log_own + ops.sum(log_others, axis=-1))


def _on_sphere(x):
    return x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-12)
