"""Many machines: what many experiments, many runs and many images cost, and what Ray costs where it is of no use.

pip install -r requirements/cluster.txt
python -m benchmarks cluster
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from benchmarks.record import part_arguments, part_of, report
from experiments.run import ROOT, clone, environment

EXPERIMENTS, RUNS, ROWS, CLASSES = 1_000, 10_000, 10_000_000, 10
METRICS, PARAMETERS = 20, 40  # of a run
WRITTEN = 20  # runs that MLflow writes itself, before and after the others are copied
PORT = 5077
IMAGES, SIDE = 4_000, 96
STAGES = 3  # that each experiment runs anew
PARTS = ("experiments", "run_cache", "runs", "rows", "alone", "ray")


def main() -> dict:
    """Measure each in a process of its own."""
    found = {
        "counts": {
            "experiments": EXPERIMENTS,
            "runs": RUNS,
            "metrics": METRICS,
            "parameters": PARAMETERS,
            "written": WRITTEN,
            "rows": ROWS,
            "classes": CLASSES,
            "images": IMAGES,
            "side": SIDE,
        }
    }
    for part in PARTS:
        report(part)
        found[part] = part_of("cluster", part)
        report(str(found[part]))
    return found


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def experiments() -> dict[str, float]:
    """Time Git and DVC with many experiments below one commit: each a commit with other parameters, as DVC makes it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, remote = Path(temporary) / "clone", Path(temporary) / "remote.git"
        clone(folder)

        def run(*words: str) -> str:
            quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            return subprocess.run(words, cwd=folder, env=environment(), check=True, **quiet).stdout

        head = run("git", "rev-parse", "HEAD").strip()
        params = (folder / "params.yaml").read_text(encoding="utf-8")
        with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=folder, stdin=subprocess.PIPE) as importer:
            for number in range(EXPERIMENTS):
                text = params.replace("temperature: 8.0", f"temperature: {1 + number / 100}").encode()
                words = f"commit refs/exps/{head[:2]}/{head[2:]}/e-{number:04d}\n"
                words += "committer b <b@localhost> 1700000000 +0000\ndata 7\na trial\n"
                words += f"from {head}\nM 100644 inline params.yaml\ndata {len(text)}\n"
                importer.stdin.write(words.encode() + text + b"\n")
        run("git", "init", "--quiet", "--bare", str(remote))
        run("git", "remote", "set-url", "origin", str(remote))
        return {
            "push": seconds(lambda: run("git", "push", "--quiet", "origin", "HEAD:main", "refs/exps/*:refs/exps/*")),
            "ls_remote": seconds(lambda: run("git", "ls-remote", "origin")),
            "clone": seconds(lambda: run("git", "clone", "--quiet", str(remote), str(Path(temporary) / "other"))),
            "list": seconds(lambda: run("dvc", "exp", "list", "--name-only")),
            "list_remote": seconds(lambda: run("dvc", "exp", "list", "--name-only", "origin")),
            "show": seconds(lambda: run("dvc", "exp", "show", "--csv")),
        }


