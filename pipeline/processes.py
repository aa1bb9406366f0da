"""One training on several processes, of one host or of many: process 0 is the stage that DVC runs, the others follow.

Who takes part is said by Keras's own variables, KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
KERAS_DISTRIBUTION_PROCESS_ID. All processes run the same script on the same data; each trains on its part of every
batch. What the others write goes into a folder that is removed, and process 0 alone is recorded.
"""

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillery.data.errors import InputError, reason
from pipeline.stages import outs

ADDRESSES, COUNT, NUMBER = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
DEVICES = {  # of the stages that train
    "train_teacher": "train_teacher.devices",
    "distill": "student.devices",
    "train_scratch": "student.devices",
}
WAIT_SECONDS = 240.0  # for the others; after 300 JAX aborts a process, with a page of messages
STATUS = re.compile(r"[A-Z_]+: ")  # with which what XLA says begins, `UNKNOWN: Gloo AllGather failed: …`
AGAIN = "start all of them again, and training goes on after the last epoch that was finished"


@dataclass(frozen=True)
class Processes:
    """Those that train together.

    Attributes:
        address: of process 0, `10.0.0.1:1234`.
        count: how many they are.
        number: of this one, from 0.
    """

    address: str
    count: int
    number: int


def processes_of(
    stage: str, parameters: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Processes | None:
    """Return the processes that run a stage together; None where this one runs it alone.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat.
        environment: with Keras's variables, or without.

    Raises:
        InputError: when a variable is missing or invalid, the backend is another than JAX, or this process would
            follow a stage that one runs alone.
    """
    if not environment.get(COUNT):
        return None
    count = _whole_number(environment, COUNT, 1, 4096)
    if count == 1:
        return None
    number = _whole_number(environment, NUMBER, 0, count - 1)
    address = environment.get(ADDRESSES, "").split(",")[0]
    if not address.rpartition(":")[2].isdecimal():
        raise InputError(f"{ADDRESSES}: found {address!r}; accepted: host and port of process 0, 10.0.0.1:1234")
    name = DEVICES.get(stage)
    if name and parameters[name] > 1:
        if (backend := environment.get("KERAS_BACKEND", "")) != "jax":
            raise InputError(f"KERAS_BACKEND: found {backend!r}; accepted where {COUNT} is {count}: jax")
        return Processes(address, count, number)
    found = f"{name} is 1" if name else "it trains nothing"
    if number:
        raise InputError(f"{COUNT}: found {count}, but process 0 runs this stage alone: {found}")
    if name:
        print(f"note: {COUNT} is {count}, but this process trains alone: {found}", flush=True)
    return None


def _whole_number(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    found = environment.get(name, "")
    if not found.isdecimal() or not least <= int(found) <= most:
        raise InputError(f"{name}: found {found!r}; accepted: a whole number from {least} to {most}")
    return int(found)


def join(processes: Processes, fingerprint: str) -> None:
    """Wait for the other processes, and check that all have the same work. Nothing may have been computed before.

    Where they do not come this process ends with a line and exit code 1, while JAX still waits.

    Args:
        processes: those to join.
        fingerprint: of the stage's work, hexadecimal.

    Raises:
        InputError: when one has other parameters, code or data.
    """
    import jax
    import keras

    # Else a process that loses another is aborted a minute and a half later, with a page of messages.
    jax.config.update("jax_enable_recoverability", True)
    print(f"process {processes.number} of {processes.count}: waiting for the others at {processes.address}", flush=True)
    waiting = threading.Timer(WAIT_SECONDS, give_up, [processes])
    waiting.daemon = True
    waiting.start()
    with loss_told(processes):
        keras.distribution.initialize()
        waiting.cancel()
        from jax.experimental.multihost_utils import process_allgather

        works = process_allgather(np.frombuffer(bytes.fromhex(fingerprint), np.uint8))
    others = [str(number) for number, work in enumerate(works) if (work != works[0]).any()]
    if others:
        if processes.number == 0:
            with suppress(RuntimeError, ValueError):
                leave(processes)  # the others are ended by JAX when this one is, and would not come to say so
        raise InputError(
            f"process {', '.join(others)} of {processes.count} has other parameters, code, data or versions of packages"
            " than process 0; accepted: the same clone, and the same data by `dvc pull`"
        )


def give_up(processes: Processes) -> None:
    """End this process, which waits inside JAX and cannot be told."""
    found = f"the {processes.count} processes did not come together at {processes.address} within {WAIT_SECONDS:.0f} s"
    print(f"{found}; accepted: as many as {COUNT} says, all with the same {ADDRESSES}", flush=True)
    os._exit(1)


def share_folder(processes: Processes, folder: Path) -> None:
    """Give every process the files that process 0 has in a folder: what an interrupted training left.

    Args:
        processes: those that train together.
        folder: of each of them its own, with no files but in process 0.
    """
    from jax.experimental.multihost_utils import broadcast_one_to_all

    content = b""
    if processes.number == 0:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in sorted(folder.rglob("*.npz")):
                tar.add(path, str(path.relative_to(folder)))
        content = archive.getvalue()
    size = int(broadcast_one_to_all(np.asarray(len(content))))
    sent = np.frombuffer(content, np.uint8) if processes.number == 0 else np.zeros(size, np.uint8)
    received = np.asarray(broadcast_one_to_all(sent)).tobytes()
    if processes.number:
        with tarfile.open(fileobj=io.BytesIO(received)) as tar:
            tar.extractall(folder, filter="data")


def leave(processes: Processes) -> None:
    """Wait until all processes have come so far; those that follow end here, before process 0 does."""
    from jax.experimental.multihost_utils import sync_global_devices

    sync_global_devices("end of the stage")
    if processes.number:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # JAX would abort a process that process 0 leaves while it ends


@contextmanager
def loss_told(processes: Processes | None) -> Iterator[None]:
    """Say in one line that another process was lost, which JAX reports by the status of an operation."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if processes is None or not STATUS.match(str(error)):
            raise
        raise InputError(
            f"process {processes.number} of {processes.count} lost the others"
            f" ({reason(str(error).split('Error dispatching computation: ')[-1])}); {AGAIN}"
        ) from error


def follow(stage: str, processes: Processes) -> None:
    """Run a stage beside process 0, which alone writes and is recorded.

    It runs in a process of its own, in a folder of links to what the stage reads: where process 0 dies, JAX aborts it.

    Args:
        stage: its name in `dvc.yaml`.
        processes: those that train together.

    Raises:
        InputError: when process 0 was lost.
    """
    with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
        link_inputs(stage, Path.cwd(), Path(folder))
        # Its input ends when this process does, however that is.
        command = [sys.executable, "-m", "pipeline.follower", stage]
        with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            try:
                messages = child.stderr.read()
            except BaseException:
                child.kill()
                raise
    if child.returncode < 0:
        raise InputError(f"process {processes.number} of {processes.count} lost process 0; {AGAIN}")
    sys.stderr.write(messages)
    if child.returncode:
        sys.exit(child.returncode)


def link_inputs(stage: str, project: Path, folder: Path) -> None:
    """Fill a folder with links to all that a project has, but for what a stage writes and what is hidden.

    Args:
        stage: its name in `dvc.yaml`.
        project: the project's folder.
        folder: an empty one.
    """
    written = {Path(out) for out in outs(stage)}
    opened = {parent for out in written for parent in out.parents}

    def fill(inside: Path) -> None:
        (folder / inside).mkdir(exist_ok=True)
        for path in (project / inside).iterdir():
            name = inside / path.name
            if name in opened:
                fill(name)
            elif name not in written and not path.name.startswith("."):
                (folder / name).symlink_to(path)

    fill(Path())
    for parent in opened:
        (folder / parent).mkdir(parents=True, exist_ok=True)


def end_with_parent() -> None:
    """Have this process end when the one that started it does, which keeps its standard input open until then."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
