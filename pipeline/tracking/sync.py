"""Sends pending runs to MLflow: one process per repository, which the first stage starts and nobody waits for.

It follows the stages that write, lingers a little for the next one, since importing MLflow takes seconds, and ends.
`python -m pipeline.tracking.sync` sends, now, what an outage or a killed process left behind, and names what stays.

    python -m pipeline.tracking.sync                       send what waits
    python -m pipeline.tracking.sync --to URI [NAME ...]   send it to another server: all, or these runs
    python -m pipeline.tracking.sync --drop NAME [...]     give these runs up

A NAME is that of a run, or a server: all runs that wait for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import filelock

from distillery.data.errors import InputError
from distillery.data.files import atomic_write
from pipeline.machine import in_utf8
from pipeline.resume import repository
from pipeline.tracking.checkout import adopt_artifacts
from pipeline.tracking.run_log import (
    ERROR,
    LOG,
    SENT,
    WRITER_LOCK,
    is_free,
    pending,
    pending_runs,
    start_of,
    start_sync,
    sync_lock,
    take_notices,
)
from pipeline.tracking.servers import LOCAL, PasswordMissing, described, masked, present_server, server_of

POLL_SECONDS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 30.0  # before what failed is tried again
OTHER_PAUSE_SECONDS = 300.0  # for a server that MLFLOW_TRACKING_URI does not name any more
LINGER_SECONDS = 20.0  # from one stage of a pipeline to the next, which imports TensorFlow first
HAND_OVER_SECONDS = 30.0  # how long a command waits for the process in the background


class Sync:
    """Sends the runs of this repository, in order, again and again. The caller holds the lock.

    Attributes:
        seen: the runs found so far.
        failures: why runs could not be sent, by folder.
        denied: whether this process has a wrong password, or none for a stage of now, so that another has to send.
    """

    def __init__(self):
        self.seen: set[Path] = set()
        self.failures: dict[Path, str] = {}
        self.denied = False
        self._runs = {}
        self._stages: set[Path] = set()  # runs that were being written
        self._resting: dict[tuple[str, str], tuple[float, float, str]] = {}  # until when, the pause, and why

    def send(self) -> bool:
        """Send all that waits, the oldest run first; a failed run holds back only what must not be sent before it.

        Returns:
            Whether a stage is still writing, or a new run was found.
        """
        busy, now = False, time.monotonic()
        held = {key: reason for key, (until, _, reason) in self._resting.items() if now < until}
        for folder in pending_runs():
            writing = _is_writing(folder)  # before reading: what the stage wrote last is then seen
            busy |= writing or folder not in self.seen
            self.seen.add(folder)
            if writing:
                self._stages.add(folder)
            reason = self._send(folder, writing, held)
            if not reason:
                self.failures.pop(folder, None)
                (folder / ERROR).unlink(missing_ok=True)
            elif self.failures.get(folder) != reason:
                self.failures[folder] = reason
                print(f"{folder}: {reason}", flush=True)
                with suppress(OSError):  # a full disk
                    (folder / ERROR).write_text(reason, encoding="utf-8")
        return busy

    def leave_alone(self) -> None:
        """Do not ask servers that another process asked in vain a moment ago, and that nobody names now."""
        for folder in pending_runs():
            with suppress(OSError, ValueError, KeyError):  # it did not fail yet; its log is damaged
                asked = time.time() - (folder / ERROR).stat().st_mtime
                if (server := start_of(folder)["tracking_uri"]) != present_server():
                    until = time.monotonic() + OTHER_PAUSE_SECONDS - asked
                    reason = self.failures[folder] = (folder / ERROR).read_text(encoding="utf-8")
                    self._resting["server", server] = until, OTHER_PAUSE_SECONDS, reason

    def _send(self, folder: Path, writing: bool, held: dict[tuple[str, str], str]) -> str:
        """Send a run, and where its server fails for a moment only, once more.

        Args:
            folder: the pending run's.
            writing: whether its stage goes on.
            held: reasons to wait, by server, record and run; a failure adds to them.

        Returns:
            Why the run could not be sent; empty where it was.
        """
        from pipeline.tracking.mlflow_run import MlflowRun, answers, is_denied  # slow: after the lock is taken

        reason, holds = "", ("run", folder.name)
        if holds in held:
            return held[holds]
        for _ in range(2):
            run = self._runs.pop(folder, None)
            try:
                if not run and writing and not start_of(folder):  # it opened its log a moment ago
                    return ""
                run = run or MlflowRun(folder)
                keys = [("server", run.server), ("record", run.record)]
                if blocked := next((held[key] for key in keys if key in held), ""):
                    return self.failures.get(folder) or blocked
                holds = keys[1] if run.record else holds
                run.send()
                if writing:
                    self._runs[folder] = run
                else:
                    run.close()
                    _remove(folder)
                for key in keys:
                    self._resting.pop(key, None)
                return ""
            except Exception as error:  # whatever MLflow, its database, network or disk raises: the run is kept
                reason = masked(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                if isinstance(error, PasswordMissing):  # says nothing of the server, nor of the next stage's run
                    self.denied |= folder in self._stages
                    break
                self.denied |= is_denied(error) and run.server == present_server()
                if run and not answers(run.server):
                    holds = keys[0]
                    break
        if run and run.server != present_server():
            reason = f"for {described(run.server)}, which MLFLOW_TRACKING_URI does not name now: {reason}"
        self._rest(holds, reason)
        if folder in self.failures:
            (folder / ERROR).touch()  # for `leave_alone`
        held.setdefault(holds, f"{folder} has to go first: {reason}")
        return reason

    def _rest(self, key: tuple[str, str], reason: str) -> None:
        """Let what failed wait, longer each time."""
        _, pause, _ = self._resting.get(key, (0.0, FIRST_PAUSE_SECONDS / 2, ""))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if key[0] == "server" and key[1] != present_server():
            pause = OTHER_PAUSE_SECONDS
        self._resting[key] = time.monotonic() + pause, pause, reason


def _is_writing(folder: Path) -> bool:
    try:
        return not is_free(folder / WRITER_LOCK)
    except OSError:  # another user's, perhaps; then sending fails, too
        return False


def _remove(folder: Path) -> None:
    """Remove a run that was sent. Note: its log outlives its files, so that after a kill in between it is removed."""
    shutil.rmtree(folder / "files", ignore_errors=True)
    (folder / LOG).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def run_in_background() -> None:
    """Send what waits and what stages write, until no stage has written for a while."""
    sync, goes_on = Sync(), True
    sync.leave_alone()
    while goes_on:
        try:
            with filelock.FileLock(sync_lock()).acquire(timeout=1):  # a stage that looks whether it is free holds it
                used = time.monotonic()
                while time.monotonic() - used < LINGER_SECONDS and not sync.denied:
                    if sync.send():
                        used = time.monotonic()
                    time.sleep(POLL_SECONDS)
        except filelock.Timeout:
            return
        # A stage found the lock taken just before its release; or its end starts a process with the password of then.
        goes_on = not sync.denied and not sync.seen.issuperset(pending_runs())


def waiting() -> list[Path]:
    """Return the folders of the runs whose stages no longer run."""
    return [folder for folder in pending_runs() if not _is_writing(folder)]


def sync_pending() -> tuple[int, int]:
    """Send, once, the runs of stages that no longer run.

    Returns:
        How many of them were sent, and how many there were.
    """
    runs = waiting()
    lock, deadline = filelock.FileLock(sync_lock()), time.monotonic() + HAND_OVER_SECONDS
    left = runs
    while left and time.monotonic() < deadline:
        with suppress(filelock.Timeout), lock.acquire(timeout=1):  # else the process in the background sends them
            Sync().send()
            deadline = time.monotonic()
        left = [folder for folder in runs if (folder / LOG).is_file()]
    if any(folder not in runs for folder in pending_runs()):
        start_sync()  # for the stages that found the lock taken
    return len(runs) - len(left), len(runs)


def chosen(names: Sequence[str]) -> list[Path]:
    """Return the folders of the waiting runs with these names, or for these servers; all of them if there are no names.

    Raises:
        InputError: if a name fits none.
    """
    found, runs = [], waiting()
    for name in names:
        fits = [run for run in runs if Path(name).name == run.name or server_of(name) == _server(run)]
        if not fits:
            known = ", ".join(sorted({run.name for run in runs} | {described(_server(run)) for run in runs}))
            raise InputError(
                f"{masked(name)}: no run with this name waits, nor for such a server; found: {known or 'none'}"
            )
        found += fits
    return sorted({*found}) if names else runs


def _server(folder: Path) -> str:
    """Return the server for which a run waits; the local one where its log does not say."""
    try:
        return start_of(folder).get("tracking_uri", LOCAL)
    except ValueError:  # damaged
        return LOCAL


def redirect(folder: Path, server: str) -> None:
    """Let a waiting run go to another server, from its beginning. The caller holds the lock."""
    first, _, rest = (folder / LOG).read_bytes().partition(b"\n")
    try:
        start = json.loads(first) | {"tracking_uri": server}
    except ValueError:
        raise InputError(f"{folder}: its log is damaged; `--drop {folder.name}` gives it up") from None
    if start["tracking_uri"] == _server(folder):
        return
    (folder / SENT).unlink(missing_ok=True)
    with atomic_write(folder / LOG) as temporary:
        temporary.write_bytes(json.dumps(start, ensure_ascii=False).encode() + b"\n" + rest)


def main(arguments: list[str]) -> int:
    """Send pending runs, and say how many were sent. Return 1 if some stay."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.tracking.sync",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--to", metavar="URI", help="send the runs to this server instead")
    parser.add_argument("--drop", action="store_true", help="give the named runs up")
    parser.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", metavar="NAME", nargs="*", help="a waiting run, or a server")
    options = parser.parse_args(arguments)
    if bool(options.names) > bool(options.to or options.drop) or options.drop > bool(options.names and not options.to):
        parser.error("--drop needs names, --to takes some, and each stands alone")
    os.chdir(repository())  # to which a database may be relative
    if options.background:
        run_in_background()
        return 0
    if options.to:
        os.environ["MLFLOW_TRACKING_URI"] = options.to  # with its password, which no log keeps
    try:
        if options.to or options.drop:
            change(chosen(options.names), server_of(options.to) if options.to else None)
        sent, runs = sync_pending()
        moved = adopt_artifacts()
    except InputError as error:
        sys.exit(f"sync: {error}")
    if moved:
        print(moved)
    for line in take_notices():
        print(line)
    if sent < runs:
        print("`--to URI NAME` sends a run to another server, `--drop NAME` gives it up; a NAME may also be a server")
    print(f"{sent} of {runs} runs synced" + (f"; {runs - sent} stay in {pending()}" if sent < runs else ""))
    return int(sent < runs)


def change(runs: Sequence[Path], server: str | None) -> None:
    """Redirect waiting runs to a server, or drop them if there is none."""
    try:
        with filelock.FileLock(sync_lock()).acquire(timeout=HAND_OVER_SECONDS):
            for folder in runs:
                if server is None:
                    _remove(folder)
                    print(f"{folder.name} dropped")
                else:
                    redirect(folder, server)
    except filelock.Timeout:
        raise InputError("a stage is running and its runs are being sent; try again when it has ended") from None


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
