"""Which `dvc repro`, or which experiment, a stage belongs to."""

import os
from pathlib import Path

PROC = Path("/proc")
TRIAL = "DISTILLERY_TRIAL"  # in the environment: the trial of a search to which a stage belongs


def repro_key() -> str:
    """Return a text that all stages of one run of DVC share, and those of no other; empty where DVC runs no stage.

    The process of DVC is the nearest ancestor that was not started for this stage: a shell may stand in between. Its
    number alone comes again one day, its number with its start since the machine's start does not. A search names its
    trials itself: one that was interrupted goes on under another process.
    """
    if trial := os.environ.get(TRIAL):
        return trial
    if not (stage := os.environ.get("DVC_STAGE")):
        return ""
    try:
        number = os.getppid()
        while f"DVC_STAGE={stage}".encode() in _environment(number):
            number = int(_status(number)[1])
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}-{number}-{_status(number)[19]}"
    except (OSError, IndexError):  # a system without /proc, or DVC was killed meanwhile: the stage stands alone
        return ""


def _environment(process: int) -> list[bytes]:
    try:
        return (PROC / str(process) / "environ").read_bytes().split(b"\0")
    except PermissionError:  # another user's, so that it was not started for this stage
        return []


def _status(process: int) -> list[str]:
    """Return what /proc/…/stat says after the program's name: state, parent, …, at 19 the start in ticks."""
    return (PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
