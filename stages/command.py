"""Runs a stage as a command: parameters checked first, the record kept, a user's mistake told in one line."""

import signal
import sys
from collections.abc import Callable, Sequence

from stages.params import InputError, Params, load_params
from stages.tracking.journal import Journal


def run_stage(stage: str, work: Callable[[Params, Journal], None], sections: Sequence[str]) -> None:
    """Run `work` with all parameters and the stage's record, and end the process where it fails by a user's mistake.

    The modules that a stage imports at its top are quick. What is slow, TensorFlow above all, is imported by `work`,
    after the parameters were checked.

    Args:
        stage: the stage's name in `dvc.yaml`.
        work: does it.
        sections: the sections of `params.yaml` on which the result depends.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the record before the process
    try:
        params = load_params()
        with Journal(stage, params.flat(), sections) as run:
            work(params, run)
    except InputError as error:
        sys.exit(f"{stage}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{stage}: interrupted")