def run_cache() -> dict[str, float]:
    """Time `dvc fetch --run-cache` beside `dvc fetch`, with what many experiments left in a remote that is a folder.

    The data are not in the remote, so that either ends with exit code 1, after the run cache.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder, remote = Path(temporary) / "clone", Path(temporary) / "storage"
        clone(folder)
        for number in range(EXPERIMENTS * STAGES):
            key = sha256(f"{number % STAGES}".encode()).hexdigest()
            entry = remote / "runs" / key[:2] / key / sha256(f"{number}".encode()).hexdigest()
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.write_text("cmd: python -m pipeline distill\n" + "x" * 2000)

        def run(*words: str, check: bool = True) -> None:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(["dvc", *words], cwd=folder, env=environment(), check=check, **quiet)

        run("cache", "dir", "--local", str(Path(temporary) / "cache"))
        run("remote", "add", "--local", "--default", "storage", str(remote))
        without = seconds(lambda: run("fetch", "distill", check=False))
        first = seconds(lambda: run("fetch", "--run-cache", "distill", check=False))
        entries = sum(path.is_file() for path in (Path(temporary) / "cache").rglob("*"))
        again = seconds(lambda: run("fetch", "--run-cache", "distill", check=False))
        return {"without": without, "first": first, "again": again, "entries": entries}


@contextmanager
def mlflow_server(database: str, folder: str) -> Iterator[str]:
    """Yield the address of an MLflow server on a database."""
    words = ["mlflow", "server", f"--port={PORT}", "--workers=1", f"--backend-store-uri={database}"]
    words.append(f"--artifacts-destination={folder}/artifacts")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, start_new_session=True, **quiet)
    try:
        while True:
            with suppress(OSError):
                connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            if server.poll() is not None:
                sys.exit("the MLflow server ended")
            time.sleep(0.3)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def copy_run(database, run: str, copies: range) -> None:
    """Copy a run in MLflow's tables: with numbers, metrics and a tag of its own each.

    Args:
        database: a connection of SQLAlchemy's.
        run: its id.
        copies: their numbers.
    """
    from sqlalchemy import MetaData, text

    own = {
        "run_uuid": "md5(number::text)",
        ("tags", "value"): "'key-' || number",
        ("metrics", "value"): "random()",
        ("latest_metrics", "value"): "random()",
    }
    tables = MetaData()
    tables.reflect(database)
    for table in ("runs", "params", "tags", "metrics", "latest_metrics"):
        columns = [column.name for column in tables.tables[table].columns]
        taken = ", ".join(own.get((table, name), own.get(name, name)) for name in columns)
        words = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table}"
        words += f", generate_series({copies.start}, {copies.stop - 1}) AS number WHERE run_uuid = :run"
        database.execute(text(words), {"run": run})


def runs() -> dict[str, float]:
    """Time MLflow on PostgreSQL with many runs: writing one, finding one by its tag, and the best thousand."""
    import mlflow
    import pgserver
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_TIMEOUT": "600"}
    with tempfile.TemporaryDirectory() as folder, pgserver.get_server(folder, cleanup_mode="stop") as postgresql:
        store = SqlAlchemyStore(postgresql.get_uri(), f"{folder}/artifacts")
        experiment = store.create_experiment("many")

        def write(number: int) -> str:
            run = store.create_run(experiment, "b", number, [], f"run-{number}").info.run_id
            metrics = [Metric(f"metric_{one}", number / RUNS, 1, 0) for one in range(METRICS)]
            params = [Param(f"parameter_{one}", str(number + one)) for one in range(PARAMETERS)]
            store.log_batch(run, metrics, params, [RunTag("distillery.repro", f"key-{number}")])
            return run

        first = write(0)
        alone = seconds(lambda: [write(number) for number in range(1, WRITTEN)]) / (WRITTEN - 1)
        with store.engine.begin() as database:
            copy_run(database, first, range(WRITTEN, RUNS))
        among = seconds(lambda: [write(number) for number in range(RUNS, RUNS + WRITTEN)]) / WRITTEN
        with mlflow_server(postgresql.get_uri(), folder) as address:
            client = mlflow.MlflowClient(address)

            def find(*words) -> float:
                return min(seconds(lambda: client.search_runs([experiment], *words)) for _ in range(3))

            return {
                "write_alone": alone,
                "write_among": among,
                "find_by_tag": find(f"tags.`distillery.repro` = 'key-{RUNS // 2}'"),
                "best_ten": find("", 1, 10, ["metrics.metric_0 DESC"]),
                "best_thousand": find("", 1, 1000, ["metrics.metric_0 DESC"]),
            }


def rows() -> dict[str, float]:
    """Time the transfer set of many images: a teacher that costs next to nothing, so that what is left is our own."""
    from distillery.distillation.transfer_set import save_transfer_set, view_outputs
    from distillery.learning.augmentation import Policy, Views

    class Teacher:
        digest = "none"

        def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
            return {"logits": images.reshape(len(images), -1)[:, :1] + np.arange(CLASSES, dtype=np.float32)}

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (ROWS, 2, 2, 1))
        views = Views(Policy(), ROWS, 1)
        (folder / "shards").mkdir()

        def transfer() -> None:
            outputs = view_outputs(Teacher(), images, views, 0, folder / "shards")
            save_transfer_set(folder / "transfer", [outputs], "teacher", "images", views)

        took = seconds(transfer)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "seconds": took,
            "rows_per_second": ROWS / took,
            "gigabytes": (folder / "transfer/logits.npy").stat().st_size / 1e9,
            "peak_gigabytes": peak / 1e9,
        }


def save_mobilenet(folder: Path) -> Path:
    """Write a MobileNetV2 that has learned nothing, which costs as much as one that has, and return the folder."""
    from distillery.learning.models import ModelSpec, build_model
    from distillery.teachers.teacher import save_teacher

    model = build_model(ModelSpec(ROOT / "architectures/mobilenet_v2.py", (SIDE, SIDE, 3), CLASSES), seed=0)
    save_teacher(model, folder, np.zeros((1, SIDE, SIDE, 3), np.uint8), "float32")
    return folder


def images_per_second(teacher) -> float:
    """Return how fast a teacher goes through a view of generated images, after it was loaded."""
    from distillery.distillation.transfer_set import view_outputs
    from distillery.learning.augmentation import Policy, Views

    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    view_outputs(teacher, images, Views(Policy(), IMAGES, 1), 0)
    return IMAGES / seconds(lambda: view_outputs(teacher, images, Views(Policy(), IMAGES, 1), 0))


def alone() -> dict[str, float]:
    """Time `transfer`'s work in one process, on one core and on all."""
    from distillery.teachers.teacher import load_teacher

    with tempfile.TemporaryDirectory() as temporary:
        folder = save_mobilenet(Path(temporary))
        found = {"all_cores": images_per_second(load_teacher(folder))}
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return found | {"one_core": images_per_second(load_teacher(folder))}


def ray() -> dict[int, float]:
    """Time the same on a Ray cluster of processes of this machine, by its number of nodes, up to one for each core."""
    from ray import shutdown
    from ray.cluster_utils import Cluster

    from distillery.distillation.transfer_on_ray import TeacherOnRay

    cores, found = sorted(os.sched_getaffinity(0)), {}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 10**9})
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = save_mobilenet(Path(temporary))
            for number, core in enumerate(cores, start=1):
                os.sched_setaffinity(0, {core})  # the node inherits it
                cluster.add_node(num_cpus=1, object_store_memory=10**9)
                os.sched_setaffinity(0, {cores[-1]})  # a batch gets as many cores as this process has
                found[number] = images_per_second(TeacherOnRay(folder, cluster.address))
                shutdown()
        return found
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    (name,) = part_arguments("cluster", 1)
    print(json.dumps(globals()[name]()))
