"""Runs a stage as a command: parameters checked first, the record kept, a user's mistake told in one line."""

import errno
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from distillery.data.errors import InputError
from pipeline.params import load_params
from pipeline.resume import unfinished_work
from pipeline.tracking.journal import Journal

NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "file too large"}


def run_stage(stage: str, work: Callable[..., None], sections: Sequence[str], resumes: bool = False) -> None:
    """Run `work` with all parameters and the stage's record, and end the process where it fails by a user's mistake.

    The modules that a stage imports at its top are quick. What is slow, TensorFlow above all, is imported by `work`,
    after the parameters were checked.

    Args:
        stage: the stage's name in `dvc.yaml`.
        work: does it; called with the parameters, the record and, where it resumes, the folder of its resume points.
        sections: the sections of `params.yaml` on which the result depends.
        resumes: whether the stage goes on where it was stopped.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the record before the process
    try:
        params = load_params()
        with (
            unfinished_work(stage, params.flat()) if resumes else nullcontext() as resume_folder,
            Journal(stage, params.flat(), sections, resume_folder) as run,
        ):
            work(params, run, resume_folder) if resumes else work(params, run)
    except InputError as error:
        sys.exit(f"{stage}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{stage}: interrupted")
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        sys.exit(
            f"{stage}: {error.filename or 'a file'} could not be written: {NO_SPACE[error.errno]}; "
            "make room and run `dvc repro` again"
        )
