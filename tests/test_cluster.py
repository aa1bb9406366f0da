"""A search on a real Ray cluster of three nodes, with a Git remote, DVC's remote on S3 and MLflow on PostgreSQL.

With CLUSTER=1 in the environment: `pip install -r requirements/cluster.txt && CLUSTER=1 pytest tests/test_cluster.py`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from conftest import change_params, commit, environment, free_port, run
from mlflow_server import Server, postgresql
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ruamel.yaml import YAML

from experiments import grid, search_ray, search_trials

SPACE = ("distill.temperature=1,2,4,8", "distill.alpha=0.1,0.5,0.9", "--sampler", "grid", "--name", "s", "--cpus", "1")
KEYS = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[str]:
    """The address of a server that speaks S3, with a bucket in it."""
    import boto3

    address = f"http://127.0.0.1:{free_port()}"
    words = [sys.executable, "-m", "moto.server", "--port", address.rpartition(":")[2]]
    with open(tmp_path_factory.mktemp("s3") / "log.txt", "w") as output:
        server = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    own = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **own)
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="bucket")
            break
        except Exception:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.3)
    yield address
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Iterator[str]:
    """The address of an MLflow server on PostgreSQL."""
    with postgresql(tmp_path_factory.mktemp("postgresql")) as database:
        server = Server(tmp_path_factory.mktemp("server"), database)
        server.start()
        yield f"http://127.0.0.1:{server.port}"
        server.kill()


@pytest.fixture(scope="module")
def project(pipeline, s3, tmp_path_factory) -> Path:
    """A clone of the shared run with a student each, and its remotes."""
    folder = Path(shutil.copytree(pipeline, tmp_path_factory.mktemp("cluster") / "a project", symlinks=True))
    change_params(folder, {"student": {"seeds": [0]}})
    commit(folder, "one student")
    run(folder, "git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder.parent / "shared.git"))
    run(folder, "git", "remote", "add", "origin", str(folder.parent / "shared.git"))
    run(folder, "git", "push", "--quiet", "origin", "HEAD:main")
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "storage", "s3://bucket/dvc", "--local")
    for key, value in {"endpointurl": s3, **KEYS}.items():
        run(folder, "dvc", "remote", "modify", "--quiet", "--local", "storage", key, value)
    run(folder, "dvc", "push", "--quiet", "--run-cache")
    return folder


def lock_of(folder: Path, ref: str) -> dict:
    text = subprocess.check_output(["git", "show", f"{ref}:dvc.lock"], cwd=folder, text=True)
    return YAML(typ="safe").load(text)["stages"]


def digest(lock: dict, stage: str) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in lock[stage]["outs"]}


@pytest.fixture(scope="module")
def searched(project, tracking, tmp_path_factory) -> str:
    """What a search of 12 trials printed, one of whose three nodes was killed by SIGKILL in the middle."""
    nodes = str(tmp_path_factory.mktemp("nodes"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    others = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
    said = project.parent / "search.txt"
    try:
        with open(said, "w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.search", *SPACE, "--ray", cluster.address, "--folder", nodes],
                cwd=project,
                env=environment(MLFLOW_TRACKING_URI=tracking, PYTHONUNBUFFERED="1"),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 400
        while "3 of 12: " not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        cluster.remove_node(others[0], allow_graceful=False)
        assert process.wait(timeout=900) == 0, said.read_text()
    finally:
        cluster.shutdown()
    return said.read_text()


@pytest.mark.long
def test_every_trial_is_there_once_in_dvc_and_in_mlflow_and_the_teacher_ran_once(project, tracking, searched):
    trials = json.loads((project / ".distillery/searches/s/search.json").read_text())["trials"]
    assert [one["state"] for one in trials] == ["complete"] * 12
    names = [f"s-{number:04d}" for number in range(12)]
    assert sorted(run(project, "dvc", "exp", "list", "--name-only").stdout.split()) == names
    shared = run(project, "dvc", "exp", "list", "--name-only", "origin").stdout.split()
    assert sorted(shared) == names
    client = mlflow.MlflowClient(tracking)
    experiment = client.get_experiment_by_name("distillery").experiment_id
    found = sorted(one.info.run_name for one in client.search_runs([experiment], max_results=500))
    assert found == sorted(["s", *names, *(f"{name}/distill" for name in names)])
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()
    locks = [lock_of(project, search_trials.experiment_ref(head, name)) for name in names]
    assert len({json.dumps(digest(lock, "train_teacher")) for lock in locks}) == 1
    assert "Traceback" not in searched


@pytest.mark.long
def test_digests_are_those_of_the_same_experiments_alone(project, searched, tmp_path):
    trials = json.loads((project / ".distillery/searches/s/search.json").read_text())["trials"]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()
    alone = Path(shutil.copytree(project, tmp_path / "alone", symlinks=True))
    run(alone, "dvc", "remote", "remove", "storage", "--local")
    for one in trials[::6]:
        words = [word for key, value in one["setting"].items() for word in ("-S", f"{key}={value}")]
        answer = run(alone, "dvc", "exp", "run", "distill", "--name", f"alone-{one['trial']}", *words)
        assert "Running stage 'distill'" in answer.stdout
        ours = digest(lock_of(project, search_trials.experiment_ref(head, one["experiment"])), "distill")
        theirs = digest(lock_of(alone, search_trials.experiment_ref(head, f"alone-{one['trial']}")), "distill")
        assert ours == theirs


@pytest.mark.long
def test_another_machine_takes_a_trial_to_the_test_set_and_trains_nothing(project, searched, tmp_path):
    run(tmp_path, "git", "clone", "--quiet", str(project.parent / "shared.git"), "other")
    other = tmp_path / "other"
    shutil.copy(project / ".dvc/config.local", other / ".dvc/config.local")
    run(other, "dvc", "exp", "pull", "--quiet", "--run-cache", "origin", "s-0005")
    run(other, "dvc", "exp", "apply", "s-0005")
    answer = run(other, "dvc", "repro", "--pull", "transfer", "distill")
    assert "Running stage" not in answer.stdout
    assert (other / "models/distilled/seed_0.keras").is_file()


@pytest.mark.long
def test_a_grid_is_trained_by_the_nodes_and_evaluated_here(project, tracking, searched, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 10**8})
    axes = {"distill.temperature": [1, 2], "distill.alpha": [0.1]}
    try:
        for _ in range(2):  # the second finds all done
            grid.train_on_ray(project, axes, [], ["--ray", cluster.address, "--cpus", "1"])
    finally:
        cluster.shutdown()
    said = capfd.readouterr().out
    assert said.count("Running stage 'evaluate'") == 2
    assert "Running stage 'distill'" not in said
    rows = grid.pairs(json.loads(run(project, "dvc", "exp", "show", "--json").stdout))
    assert [(row["temperature"], row["alpha"]) for row in rows] == [(1.0, 0.1), (2.0, 0.1)]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()
    trials = json.loads((project / ".distillery/searches/s/search.json").read_text())["trials"]
    for temperature in (1.0, 2.0):
        setting = {"distill.temperature": temperature, "distill.alpha": 0.1}
        (trial,) = (one["experiment"] for one in trials if one["setting"] == setting)
        locks = [
            lock_of(project, search_trials.experiment_ref(head, name)) for name in (f"grid-{temperature}-0.1", trial)
        ]
        assert digest(locks[0], "distill") == digest(locks[1], "distill")


@pytest.mark.long
@pytest.mark.parametrize("nodes", [2, 4])
def test_transfer_on_a_cluster_writes_the_bytes_of_one_process_though_a_node_is_lost(pipeline, tmp_path, nodes):
    folder = Path(shutil.copytree(pipeline, tmp_path / "clone", symlinks=True))
    change_params(folder, {"student": {"max_shift": 1, "views": 5}, "transfer": {"embedding": True}})
    run(folder, "python", "-m", "pipeline", "transfer")
    alone = {path.name: path.read_bytes() for path in (folder / "data/transfer").iterdir()}
    shutil.rmtree(folder / "data/transfer")
    cores = len(os.sched_getaffinity(0))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 10**8})
    try:
        others = [cluster.add_node(num_cpus=cores, object_store_memory=10**8) for _ in range(nodes)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "transfer"],
            cwd=folder,
            env=environment(RAY_ADDRESS=cluster.address, DVC_ROOT=str(folder), PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("view 2 of 5: "):
                cluster.remove_node(others[0], allow_graceful=False)
        assert process.wait() == 0, said
    finally:
        cluster.shutdown()
    assert {path.name: path.read_bytes() for path in (folder / "data/transfer").iterdir()} == alone


def test_what_runs_on_a_node_needs_nothing_of_this_project_to_begin(tmp_path):
    cloudpickle.register_pickle_by_value(search_ray)
    job = search_ray.Job("url", "s", "ref", "commit", "base", [], "", {}, "folder")
    (tmp_path / "task").write_bytes(cloudpickle.dumps((search_ray.run_trial, search_ray.Logs, job)))
    script = f"from ray import cloudpickle; cloudpickle.load(open({str(tmp_path / 'task')!r}, 'rb'))"
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({}, ["--ray", "auto"], "MLFLOW_TRACKING_URI: found nothing; accepted with --ray: the address of a server"),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, ["--ray", "127.0.0.1:9"], "no cluster answers there"),
        ({}, ["--ray", "auto", "--git-remote", "other"], "--git-remote: found 'other'; accepted: origin"),
        ({}, ["--ray", "auto", "--cpus", "0"], "--cpus: found 0; accepted: 1 and more"),
        ({}, ["--ray", "auto", "--gpus", "-1"], "--gpus: found -1; accepted: 0 and more"),
    ],
)
def test_what_is_missing_is_said_in_a_line_before_any_work(project, changes, words, message):
    answer = run(project, "python", "-m", "experiments.search", *SPACE[:5], "t", *words, check=False, **changes)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (project / ".distillery/searches/t").exists()
