"""Run a stage as DVC does, or write the parameters of a preset.

    python -m pipeline distill
    python -m pipeline preset hinton

All parameters are checked before anything slow is imported. Invalid input is reported as a one-line error with exit
code 1. The stages themselves are in `stages/`, a `main` each.
"""

import argparse
import errno
import importlib
import inspect
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from distillery.data.errors import InputError
from pipeline.params import load_params
from pipeline.presets import preset_names, write_preset
from pipeline.resume import resume_directory
from pipeline.stages import sections, stage_names
from pipeline.tracking.run_log import RunLog

NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "file too large"}
# What TensorFlow logs, whatever its log level, while it loads and finds no GPU driver.
ANNOUNCEMENTS = ("I0000 ", "WARNING: All log messages before absl::InitializeLog()")
NO_DRIVER = "failed call to cuInit"


def run_stage(stage: str) -> None:
    """Run a stage with its parameters and its run log.

    Args:
        stage: its name in `dvc.yaml`.

    Raises:
        InputError: when a parameter or a file is invalid.
    """
    params = load_params()
    flat = params.flat()
    with quiet_import():
        module = importlib.import_module(f"stages.{stage}")
    own = {key: value for key, value in flat.items() if key.split(".")[0] in sections(stage)}
    if "resume_folder" not in inspect.signature(module.main).parameters:
        with RunLog(stage, own) as run:
            module.main(params, run)
        return
    with resume_directory(stage, flat) as folder, RunLog(stage, own, folder) as run:
        module.main(params, run, folder)


@contextmanager
def quiet_import() -> Iterator[None]:
    """Import Keras without TensorFlow's announcements: they are many lines of no use to anyone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow takes the prediction of several models for one that is traced again and again.
    logging.getLogger("tensorflow").addFilter(lambda record: "tf.function retracing" not in record.getMessage())
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
            keras: ModuleType | None = sys.modules.get("keras")
            if keras:
                keras.ops.zeros(())  # the first operation looks for devices
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if not line.startswith(ANNOUNCEMENTS) and NO_DRIVER not in line:
                    print(line, file=sys.stderr)


def main() -> None:
    """Run what the command line names; end with exit code 1 where input is invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE | preset NAME")
    for stage in stage_names():
        commands.add_parser(stage)
    commands.add_parser("preset").add_argument("name", metavar="NAME", help=", ".join(preset_names()))
    arguments = parser.parse_args()
    command = arguments.command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the run log before the process
    try:
        if command == "preset":
            write_preset(arguments.name)
        else:
            run_stage(command)
    except InputError as error:
        sys.exit(f"{command}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{command}: interrupted")
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        sys.exit(
            f"{command}: {error.filename or 'a file'} could not be written: {NO_SPACE[error.errno]}; "
            "make room and run `dvc repro` again"
        )


if __name__ == "__main__":
    main()
