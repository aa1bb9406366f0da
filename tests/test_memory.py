"""How much memory there is: under a real limit, and as the files of control groups say."""

import subprocess
import sys

import psutil

from distillery.datasets.memory import _left_in_groups, available_memory


def test_a_limit_of_the_shell_counts():
    assert 0 < available_memory() <= psutil.virtual_memory().total
    program = "from distillery.datasets.memory import available_memory; print(available_memory())"
    answer = subprocess.run(
        ["bash", "-c", f'ulimit -v 2000000; exec "{sys.executable}" -c "{program}"'],
        capture_output=True, text=True, check=True, env={"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert int(answer.stdout) < 2_000_000 * 1024


def test_the_smallest_of_the_groups_around_a_process_counts(tmp_path):
    process, root = tmp_path / "cgroup", tmp_path / "groups"
    for folder, limit in (("", "max"), ("work", "5000"), ("work/job", "9000")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "memory.max").write_text(f"{limit}\n")
        (root / folder / "memory.current").write_text("3000\n")
        (root / folder / "memory.stat").write_text("anon 2000\ninactive_file 700\n")
    process.write_text("1:name=systemd:/\n0::/work/job\n")
    assert sorted(_left_in_groups(process, root)) == [2700, 6700]

    old = root / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("4000\n")
    (old / "memory.usage_in_bytes").write_text("1000\n")
    (old / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 100\n")
    process.write_text("4:memory:/host/path/that/is/not/here\n")
    assert list(_left_in_groups(process, root)) == [3100]
    process.unlink()
    assert list(_left_in_groups(process, root)) == []
