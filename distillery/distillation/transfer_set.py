"""The transfer set: the teacher's outputs over the training images and their views, computed once."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError, reason
from distillery.data.files import atomic_write, map_array, new_map, read_json, write_json
from distillery.data.progress import Progress
from distillery.distillation.stored_logits import TOP_CLASSES, compact, largest_outputs
from distillery.learning.augmentation import Views
from distillery.learning.prediction import PREDICT_BATCH, inner_kind
from distillery.teachers.outputs import MEMBER_LOGITS

SHARD_SECONDS = 10.0  # of work that a killed process loses at most
HALF_PRECISION_FROM = 100  # classes: with fewer, logits are a small part of what is stored


def view_outputs(
    teacher,
    images: np.ndarray,
    views: Views,
    number: int,
    resume_folder: Path | None = None,
    top_classes: int | None = None,
    inner: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Return the teacher's outputs on one view of all images, by name, each (n, ...).

    Args:
        teacher: with `outputs`, from images to outputs by name, and `digest`; where several batches are computed at the
            same time, also with `outputs_in_order`, from batches to theirs.
        images: uint8, (n, height, width, channels).
        views: of these images.
        number: of the view.
        resume_folder: where shards are kept while it takes long; what an earlier process left there is not computed
            again.
        top_classes: classes whose logits are kept, as `largest_outputs` gives them; all when None.
        inner: of `embedding` and `attention`, the inner outputs among them, as `half_precision` gives them.

    Raises:
        InputError: when a shard is damaged, or the teacher has no such inner outputs.
    """
    shards = _Shards(resume_folder, f"{teacher.digest[:16]}-view_{number:04d}")
    batches, starts = shards.read(), range(0, len(images), PREDICT_BATCH)
    progress = Progress(
        f"view {number + 1} of {views.count}", len(starts), later=len(starts) * (views.count - number - 1)
    )
    left = (np.arange(start, min(start + PREDICT_BATCH, len(images))) for start in starts[len(batches) :])
    shown = (views.show(images[batch[0] : batch[-1] + 1], batch, number, images) for batch in left)
    in_order = getattr(teacher, "outputs_in_order", partial(outputs_in_turn, teacher))
    for outputs in in_order(shown, inner):
        outputs = half_precision(outputs)
        batches.append(outputs if top_classes is None else largest_outputs(outputs, top_classes))
        shards.keep(batches)
        progress.update(len(batches))
    progress.close()
    shards.keep(batches, last=number + 1 < views.count)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def outputs_in_turn(teacher, batches: Iterable[np.ndarray], inner: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Yield a teacher's outputs on one batch after the other."""
    for batch in batches:
        yield teacher.outputs(batch, inner) if inner else teacher.outputs(batch)


def half_precision(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a teacher's outputs by name with those of its inside in half precision.

    Raises:
        InputError: when it does not reach so far.
    """
    found, reach = {}, np.finfo(np.float16).max
    for name, values in outputs.items():
        if inner_kind(name):
            if not (largest := np.abs(values).max(initial=0)) <= reach:
                raise InputError(f"the teacher's {name} reaches {largest:.3g}; accepted: up to {reach:.0f}")
            values = values.astype(np.float16)
        found[name] = values
    return found


class _Shards:
    """The outputs of a view as far as they are computed, in files, so that a stopped process loses seconds of work.

    Args:
        folder: where they go; None: nothing is kept.
        name: of the view, with whose teacher it is.
    """

    def __init__(self, folder: Path | None, name: str):
        self._folder, self._name = folder, name
        self._kept, self._last = 0, time.monotonic()

    def read(self) -> list[dict[str, np.ndarray]]:
        """Return the batches that are there, from the first on."""
        batches = []
        while self._folder and (path := self._path(len(batches))).is_file():
            try:
                with np.load(path, allow_pickle=False) as shard:
                    count = len({key.split(".")[0] for key in shard.files})
                    for batch in range(count):
                        names = [key.split(".", 1)[1] for key in shard.files if key.startswith(f"{batch}.")]
                        batches.append({name: shard[f"{batch}.{name}"] for name in names})
            except Exception as error:  # NumPy raises whatever its readers of ZIP and of arrays raise
                raise InputError(f"{path}: damaged ({reason(error)}); remove it and run `dvc repro` again") from error
        self._kept = len(batches)
        return batches

    def keep(self, batches: Sequence[Mapping[str, np.ndarray]], last: bool = False) -> None:
        """Write the batches that are in no file yet, if it is time, or if the view is complete.

        Args:
            batches: all of the view.
            last: whether these are the last ones of a view that others follow.
        """
        now, new = time.monotonic(), batches[self._kept :]
        due = last or now - self._last > SHARD_SECONDS
        if self._folder is None or not new or not due:
            return
        arrays = {f"{number}.{name}": values for number, batch in enumerate(new) for name, values in batch.items()}
        with atomic_write(self._path(self._kept)) as temporary:
            np.savez(temporary, **arrays)
        self._kept, self._last = len(batches), now

    def _path(self, batch: int) -> Path:
        return self._folder / f"{self._name}-batch_{batch:06d}.npz"


def save_transfer_set(
    folder: Path, outputs: Iterable[Mapping[str, np.ndarray]], teacher_digest: str, images_digest: str, views: Views
) -> None:
    """Write the teacher's outputs and whose they are, one view after the other: one is in memory at a time.

    Args:
        folder: where to: an array per output, `logits.npy`, and `transfer.json`.
        outputs: of each view, by name, each (n, ...); logits of many classes are written in half precision, `compact`.
        teacher_digest: SHA-256 of the teacher's file.
        images_digest: digest of the training split.
        views: of the training images.
    """
    stored, digests = {}, {}
    with ExitStack() as files:
        for number, of_view in enumerate(outputs):
            for name, values in of_view.items():
                many = name in ("logits", MEMBER_LOGITS) and values.shape[-1] >= HALF_PRECISION_FROM
                if many and TOP_CLASSES not in of_view:
                    values = compact(values)
                if name not in stored:
                    path = files.enter_context(atomic_write(folder / f"{name}.npy"))
                    shape = (views.count, *values.shape)
                    stored[name] = new_map(path, values.dtype, shape)
                    digests[name] = hashlib.sha256()
                stored[name][number] = values
                digests[name].update(stored[name][number])
        described = {
            name: {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digests[name].hexdigest()}
            for name, array in stored.items()
        }
        for array in stored.values():
            array.flush()
        stored.clear()
    write_json(
        folder / "transfer.json",
        {
            "outputs": described,
            "teacher_sha256": teacher_digest,
            "images_sha256": images_digest,
            "views": views.describe(),
        },
    )


def load_transfer_set(folder: Path, images_digest: str, views: Views) -> tuple[dict[str, np.ndarray], str]:
    """Return the teacher's outputs, and whose they are.

    Args:
        folder: where they are.
        images_digest: digest of the training split.
        views: those that students will see.

    Returns:
        Each output by name, (views, n, ...), mapped from its file: `logits`, float32 or, of many classes, float16,
        (views, n, classes), or those and the `top_classes` that `largest_logits` gives, and of an ensemble's members
        what `largest_outputs` gives; and the SHA-256 of the teacher's file.

    Raises:
        InputError: when the files are missing, damaged, or belong to other images or views.
    """
    stored = read_json(folder / "transfer.json")
    again = "run `dvc repro --force transfer`"
    if stored["images_sha256"] != images_digest:
        raise InputError(f"{folder}: the logits belong to other training images than data/prepared holds; {again}")
    if stored["views"] != views.describe():
        raise InputError(
            f"{folder}: the logits belong to other views than student.views, .max_shift, .horizontal_flip and .augment;"
            f" {again}"
        )
    outputs = {
        name: map_array(folder / f"{name}.npy", np.dtype(described["dtype"]), tuple(described["shape"]))
        for name, described in stored["outputs"].items()
    }
    return outputs, stored["teacher_sha256"]
