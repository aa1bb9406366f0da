"""Run a stage as DVC does, write the parameters of a preset, or recover from a killed DVC.

    python -m pipeline distill
    python -m pipeline preset hinton
    python -m pipeline recover

All parameters are checked before anything slow is imported. Invalid input is reported as a one-line error with exit
code 1. The stages themselves are in `stages/`, a `main` each.
"""

import argparse
import inspect
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from distillery.data.errors import InputError, refusal
from pipeline.imports import prepared_stage
from pipeline.machine import difference, facts, in_utf8, shown_facts
from pipeline.params import load_params
from pipeline.presets import preset_costs, write_preset
from pipeline.processes import follow, leave, loss_told, processes_of, share_folder
from pipeline.recovery import recover
from pipeline.resume import resume_directory
from pipeline.stages import description, out_named, sections, stage_names
from pipeline.tracking.run_log import RunLog


def run_stage(stage: str) -> None:
    """Run a stage with its parameters and its run log.

    Args:
        stage: its name in `dvc.yaml`.

    Raises:
        InputError: when a parameter, a setting or a file is invalid.
    """
    show_change_to_git("params.yaml")
    params = load_params()
    flat = params.flat()
    processes = processes_of(stage, flat)
    if processes and processes.number:
        follow(stage, processes)
        return
    module = prepared_stage(stage, flat, processes)
    own = {key: value for key, value in flat.items() if key.split(".")[0] in sections(stage)}
    machine = {f"distillery.{name}": value for name, value in facts().items()}
    if "resume_folder" not in inspect.signature(module.main).parameters:
        with RunLog(stage, own) as run:
            run.tags(machine)
            module.main(params, run)
        return
    with resume_directory(stage, flat) as folder, RunLog(stage, own, folder) as run:
        run.tags(machine)
        print(f"computed by {shown_facts()}", flush=True)
        if differing := difference(out_named("timing.json")):
            print(f"note: the results here came from another machine ({differing}): the last digits will differ")
        with loss_told(processes):
            if processes:
                share_folder(processes, folder)
            module.main(params, run, folder)
            if processes:
                leave(processes)


def show_change_to_git(path: str) -> None:
    """Touch a file: `dvc exp run -S` leaves it with the size and the second that Git's index has of the committed one.

    Git would take it for unchanged, and `git checkout` would leave the experiment's values in it.
    """
    with suppress(OSError):  # missing, which is told below, or another user's
        os.utime(path)


def command_line() -> argparse.ArgumentParser:
    """Return the parser: a command per stage, and those that prepare and repair."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__, formatter_class=plain)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage in stage_names():
        does = f"stage: {description(stage)}"
        commands.add_parser(stage, help=does, description=f"{does}. Its parameters stand in params.yaml.")
    preset = commands.add_parser(
        "preset",
        help="write the parameters of a preset to params.yaml",
        description="Write the parameters of a preset to params.yaml.",
        # No stage need read what presets took.
        epilog=f"What each took, all stages from nothing:\n{preset_costs()}" if "preset" in sys.argv[1:] else None,
        formatter_class=plain,
    )
    preset.add_argument("name", metavar="NAME")
    mends = "make the project usable again after DVC was killed"
    commands.add_parser("recover", help=mends, description=recover.__doc__, formatter_class=plain)
    return parser


def way_back(error: str) -> str:
    """Return how a failed experiment's parameters are taken back, where the error is one of them."""
    here = os.environ.get("DVC_EXP_NAME") and os.environ.get("DVC_ROOT") == str(Path.cwd())
    return "; back to the committed values: git checkout params.yaml" if here and "params.yaml" in error else ""


def main() -> None:
    """Run what the command line names; end with exit code 1 where input is invalid."""
    in_utf8()
    try:
        arguments = command_line().parse_args()
    except InputError as error:
        sys.exit(str(error))
    command = arguments.command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the run log before the process
    try:
        if command == "preset":
            write_preset(arguments.name)
        elif command == "recover":
            recover()
        else:
            run_stage(command)
    except InputError as error:
        sys.exit(f"{command}: {error}{way_back(str(error))}")
    except KeyboardInterrupt:
        sys.exit(f"{command}: interrupted")
    except OSError as error:
        if not (refused := refusal(error)):
            raise
        sys.exit(f"{command}: {refused} and run `dvc repro` again")


if __name__ == "__main__":
    main()
