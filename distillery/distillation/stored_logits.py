"""How a teacher's logits are stored: in half precision, or the largest ones alone with the mass of the rest."""

from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp

from distillery.data.prepared import NUMBERED_CLASSES
from distillery.teachers.outputs import MEMBER_LOGITS

TOP_CLASSES = "top_classes"  # the output that says which classes the stored logits are of
MEMBER_TOP_CLASSES = "member_top_classes"  # and those of each member of an ensemble


def compact(logits: np.ndarray) -> np.ndarray:
    """Return logits in half precision, shifted so that the largest of each image is 0.

    The softmax does not change with the shift, and half precision is finest near 0: what counts is kept best. Where a
    class is further below the largest than half precision reaches, its probability is 0 at any temperature up to 500.

    Args:
        logits: float, (..., classes).

    Returns:
        float16, (..., classes), from −65504 to 0.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.maximum(shifted, np.finfo(np.float16).min).astype(np.float16)


def largest_logits(logits: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Return the largest logits of each image, and one logit that stands for each of the other classes.

    With z the logits and R the classes that are not kept, that one is log(Σ_R exp(z) / |R|): the mass of the rest,
    spread evenly over it, as Shen & Xing 2022 (arXiv 2112.01528, "marginal smoothing") and Wu et al. 2022 (TinyViT,
    arXiv 2207.10666) spread it. What is stored is therefore a logit of every class, and means softmax(logits / T) at
    temperature T. At T = 1 each kept class has its probability and the rest its mass. At T > 1 the rest has the
    teacher's mass or more: the mean of exp(z / T) over R is at most the mean of exp(z) to the power of 1 / T (Jensen),
    and equal where the logits of R are.

    A class number takes 2 bytes, a logit 2: 4 · count + 2 bytes a view.

    Args:
        logits: float, (n, classes).
        count: classes to keep, from 1 to classes − 1.

    Returns:
        `top_classes`: uint16, (n, count), the largest first. `logits`: float16, (n, count + 1), as `compact` gives
        them, theirs and last that of each other class.

    Raises:
        ValueError: when the count or the number of classes is out of its range.
    """
    classes = logits.shape[1]
    if not 1 <= count < classes <= NUMBERED_CLASSES:
        raise ValueError(f"count must be 1 to classes − 1, of up to {NUMBERED_CLASSES}, found {count} of {classes}")
    kept = np.sort(np.argpartition(-logits, count - 1, axis=1)[:, :count], axis=1)  # of equals the first comes first
    by_size = np.argsort(-np.take_along_axis(logits, kept, axis=1), axis=1, kind="stable")
    kept = np.take_along_axis(kept, by_size, axis=1)
    others = logits.copy()
    np.put_along_axis(others, kept, -np.inf, axis=1)
    of_others = logsumexp(others, axis=1, keepdims=True) - np.log(classes - count)
    stored = np.concatenate([np.take_along_axis(logits, kept, axis=1), of_others], axis=1)
    return {TOP_CLASSES: kept.astype(np.uint16), "logits": compact(stored)}


def largest_outputs(outputs: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Return a teacher's outputs with the largest logits alone, and with those of each member of an ensemble.

    Args:
        outputs: by name.
        count: classes to keep, as of `largest_logits`.

    Returns:
        What `largest_logits` gives instead of the logits. Instead of `member_logits` the same of each member:
        `member_top_classes`, uint16, (n, members, count), and `member_logits`, float16, (n, members, count + 1).
    """
    found = {**outputs, **largest_logits(outputs["logits"], count)}
    if MEMBER_LOGITS in outputs:
        images, members, classes = outputs[MEMBER_LOGITS].shape
        largest = largest_logits(outputs[MEMBER_LOGITS].reshape(-1, classes), count)
        found[MEMBER_TOP_CLASSES] = largest[TOP_CLASSES].reshape(images, members, -1)
        found[MEMBER_LOGITS] = largest["logits"].reshape(images, members, -1)
    return found


def predicted_classes(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the classes that a teacher predicts, int, (n,), given its outputs by name, as they are stored."""
    if TOP_CLASSES in outputs:
        return outputs[TOP_CLASSES][:, 0].astype(int)
    return outputs["logits"].argmax(axis=1)


def kept_probability(outputs: Mapping[str, np.ndarray], classes: int) -> float:
    """Return the probability that a teacher gives to the classes that are kept, at temperature 1, a mean over images.

    Args:
        outputs: what `largest_logits` gives.
        classes: number of all classes.
    """
    weights = np.exp(outputs["logits"].astype(np.float64))
    kept = weights[:, :-1].sum(axis=1)
    others = classes - outputs[TOP_CLASSES].shape[1]
    return float(np.mean(kept / (kept + others * weights[:, -1])))
