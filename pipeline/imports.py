"""Stages and Keras, imported without what no stage uses and without what TensorFlow says about itself."""

import gc
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

from pipeline.machine import fix_settings
from pipeline.processes import Processes, join
from pipeline.resume import stage_fingerprint
from pipeline.stages import stage_deps

# What TensorFlow logs, whatever its log level, while it loads and finds no GPU driver.
ANNOUNCEMENTS = ("I0000 ", "WARNING: All log messages before absl::InitializeLog()")
NO_DRIVER = "failed call to cuInit"


def prepared_stage(stage: str, flat: dict[str, Any], processes: Processes | None) -> ModuleType:
    """Fix the settings, join the processes that run a stage together, and return its module.

    Args:
        stage: its name in `dvc.yaml`.
        flat: all parameters, flat.
        processes: None where this one runs it alone.

    Raises:
        InputError: when a setting is invalid, or the processes do not come together.
    """
    fix_settings()
    learns = "distillery/learning" in stage_deps(stage, flat)
    with quiet_import(), without_collection(), without_wrappers() if learns else nullcontext():
        if processes:
            join(processes, stage_fingerprint(stage, flat))
        return importlib.import_module(f"stages.{stage}")


@contextmanager
def quiet_import() -> Iterator[None]:
    """Import Keras without TensorFlow's announcements: they are many lines of no use to anyone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow takes the prediction of several models for one that is traced again and again.
    logging.getLogger("tensorflow").addFilter(lambda record: "tf.function retracing" not in record.getMessage())
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
            keras: ModuleType | None = sys.modules.get("keras")
            if keras:
                importlib.import_module("distillery.learning.models").overrule_keras_file()
                keras.ops.zeros(())  # the first operation looks for devices
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if not line.startswith(ANNOUNCEMENTS) and NO_DRIVER not in line:
                    print(line, file=sys.stderr)


@contextmanager
def without_collection() -> Iterator[None]:
    """Import without Python's search for garbage, of which imports leave next to none: a fifth of their time.

    What was imported is left out of later searches, too: Keras asks for one with every model that it builds.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_wrappers() -> Iterator[None]:
    """Import Keras as where there is no scikit-learn, which it imports for wrappers that no stage uses: a second.

    Nor JAX, which TensorFlow imports wherever it is installed, for a converter that no stage uses: half a second.
    """
    unused = ["sklearn", *(["jax"] if os.environ["KERAS_BACKEND"] != "jax" else [])]
    sys.modules |= dict.fromkeys(unused)
    try:
        yield
    finally:
        for name in unused:
            del sys.modules[name]
