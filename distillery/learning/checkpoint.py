"""Checkpoints: after each epoch, everything on which the next ones depend, so that a stopped training goes on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError, reason
from distillery.data.files import atomic_write


@dataclass(frozen=True)
class Epoch:
    """A finished epoch.

    Attributes:
        number: from 1.
        metrics: loss, accuracy, val_loss, val_accuracy and what the model logs besides.
        predictions: the classes that the model predicts for the validation images, uint16, (n,).
        ended: milliseconds since 1970. What is recorded of an epoch bears this time, and so is recorded once, however
            often a stopped training repeats it.
    """

    number: int
    metrics: dict[str, float]
    predictions: np.ndarray
    ended: int


@dataclass(frozen=True)
class State:
    """What training goes on from.

    Attributes:
        epochs: those finished.
        variables: of the fitted model: weights, moving averages and the states of its random generators.
        optimizer: variables of the optimizer, its step among them, from which the learning rate follows.
        best: weights of the epoch that was most accurate on validation.
    """

    epochs: list[Epoch]
    variables: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]


class Checkpoint:
    """The checkpoint of one training, in two kinds of file: one per epoch, and the newest state.

    Shuffling and augmentation are functions of seed and epoch (`Batches`) and need no state.

    Args:
        folder: where the files go; a stage that trains several models keeps all their checkpoints in one folder.
        name: of the training.
    """

    def __init__(self, folder: Path, name: str):
        self._folder, self._name = folder, name

    def save(self, state: State) -> None:
        """Write the last epoch of `state` and then, replacing the former, the state.

        A process that is killed on the way leaves the former state, and an epoch that does not count.
        """
        newest = state.epochs[-1]
        with atomic_write(self._epoch_file(newest.number)) as temporary:
            epoch = {key: value for key, value in asdict(newest).items() if key != "predictions"}
            np.savez(temporary, epoch=json.dumps(epoch), predictions=newest.predictions)
        with atomic_write(self._state_file()) as temporary:
            np.savez(
                temporary,
                epochs=len(state.epochs),
                counts=[len(state.variables), len(state.optimizer), len(state.best)],
                **_numbered("variables", state.variables),
                **_numbered("optimizer", state.optimizer),
                **_numbered("best", state.best),
            )

    def load(self) -> State | None:
        """Return what `save` wrote last; None where there is nothing.

        Raises:
            InputError: when it is damaged.
        """
        if not self._state_file().is_file():
            return None
        try:
            with np.load(self._state_file(), allow_pickle=False) as state:
                epochs = [self._load_epoch(number) for number in range(1, int(state["epochs"]) + 1)]
                groups = zip(("variables", "optimizer", "best"), state["counts"], strict=True)
                return State(
                    epochs, *([state[f"{group}.{number}"] for number in range(count)] for group, count in groups)
                )
        except Exception as error:  # NumPy raises whatever its readers of ZIP and of arrays raise
            raise InputError(
                f"{self._state_file()}: damaged ({reason(error)}); remove the"
                f" folder {self._folder} and run `dvc repro` again, to train from the first epoch"
            ) from error

    def _load_epoch(self, number: int) -> Epoch:
        with np.load(self._epoch_file(number), allow_pickle=False) as file:
            return Epoch(**json.loads(str(file["epoch"])), predictions=file["predictions"])

    def _state_file(self) -> Path:
        return self._folder / f"{self._name}.npz"

    def _epoch_file(self, number: int) -> Path:
        return self._folder / f"{self._name}.epoch_{number:05d}.npz"


def _numbered(group: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{group}.{number}": array for number, array in enumerate(arrays)}
