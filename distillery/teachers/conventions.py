"""The known conventions of what pixels mean, and the one that a classifier was trained with, found by its answers.

A wrong one is silent: a classifier that takes other values than it learned from still answers, only worse, and its
probabilities mean nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import log_softmax

from distillery.data.random_streams import Purpose, generator
from distillery.teachers.calibration import calibrating_temperature
from distillery.teachers.pixels import Pixels

CROP = 0.875  # 224 of 256 pixels
STAGES = (100, 300, 1000, 3000)  # images, on which those that are left compete
CLEARLY = 4.0  # standard errors: of many comparisons, none is due to chance
AS_WELL = 2.0  # standard errors, up to which two do equally well, and the simpler is taken
ALIKE = 0.01  # nats: so small a difference of the log loss changes nothing
STRANGE = 10.0  # times as large a temperature as another needs: training leaves no more, other pixels do
WORST = 20.0  # nats, at which the loss of one image is cut: one answer decides nothing

SCALES = {  # the simpler first
    "raw": Pixels(),
    "unit": Pixels(scale=1 / 255),
    "symmetric": Pixels(scale=1 / 127.5, mean=(1.0,)),  # Keras's mode `tf`
    "mnist": Pixels(scale=1 / 255, mean=(0.1307,), std=(0.3081,)),  # PyTorch's example
    "imagenet": Pixels(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),  # Keras's mode `torch`
    "cifar10": Pixels(scale=1 / 255, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "caffe": Pixels(channels="bgr", mean=(103.939, 116.779, 123.68)),  # Keras's mode `caffe`: VGG, ResNet
}
IN_WORDS = {
    "raw": "0…255",
    "unit": "0…1",
    "symmetric": "−1…1",
    "mnist": "0…1, MNIST's mean and deviation",
    "imagenet": "0…1, ImageNet's mean and deviation",
    "cifar10": "0…1, CIFAR-10's mean and deviation",
    "caffe": "0…255, minus ImageNet's mean, blue first",
}


def conventions(channels: int = 3, grey: bool = False) -> dict[str, Pixels]:
    """Return the known conventions by name, the simpler first, without a size.

    `_bgr` (of `caffe`: `_rgb`) has the other order of the channels, `_crop` looks at the centre of the image alone.

    Args:
        channels: that the classifier takes, 1 or 3.
        grey: whether the images are grey, so that an order of channels means nothing.
    """
    named = {}
    for name, pixels in SCALES.items():
        if len(pixels.mean) <= channels and (name != "mnist" or grey):
            named[name] = pixels
    if channels == 3 and not grey:
        for name, pixels in list(named.items()):
            other = "rgb" if pixels.channels == "bgr" else "bgr"
            exchanged = replace(pixels, channels=other, mean=pixels.mean[::-1], std=pixels.std[::-1])
            named[f"{name}_{other}"] = exchanged
    return named | {f"{name}_crop": replace(pixels, resize="shorter", crop=CROP) for name, pixels in named.items()}


def convention_names() -> list[str]:
    """Return the names of all conventions."""
    return [*conventions(), *(name for name in conventions(1, grey=True) if name not in conventions())]


def convention(name: str) -> Pixels:
    """Return a convention by its name."""
    return (conventions(1, grey=True) | conventions())[name]


def in_words(name: str) -> str:
    """Return what a convention is, for people."""
    stem, *rest = name.split("_")
    words = {"bgr": "blue first", "rgb": "red first", "crop": f"the centre, {100 * CROP:.1f} % of each side"}
    scale = IN_WORDS[stem].removesuffix(", blue first") if "rgb" in rest else IN_WORDS[stem]
    return ", ".join([scale, *(words[word] for word in rest)])


@dataclass(frozen=True)
class Scored:
    """How a classifier answers with a convention.

    Attributes:
        name: of the convention.
        images: on how many validation images; the earlier it was clearly worse, the fewer.
        accuracy: on these.
        loss: mean of −ln p(label), nats, at the temperature that suits it best; of an image at most `WORST`.
        temperature: that one.
    """

    name: str
    images: int
    accuracy: float
    loss: float
    temperature: float


@dataclass(frozen=True)
class Comparison:
    """How a classifier answers with each convention.

    Attributes:
        scores: in the order of the candidates.
        left: names of those that are not clearly worse than the best.
        alike: names of those that do equally well, the simplest first.
    """

    scores: list[Scored]
    left: list[str]
    alike: list[str]

    @property
    def best(self) -> Scored:
        """The one with the lowest log loss, of those that are left."""
        return min((score for score in self.scores if score.name in self.left), key=lambda score: score.loss)

    def table(self) -> dict[str, dict[str, float]]:
        """Return what was measured, by name."""
        return {
            score.name: {name: value for name, value in asdict(score).items() if name != "name"}
            for score in self.scores
        }

    def text(self) -> str:
        """Return the table for people, the best first."""
        ordered = sorted(self.scores, key=lambda score: (-score.images, score.loss))
        width = max(len(score.name) for score in ordered)
        lines = [f"{'pixels':{width}}  correct  log loss  at temperature  images"]
        for score in ordered:
            words = f"  {in_words(score.name)}" if score.name.split("_")[0] in IN_WORDS else ""
            lines.append(
                f"{score.name:{width}}  {100 * score.accuracy:5.1f} %  {score.loss:8.3f}  {score.temperature:14.2g}"
                f"  {score.images:6,}{words}"
            )
        return "\n".join(lines)


def drawn_order(images: int) -> np.ndarray:
    """Return the order in which validation images are used, int, (images,), always the same."""
    return generator(Purpose.CONVENTIONS).permutation(images)


def compare(
    candidates: Mapping[str, Pixels],
    answers: Callable[[Pixels, np.ndarray], np.ndarray],
    labels: np.ndarray,
    stages: Sequence[int] = STAGES,
) -> Comparison:
    """Compare how a classifier answers with each convention.

    All begin on the same few images, drawn once and for all; who is clearly worse than the best by a paired comparison
    is left behind, and the others go on with more images.

    Args:
        candidates: by name, the simpler first.
        answers: from pixels and the numbers of images to logits, (n, classes).
        labels: int, (images,).
        stages: how many images there are at each stage.
    """
    order = drawn_order(len(labels))
    scores: dict[str, Scored] = {}
    losses: dict[str, np.ndarray] = {}
    left = list(candidates)
    for count in dict.fromkeys(min(stage, len(labels)) for stage in stages):
        chosen = order[:count]
        for name in left:
            scores[name], losses[name] = _score(name, labels[chosen], answers(candidates[name], chosen))
        best = min(left, key=lambda name: losses[name].mean())
        left = [name for name in left if not _clearly_worse(losses[name] - losses[best])]
        if len(left) == 1:
            break
    alike = [name for name in left if not _clearly_worse(losses[name] - losses[best], AS_WELL)]
    # Of a classifier that hardly errs, pixels 255 times as large do as well, but for its temperature.
    strange = {name: abs(np.log(scores[name].temperature)) for name in left}
    least = min(strange[name] for name in alike)
    left = [name for name in left if strange[name] <= least + np.log(STRANGE)]
    alike = [name for name in alike if strange[name] <= least + 1]
    return Comparison([scores[name] for name in candidates], left, alike)


def _score(name: str, labels: np.ndarray, logits: np.ndarray) -> tuple[Scored, np.ndarray]:
    """Return how a classifier answers, and −ln p(label) of each image: sure answers alone make no pixels right."""
    temperature = calibrating_temperature(labels, logits)
    likelihood = log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(labels)), labels]
    losses = np.minimum(-likelihood, WORST)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return Scored(name, len(labels), accuracy, float(losses.mean()), temperature), losses


def _clearly_worse(differences: np.ndarray, errors: float = CLEARLY) -> bool:
    """Return whether losses are larger by so many standard errors, given the differences image by image."""
    mean = differences.mean()
    return bool(mean > ALIKE and mean > errors * differences.std(ddof=1) / np.sqrt(len(differences)))
