"""One real pipeline run on scikit-learn's digits, in a clone, is shared by all tests that need one."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from filelock import FileLock
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

gc.disable()  # until all tests are imported
ROOT = Path(__file__).resolve().parent.parent
MADE = ("metrics/", "plots/", "MODEL_CARD.md", "dvc.lock")  # by the pipeline, and in Git
# A plain machine has no browser to drive and no Ray, and PyTorch is gigabytes: these tests are asked for.
ASKED_FOR = {
    "BROWSER": "test_app_in_browser.py",
    "CLUSTER": "test_cluster.py",
    "PYTORCH": "test_teacher_examples.py",
}
collect_ignore = [file for variable, file in ASKED_FOR.items() if not os.environ.get(variable)]
SMALL = {  # digits, and as little training as shows a result
    "prepare": {"dataset": "datasets/digits.py"},
    "student": {
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 0.003,
        "precision": "float32",
        "seeds": [0, 1],
        "max_shift": 0,
        "views": 1,
    },
    "train_teacher": {"epochs": 4, "batch_size": 32, "precision": "float32", "max_shift": 0},
    "train_scratch": {"label_smoothing": 0.1, "learning_rate": 0.002},
    "distill": {"temperature": 4.0, "alpha": 0.1},
    "timing": {"rounds": 5, "batch": 100},
    "export": {"calibration_images": 100, "int8_max_loss": 5.0},  # there are 144 validation images
}


SHAPE = (8, 8, 1)
NORMALISED = """from keras import layers

def features(pixels, dropout):
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(8, 3, 2)(layers.Rescaling(1 / 16)(pixels)))
    return layers.Dropout(dropout)(layers.Flatten()(layers.ReLU()(x)))
"""


def spec(model: str | Path, image_shape: tuple[int, ...] = SHAPE, **changes):
    """Return the spec of a model of the catalogue, or of a file, for digits."""
    from distillery import ModelSpec  # imports Keras, which tests of the pipeline do without

    path = model if isinstance(model, Path) else ROOT / f"architectures/{model}.py"
    return ModelSpec(path, image_shape, 10, **changes)


def model(name: str, seed: int = 0, **changes):
    """Return a model of the catalogue, freshly built, for digits."""
    from distillery import build_model

    return build_model(spec(name, **changes), seed)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits: uint8 images (1797, 8, 8, 1) and int32 labels."""
    bunch = load_digits()
    return (bunch.images * 15).astype(np.uint8)[..., np.newaxis], bunch.target.astype(np.int32)


@pytest.fixture
def normalised(tmp_path) -> Path:
    """Return the file of a small network with batch normalisation."""
    path = tmp_path / "normalised.py"
    path.write_text(NORMALISED)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working directory with the project's files, and with what presets name and Git does not keep."""
    folder = tmp_path / "project"
    folder.mkdir()
    for room in ("stages", "distillery", "pipeline", "architectures", "datasets", "methods", "examples", "presets"):
        (folder / room).symlink_to(ROOT / room)
    for preset in (ROOT / "presets").glob("*.yaml"):
        tree = YAML(typ="safe").load(preset)
        images = folder / tree.get("prepare", {}).get("dataset", "stages")
        if not images.exists():
            images.mkdir()
        teacher = folder / tree.get("train_teacher", {}).get("model", "stages")
        if not teacher.exists():
            teacher.mkdir(parents=True)
            (teacher / "model.onnx").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """Every connection is refused at once, by a closed port as proxy; the cache, in this folder, is empty."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "npm_config_proxy",
        "npm_config_https_proxy",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DISTILLERY_DATA", raising=False)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would lead tracking or DVC elsewhere, and with this Python's programs."""
    elsewhere = ("MLFLOW_", "DVC_", "DISTILLERY_", "MPLBACKEND")  # the last one is set by whoever imports Streamlit
    kept = {key: value for key, value in os.environ.items() if not key.startswith(elsewhere)}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"} | changes


