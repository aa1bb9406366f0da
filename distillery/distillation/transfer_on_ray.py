"""A teacher whose outputs the nodes of a Ray cluster compute."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from distillery.distillation.ray_cluster import connect, has_node_for
from distillery.teachers.teacher import load_teacher

AHEAD = 2  # batches for each place where one is computed: one is computed while the next travels
PACKAGE = Path(__file__).resolve().parents[1]
_loaded: dict[str, object] = {}  # teachers by their digest, in a process of a node: each loads its own once


class TeacherOnRay:
    """A teacher with the outputs of `load_teacher`'s, batch by batch the same, computed on many machines.

    Batches are Ray's tasks: a node that joins is given some, those of a node that is lost are computed again. The
    nodes need the requirements alone; this package and the teacher's files are sent to them.

    Args:
        folder: of the teacher, as `load_teacher` takes it.
        address: of the cluster, `auto` or `host:port`.

    Attributes:
        digest: of the teacher.

    Raises:
        InputError: when Ray is not installed, no cluster is there, or a file of the teacher is missing or damaged.
    """

    def __init__(self, folder: Path, address: str):
        self._teacher = load_teacher(folder)
        self.digest = self._teacher.digest
        connect("RAY_ADDRESS", address, runtime_env={"py_modules": [str(PACKAGE)]})
        import ray

        self._cpus, self._gpus = len(os.sched_getaffinity(0)), min(1, ray.cluster_resources().get("GPU", 0))
        if not has_node_for(self._cpus, self._gpus):
            wanted = f"{self._cpus} CPUs, as this machine has, and {self._gpus:g} GPUs"
            print(f"note: no node of the cluster has {wanted}; batches wait until one joins", flush=True)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self._files = ray.put(files)
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_retries": -1}
        self._compute = ray.remote(outputs_on_a_node).options(**options)

    def outputs(self, images: np.ndarray, inner: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Return the outputs by name, computed here."""
        return self._teacher.outputs(images, inner)

    def outputs_in_order(
        self, batches: Iterable[np.ndarray], inner: tuple[str, ...] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of each batch, in the order of the batches, computed on the nodes."""
        import ray

        waiting = deque()
        for batch in batches:
            waiting.append(self._compute.remote(self.digest, self._files, batch, inner))
            while len(waiting) > AHEAD * self._places():
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())

    def _places(self) -> int:
        """Return how many batches the nodes that are there now compute at the same time."""
        import ray

        there = ray.cluster_resources()
        return max(1, int(there.get("GPU", 0) if self._gpus else there.get("CPU", 0) // self._cpus))


def outputs_on_a_node(
    digest: str, files: Mapping[str, bytes], batch: np.ndarray, inner: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return a teacher's outputs on a batch.

    Args:
        digest: of the teacher.
        files: of the teacher's folder, their content by name.
        batch: uint8, (n, height, width, channels).
        inner: of `embedding` and `attention`.
    """
    if digest not in _loaded:
        folder = Path(tempfile.mkdtemp(prefix="teacher-"))
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        _loaded[digest] = load_teacher(folder)
    return _loaded[digest].outputs(batch, inner)
