"""How much memory this process may still take."""

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

GROUP, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
FILES = {  # of a control group: by the controllers that its line names, where it is mounted, its limit, what it uses
    "": ("", "memory.max", "memory.current"),  # version 2
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),  # version 1
}


def available_memory() -> int:
    """Return bytes: what the machine has available, or less where a control group or `ulimit -v` allows less."""
    limits = [psutil.virtual_memory().available, *_left_in_groups(GROUP, ROOT)]
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses != resource.RLIM_INFINITY:
        limits.append(addresses - psutil.Process().memory_info().vms)
    return max(min(limits), 0)


def _left_in_groups(process: Path, root: Path) -> Iterator[int]:
    """Yield what is left of the limits of the control groups around a process; cached files count as free."""
    for line in process.read_text().splitlines() if process.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in FILES:
            continue
        mount, limit, used = FILES[controllers]
        group = root / mount / path.lstrip("/")
        for folder in (group, *group.parents[: len(Path(path).parts) - 1]):
            # In a container the path may be the host's: then only the mount itself is there.
            if (folder / limit).is_file() and (allowed := (folder / limit).read_text().strip()) != "max":
                statistics = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
                cached = int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
                yield int(allowed) - int((folder / used).read_text()) + cached
