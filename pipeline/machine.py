"""What a result depends on besides parameters, code and data: the user's settings and the machine.

Settings are fixed here, before anything heavy is imported. What cannot be fixed, the processor and its threads, is said
and recorded.
"""

import importlib.util
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from distillery.data.errors import InputError
from distillery.timing import cores, processor

BACKENDS = ("tensorflow", "jax")
# Made for other programs, or for looking for errors; each changes what a training computes, or stops it.
IGNORED = (
    "JAX_ENABLE_X64",
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "TF_USE_LEGACY_KERAS",
)
# Whoever sets these means it; they change the last digits, so they are said and recorded.
ARITHMETIC = re.compile(r"(DNNL|JAX|MKL|NPY|NVIDIA_TF32|ONEDNN|OPENBLAS|TF_CUDNN|TF_ENABLE|TF_SET|TF_XLA|XLA)_\w+")
THREADS = "TF_NUM_INTRAOP_THREADS"
# TensorFlow takes oneDNN by itself only on processors with instructions for neural networks (AVX-512 VNNI and later).
# It is faster on those with AVX2, too: a convolutional teacher 1.4 times (`python -m benchmarks precision`).
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Where a CPU is split into devices, each waits for the others in a thread of XLA's, several times at once: with as many
# threads as cores, two devices waited for each other for ever, a minute after they began beside other work.
HOST_DEVICES, XLA_THREADS, THREADS_PER_DEVICE = re.compile(r"xla_force_host_platform_device_count=(\d+)"), "NPROC", 4
KERAS_FILE = {  # what Keras accepts in keras.json
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_first", "channels_last"),
}


def fix_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Fix what leaks into a run from the user's settings: variables for Keras, TensorFlow and matplotlib.

    Raises:
        InputError: when Keras's backend is unknown or not installed, or Keras cannot read its own file of settings.
    """
    for name in IGNORED:
        if environment.pop(name, None) is not None:
            print(f"{name} is set in the environment; it is ignored here", file=sys.stderr)
    environment["MPLBACKEND"] = "Agg"  # no window, whatever else draws in this shell
    # TensorFlow cuts its sums into as many parts as it has threads. With two at least, one core and two agree.
    environment.setdefault(THREADS, str(max(2, cores())))
    if not re.fullmatch(r"[1-9]\d{0,3}", environment[THREADS]):
        raise InputError(f"{THREADS}: found {environment[THREADS]!r}; accepted: a whole number from 1 to 9999")
    if platform.machine() == "x86_64":
        environment.setdefault(ONEDNN, "1")
    backend = environment.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise InputError(f"KERAS_BACKEND: found {backend!r}; accepted: {', '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        raise InputError(f"KERAS_BACKEND: found {backend!r}, which is not installed; `pip install {backend}`")
    environment["KERAS_BACKEND"] = backend  # keras.json has no say
    if split := HOST_DEVICES.search(environment.get("XLA_FLAGS", "")):
        environment.setdefault(XLA_THREADS, str(max(cores(), THREADS_PER_DEVICE * int(split[1]))))
    _check_keras_file(environment)


def _check_keras_file(environment: Mapping[str, str]) -> None:
    """Check what would stop Keras while it is imported; its values are overruled in `distillery.learning.models`."""
    path = Path(environment.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # Keras does without it, too; a user without a home
        return
    if not isinstance(settings, dict):
        raise InputError(f"{path}: found {str(settings)[:40]}; accepted: an object, {{}}; or remove the file")
    for key, accepted in KERAS_FILE.items():
        if settings.get(key, accepted[0]) not in accepted:
            raise InputError(f"{path}: {key}: found {settings[key]!r}; accepted: {', '.join(accepted)}")
    if not isinstance(settings.get("epsilon", 1e-7), float):
        raise InputError(f"{path}: epsilon: found {settings['epsilon']!r}; accepted: a number such as 1e-7")


def facts(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what the last digits of a result depend on, for the record of a run.

    Returns:
        The processor, the cores, the threads, Keras's backend, and variables that change the arithmetic, if any.
    """
    changed = sorted(
        name for name, value in environment.items() if ARITHMETIC.fullmatch(name) and (name, value) != (ONEDNN, "1")
    )
    return {
        "processor": processor(),
        "cores": str(cores()),
        "threads": environment.get(THREADS, ""),
        "backend": environment.get("KERAS_BACKEND", BACKENDS[0]),
        "environment": " ".join(f"{name}={environment[name]}" for name in changed),
    }


def shown_facts() -> str:
    """Return the facts in a line."""
    own = facts()
    changed = f", with {own['environment']}" if own["environment"] else ""
    return f"{own['backend']} on {own['processor']}, {own['cores']} cores, {own['threads']} threads{changed}"


def difference(recorded: Path) -> str:
    """Return how this machine differs from the one that computed the results in the folder; empty where it does not.

    Args:
        recorded: the timing that `timing` wrote last, or Git has.
    """
    try:
        made = json.loads(recorded.read_text(encoding="utf-8"))["machine"]
    except (OSError, ValueError, KeyError):  # no result yet
        return ""
    here = facts()
    differing = [name for name in ("processor", "threads") if str(made.get(name, here[name])) != here[name]]
    return "; ".join(f"{name} {made[name]}, here {here[name]}" for name in differing)


def in_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale has another encoding: file names and texts are UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a class's name may hold what the terminal cannot show
