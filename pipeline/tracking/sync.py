"""Sends pending runs to MLflow: one process per repository, which the first stage starts and nobody waits for.

It follows the stages that write, lingers a little for the next one, since importing MLflow takes seconds, and ends.
`python -m pipeline.tracking.sync` sends, now, what an outage or a killed process left behind.
"""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import filelock

from pipeline.tracking.run_log import ERROR, LOG, WRITER_LOCK, is_free, pending, pending_runs, start_sync, sync_lock

POLL_SECONDS = 0.2
RETRY_SECONDS = 5.0
LINGER_SECONDS = 20.0  # from one stage of a pipeline to the next, which imports TensorFlow first
HAND_OVER_SECONDS = 30.0  # how long a command waits for the process in the background


class Sync:
    """Sends the runs of this repository, in order, again and again. The caller holds the lock.

    Attributes:
        seen: the runs found so far.
        failures: why runs could not be sent, by folder.
    """

    def __init__(self):
        self.seen: set[Path] = set()
        self.failures: dict[Path, str] = {}
        self._runs = {}

    def send(self) -> bool:
        """Send all that waits, the oldest run first; a failed run holds back only what must not be sent before it.

        Returns:
            Whether a stage is still writing, or a new run was found.
        """
        busy, held = False, {}
        for folder in pending_runs():
            writing = _is_writing(folder)  # before reading: what the stage wrote last is then seen
            busy |= writing or folder not in self.seen
            self.seen.add(folder)
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

    def _send(self, folder: Path, writing: bool, held: dict[str, str]) -> str:
        """Send a run, and where its server fails for a moment only, once more.

        Args:
            folder: the pending run's.
            writing: whether its stage goes on.
            held: reasons to wait, by server and by record; a failure adds to them.

        Returns:
            Why the run could not be sent; empty where it was.
        """
        from pipeline.tracking.mlflow_run import MlflowRun, answers  # slow: the lock is taken before it, not after

        reason, holds = "", str(folder)
        for _ in range(2):
            run = self._runs.pop(folder, None)
            try:
                run = run or MlflowRun(folder)
                holds = run.record
                if reason := held.get(run.server) or held.get(run.record, ""):
                    break
                run.send()
                if writing:
                    self._runs[folder] = run
                else:
                    run.close()
                    _remove(folder)
                return ""
            except Exception as error:  # whatever MLflow, its database, network or disk raises: the run is kept
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                if run and not answers(run.server):
                    holds = run.server
                    break
        held.setdefault(holds, f"{folder} has to go first: {reason}")
        return reason


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
    while goes_on:
        try:
            with filelock.FileLock(sync_lock()).acquire(timeout=1):  # a stage that looks whether it is free holds it
                used = time.monotonic()
                while time.monotonic() - used < LINGER_SECONDS:
                    if sync.send():
                        used = time.monotonic()
                    time.sleep(RETRY_SECONDS if sync.failures else POLL_SECONDS)
        except filelock.Timeout:
            return
        goes_on = not sync.seen.issuperset(pending_runs())  # a stage found the lock taken just before its release


def sync_pending() -> tuple[int, int]:
    """Send, once, the runs of stages that no longer run.

    Returns:
        How many of them were sent, and how many there were.
    """
    runs = [folder for folder in pending_runs() if not _is_writing(folder)]
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


def main(arguments: list[str]) -> int:
    """Send pending runs, and say how many were sent. Return 1 if some stay."""
    if arguments == ["--background"]:
        run_in_background()
        return 0
    sent, runs = sync_pending()
    print(f"{sent} of {runs} runs synced" + (f"; {runs - sent} stay in {pending()}" if sent < runs else ""))
    return int(sent < runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
