"""How far a long work is, and how long it still takes: a bar on a terminal, else a line every few seconds."""

import sys
import time
from collections.abc import Mapping

LINE_SECONDS, BAR_SECONDS = 10.0, 0.2
BAR = 30  # characters


class Progress:
    """Says how far a work is. Short work says nothing: the first line comes when the first interval is over.

    Args:
        what: the work, "epoch 3/12".
        total: steps of this part of the work.
        later: steps of the same kind that follow this part, for the time left.
    """

    def __init__(self, what: str, total: int, later: int = 0):
        self._what, self._total, self._later = what, total, later
        self._terminal = sys.stdout.isatty()
        self._interval = BAR_SECONDS if self._terminal else LINE_SECONDS
        self._said, self._drawn = time.monotonic(), False
        self._first: tuple[float, int] | None = None  # what precedes it, such as compiling, is no measure of speed

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Note that so many steps are done, and print it if it is time.

        Args:
            done: steps, of `total`.
            values: what is shown beside them, such as the loss.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if now - self._said < self._interval:
            return
        self._said = now
        shown = "".join(f", {name} {value:.4f}" for name, value in (values or {}).items())
        line = f"{self._what}, step {done:,} of {self._total:,}{shown}{self._left(now, done)}"
        if self._terminal:
            bar = "=" * round(BAR * done / self._total)
            print(f"\r[{bar:{BAR}}] {line}\x1b[K", end="", flush=True)
            self._drawn = True
        else:
            print(line, flush=True)

    def _left(self, now: float, done: int) -> str:
        began, before = self._first
        if done == before:
            return ""
        seconds = (now - began) / (done - before) * (self._total - done + self._later)
        return f", {duration(seconds)} left"

    def close(self) -> None:
        """Remove the bar."""
        if self._drawn:
            print("\r\x1b[K", end="", flush=True)


def duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
