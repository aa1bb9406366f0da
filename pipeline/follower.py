"""A process that trains beside process 0, started by `pipeline.processes.follow` in a folder of its own."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from distillery.data.errors import InputError
from pipeline.imports import prepared_stage
from pipeline.params import load_params
from pipeline.processes import end_with_parent, leave, loss_told, processes_of, share_folder


class Unrecorded:
    """A run log of nothing: process 0 records."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def main(stage: str) -> None:
    """Run a stage as process 0 does; what it writes lies in this folder."""
    end_with_parent()
    params = load_params()
    processes = processes_of(stage, params.flat())
    module = prepared_stage(stage, params.flat(), processes)
    resume = Path("resume")
    resume.mkdir()
    with loss_told(processes):
        share_folder(processes, resume)
        module.main(params, Unrecorded(), resume)
        leave(processes)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except InputError as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # JAX would wait for process 0, and abort this one when that ends first