def run(folder: Path, *command: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess:
    """Run a program as a user would, from the clone; `python`, `dvc` and `mlflow` are those of this environment."""
    answer = subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=500, check=False
    )
    if check and answer.returncode:
        raise AssertionError(f"{' '.join(command)}: exit {answer.returncode}\n{answer.stdout}\n{answer.stderr}")
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(folder: Path, stage: str) -> subprocess.Popen:
    """A stage that runs, and what it prints, line by line."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", stage],
        cwd=folder,
        env=environment(DVC_ROOT=str(folder), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Tests that were themselves started in the background ignore Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_after(process: subprocess.Popen, words: str) -> str:
    """SIGKILL as soon as the process has printed `words`."""
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            break
    else:
        raise AssertionError(f"it ended without saying {words!r}: {said}")
    process.kill()
    process.wait()
    return said


def change_params(folder: Path, changes: dict[str, dict]) -> None:
    yaml = YAML()
    path = folder / "params.yaml"
    params = yaml.load(path)
    for section, values in changes.items():
        for key, value in values.items():
            if isinstance(value, dict):
                params[section][key].update(value)
            else:
                params[section][key] = value
    yaml.dump(params, path)


def clone(target: Path) -> Path:
    """A clone of the working tree as it is, uncommitted changes included, with nothing that a run left behind."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(MADE):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "test"],
        ["git", "config", "user.email", "test@example.com"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message=clone"],
    ):
        subprocess.run(command, cwd=target, check=True)
    return target


def commit(folder: Path, message: str) -> None:
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", message], cwd=folder, check=True)


def wait_for_sync(folder: Path) -> None:
    """Wait until all runs are in MLflow: no stage waits for that."""
    deadline = time.monotonic() + 90
    while list(folder.glob(".distillery/pending/*/log.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def processes(folder: Path, words: bytes) -> list[int]:
    """Return the numbers of the processes that work in a folder and have these words in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and words in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


STAGES = [
    "prepare",
    "train_teacher",
    "transfer",
    "distill",
    "train_scratch",
    "evaluate",
    "export",
    "timing",
    "register",
]
OUTPUTS = ["data/prepared", "data/transfer", "models", "metrics", "plots"]
TIMINGS = ["metrics/timing.json"]  # all else is the same when run again


def stages_run(answer: subprocess.CompletedProcess) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in answer.stdout + answer.stderr]


def outputs(folder: Path) -> dict[str, bytes]:
    """Everything that the pipeline made, by name."""
    files = [path for made in OUTPUTS for path in sorted((folder / made).rglob("*")) if path.is_file()]
    files += [folder / "MODEL_CARD.md"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the long tests those that need the shared run go last: one process makes it, and the other has work."""
    items.sort(key=lambda item: item.get_closest_marker("long") is not None and "pipeline" in item.fixturenames)


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what was imported: Keras collects before each model, a second each time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory, worker_id) -> Path:
    """A clone, in a path with a space, in which `dvc repro` ran once. The processes of one test run share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "a clone"
    with FileLock(f"{folder}.lock"):
        if not (folder / ".git/done").is_file():
            folder.mkdir()
            clone(folder)
            change_params(folder, SMALL)
            run(folder, "dvc", "repro")
            wait_for_sync(folder)
            commit(folder, "run")
            (folder / ".git/done").touch()
    return folder


@pytest.fixture(scope="module")
def pipeline(shared_run, tmp_path_factory) -> Path:
    """A copy of the shared run for the tests of a file, which may leave experiments and commits in it."""
    return Path(shutil.copytree(shared_run, tmp_path_factory.mktemp("pipeline") / "a copy of it", symlinks=True))


def store(folder: Path) -> mlflow.MlflowClient:
    """Return MLflow's client, once all runs are in MLflow."""
    wait_for_sync(folder)
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def tracked(folder: Path, experiment: str) -> dict:
    """Return the MLflow runs of one DVC experiment, by stage, when all have arrived."""
    wait_for_sync(folder)
    client = store(folder)
    found = client.search_runs([client.get_experiment_by_name("distillery").experiment_id], max_results=500)
    stages = [(run.info.run_name.partition("/"), run) for run in found]  # the run above them has no slash
    return {stage: run for (name, slash, stage), run in stages if slash and name == experiment}
