"""The arithmetic of training: which precision the hardware has in itself, and is fastest in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from distillery.learning.devices import first_device

AUTO = "auto"
# A processor's bfloat16 instructions, as Linux names them: x86 (AVX-512, AMX) and Arm.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# What oneDNN may be held to by its variable, where that has bfloat16 instructions.
BFLOAT16_ISAS = ("BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT")


@dataclass(frozen=True)
class Device:
    """What a model is trained on.

    Attributes:
        kind: `cpu`, `gpu` or `tpu`.
        flags: of the processor, as `/proc/cpuinfo` names them.
        capability: of an NVIDIA GPU, (major, minor); None where nobody tells.
    """

    kind: str
    flags: frozenset[str] = frozenset()
    capability: tuple[int, int] | None = None


def fastest_precision(device: Device, backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the fastest Keras dtype policy that a device has in itself, and emulates nothing for.

    A CPU's bfloat16 is used by oneDNN, which TensorFlow multiplies with; XLA, which JAX does, gains nothing from it.
    NVIDIA's GPUs have float16 since capability 7.0 and bfloat16 since 8.0.

    Args:
        device: what is trained on.
        backend: of Keras.
        environment: variables that hold oneDNN back.
    """
    if device.kind == "tpu":
        return "mixed_bfloat16"
    if device.kind == "gpu":
        if device.capability is None or device.capability < (7, 0):
            return "float32"
        return "mixed_bfloat16" if device.capability >= (8, 0) else "mixed_float16"
    held_to = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    by_onednn = (
        backend == "tensorflow"
        and environment.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
        and any(isa in held_to for isa in BFLOAT16_ISAS)
    )
    return "mixed_bfloat16" if by_onednn and device.flags & BFLOAT16_FLAGS else "float32"


def resolve_precision(parameter: str, precision: str) -> str:
    """Return the dtype policy that a parameter stands for on this machine, and print what it is.

    Args:
        parameter: its name, for messages.
        precision: `auto`, or a dtype policy, of which is said where the machine emulates it.
    """
    device = this_device()
    fastest = fastest_precision(device, keras.backend.backend())
    if precision == AUTO:
        print(f"{parameter}: auto is {fastest} here", flush=True)
        return fastest
    if emulated(precision, device, fastest):
        print(
            f"warning: {parameter}: {precision} is emulated on this {device.kind.upper()}, which is slow: without"
            f" bfloat16 instructions an epoch of a small CNN took 4 to 5 times as long as in float32; `auto` takes"
            f" {fastest} here",
            flush=True,
        )
    return precision


def emulated(precision: str, device: Device, fastest: str) -> bool:
    """Return whether a device has no instructions for a precision, given the fastest of those that it has."""
    if precision in ("float32", fastest):
        return False
    has_float16 = device.kind == "gpu" and device.capability is not None and device.capability >= (7, 0)
    return not (precision == "mixed_float16" and has_float16)


def this_device() -> Device:
    """Return the device on which Keras trains: the first of the host's."""
    kind = first_device().split(":")[0]
    if kind == "gpu":
        return Device(kind, capability=_capability())
    return Device(kind, flags=cpu_flags(Path("/proc/cpuinfo")))


def cpu_flags(cpuinfo: Path) -> frozenset[str]:
    """Return the flags of the first processor in `/proc/cpuinfo`; x86 calls the line `flags`, Arm `Features`."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _capability() -> tuple[int, int] | None:
    """Return the first GPU's compute capability; None where it is not NVIDIA's."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return found.get("compute_capability")
    import jax

    found = getattr(jax.devices()[0], "compute_capability", None)
    return tuple(map(int, found.split("."))) if found else None
