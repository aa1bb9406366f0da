"""Arrays that are mapped from files: how much of them a process holds."""

import mmap
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BUDGET = 2**30  # bytes of mapped files that a process holds, but for what a single batch brings in


class MappedPages:
    """Gives back what random reads of mapped files brought into the process, whenever it is more than the budget.

    The pages stay in the system's file cache, where the next read finds them, as long as nobody needs the memory. Files
    that fit the budget as a whole are left alone, and so are arrays that are not mapped. How much is held is asked of
    Linux, which brings in from 4 kB to 2 MB around the place of a read; elsewhere nothing is given back.

    Args:
        arrays: those that are read.
        budget: bytes.
    """

    def __init__(self, arrays: Sequence[np.ndarray], budget: int = BUDGET):
        mapped = [array for array in arrays if isinstance(array, np.memmap)]
        large = sum(array.nbytes for array in mapped) > budget and _STATUS.is_file()
        self._maps = [array._mmap for array in mapped] if large else []
        self._most = mapped_bytes() + budget if large else 0

    def keep_to_budget(self) -> None:
        """To be called after every batch that was read."""
        if self._maps and mapped_bytes() > self._most:
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


_STATUS = Path("/proc/self/statm")


def mapped_bytes() -> int:
    """Bytes of files that this process holds mapped in memory, program libraries too; Linux only (proc(5), statm)."""
    return int(_STATUS.read_text().split()[2]) * resource.getpagesize()
