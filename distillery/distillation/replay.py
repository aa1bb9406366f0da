"""Whether stored outputs are those of the teacher on the views that students see: some views are drawn anew."""

from collections.abc import Mapping

import numpy as np

from distillery.data.errors import InputError
from distillery.data.random_streams import Purpose, generator
from distillery.distillation.stored_logits import TOP_CLASSES
from distillery.learning.augmentation import Views

REPLAYED = 32  # views
ALIKE = 0.02  # of the range of an image's logits: half precision and other batches change less, another view more
LEAST_DIFFERENCE = 0.01  # where few logits are kept, all much alike
LEAST = -15.0  # below the largest logit: a teacher in half precision knows smaller probabilities only roughly


def check_views(
    teacher, images: np.ndarray, views: Views, stored: Mapping[str, np.ndarray], teacher_digest: str
) -> None:
    """Check some stored logits.

    Args:
        teacher: with `outputs`, from images to outputs by name, and `digest`.
        images: of the data set, uint8, (n, height, width, channels).
        views: of these images.
        stored: outputs by name, each (views, n, ...), as `transfer` stores them.
        teacher_digest: SHA-256 of the teacher whose outputs they are said to be.

    Raises:
        InputError: when they are another teacher's, or those of other views.
    """
    again = "run `dvc repro --force transfer`"
    if teacher.digest != teacher_digest:
        raise InputError(f"data/transfer: its logits are another teacher's than models/teacher; {again}")
    random = generator(Purpose.REPLAY)
    indices = np.sort(random.integers(views.images, size=REPLAYED))
    numbers = random.integers(views.count, size=REPLAYED)
    found = teacher.outputs(views.show(images[indices], indices, numbers, images))["logits"]
    kept = stored["logits"][numbers, indices].astype(np.float32)
    if TOP_CLASSES in stored:
        top = stored[TOP_CLASSES][numbers, indices].astype(int)
        others = found.astype(np.float64)
        np.put_along_axis(others, top, -np.inf, axis=1)
        rest = np.logaddexp.reduce(others, axis=1, keepdims=True) - np.log(found.shape[1] - top.shape[1])
        found = np.concatenate([np.take_along_axis(found, top, axis=1), rest], axis=1)
    # What is stored may be shifted by a number for each image.
    found, kept = (np.maximum(logits - logits.max(axis=1, keepdims=True), LEAST) for logits in (found, kept))
    off = np.abs(found - kept).max(axis=1) > np.maximum(ALIKE * np.ptp(found, axis=1), LEAST_DIFFERENCE)
    if off.any():
        first = int(off.argmax())
        raise InputError(
            f"data/transfer: of {REPLAYED} views that were drawn anew, the teacher's logits differ from those stored in"
            f" {off.sum()}, first in view {numbers[first]} of training image {indices[first]:,}; {again}"
        )
