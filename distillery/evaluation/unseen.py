"""Classes that a student never saw: it may know them from the teacher, and only its bias forbids them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distillery.evaluation.roles import RoleOutputs


@dataclass(frozen=True)
class Unseen:
    """The classes that the students never saw, and the validation images on which their bias is tuned.

    Attributes:
        classes: numbers of the classes.
        labels: int, (m,), of the validation images.
        logits: by role of the students, (models, m, classes), of the validation images.
    """

    classes: Sequence[int]
    labels: np.ndarray
    logits: Mapping[str, np.ndarray]


def omitted_metrics(unseen: Unseen, labels: np.ndarray, roles: Mapping[str, RoleOutputs]) -> dict:
    """Return the students' metrics on classes that they never saw, as they are and with a bias tuned on validation.

    Every number is a mean over the students of a role.

    Args:
        unseen: the classes, and what their bias is tuned on.
        labels: int, (n,), of the test images.
        roles: the outputs by role, on the test images.
    """
    is_unseen, biases = np.isin(labels, unseen.classes), unseen_biases(unseen)
    metrics = {}
    for role, predicted in corrected_predictions(unseen, roles).items():
        wrong, wrong_corrected = roles[role].predicted != labels, predicted != labels
        metrics[role] = {
            "accuracy": float(1 - wrong[:, is_unseen].mean()),
            "accuracy_corrected": float(1 - wrong_corrected[:, is_unseen].mean()),
            "errors": float(wrong[:, is_unseen].sum(axis=1).mean()),
            "errors_corrected": float(wrong_corrected[:, is_unseen].sum(axis=1).mean()),
            "errors_in_all_corrected": float(wrong_corrected.sum(axis=1).mean()),
            "bias": float(np.mean(biases[role])),
        }
    return metrics


def unseen_biases(unseen: Unseen) -> dict[str, list[float]]:
    """Return the bias of each student, by role, tuned on the validation images."""
    return {
        role: [unseen_bias(unseen.labels, of_model, unseen.classes) for of_model in logits]
        for role, logits in unseen.logits.items()
    }


def corrected_predictions(unseen: Unseen, roles: Mapping[str, RoleOutputs]) -> dict[str, np.ndarray]:
    """Return the classes that the students predict for the test images with their bias corrected, by role, (models, n).

    Args:
        unseen: the classes, and what their bias is tuned on.
        roles: the outputs by role, on the test images.
    """
    return {
        role: np.stack(
            [
                with_bias(logits, unseen.classes, bias).argmax(axis=1)
                for logits, bias in zip(roles[role].logits, biases, strict=True)
            ]
        )
        for role, biases in unseen_biases(unseen).items()
    }


def unseen_bias(labels: np.ndarray, logits: np.ndarray, unseen: Sequence[int]) -> float:
    """Return the number that, added to the logits of the unseen classes, gives the highest accuracy.

    Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3) tuned it on the test set; give validation images here. The
    search is exact: a prediction changes from seen to unseen where the bias passes the distance between the image's
    best seen and its best unseen logit, so only these distances are tried. Of equally good intervals the middle of the
    widest is taken. Without an image of an unseen class there is nothing to tune on, and the bias is 0.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        unseen: classes to raise; at least one, and not all.
    """
    if not np.isin(labels, unseen).any():
        return 0.0
    is_unseen = np.isin(np.arange(logits.shape[1]), unseen)
    seen_logits = np.where(is_unseen, -np.inf, logits.astype(np.float64))
    unseen_logits = np.where(is_unseen, logits.astype(np.float64), -np.inf)
    distance = seen_logits.max(axis=1) - unseen_logits.max(axis=1)  # with a larger bias the prediction is unseen
    order = np.argsort(distance)
    correct_as_seen = (seen_logits.argmax(axis=1) == labels)[order]
    correct_as_unseen = (unseen_logits.argmax(axis=1) == labels)[order]
    # correct[k]: correct images when the k with the smallest distances are predicted as unseen
    correct = np.concatenate([[0], np.cumsum(correct_as_unseen)]) + np.concatenate(
        [np.cumsum(correct_as_seen[::-1])[::-1], [0]]
    )
    edges = np.concatenate([[distance[order[0]] - 1], distance[order], [distance[order[-1]] + 1]])
    correct[np.diff(edges) == 0] = -1  # images of equal distance change together
    widths = np.where(correct == correct.max(), np.diff(edges), -1.0)
    best = int(np.argmax(widths))
    return float((edges[best] + edges[best + 1]) / 2)


def with_bias(logits: np.ndarray, unseen: Sequence[int], bias: float) -> np.ndarray:
    """Return the logits (…, classes) with `bias` added to the logits of the unseen classes."""
    corrected = logits.copy()
    corrected[..., list(unseen)] += bias
    return corrected
