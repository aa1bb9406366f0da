"""The arithmetic of training: which precision the hardware has in itself, and is fastest in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from distillery.learning.devices import first_device

AUTO = "auto"
# A processor's bfloat16 instructions, as Linux names them: x86 (AVX-512, AMX) and Arm; with words, of which one is in
# the value of the variable that holds oneDNN back, where that allows them.
BFLOAT16_INSTRUCTIONS = {
    "avx512_bf16": ("BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT"),
    "amx_bf16": ("AMX", "ALL", "DEFAULT"),
    "bf16": ("",),
}


@dataclass(frozen=True)
class Device:
    """What a model is trained on.

    Attributes:
        kind: `cpu`, `gpu` or `tpu`.
        flags: of the processor, as `/proc/cpuinfo` names them.
        vendor: of the processor, as `/proc/cpuinfo` names it; empty on Arm.
        capability: of an NVIDIA GPU, (major, minor); None where nobody tells.
    """

    kind: str
    flags: frozenset[str] = frozenset()
    vendor: str = ""
    capability: tuple[int, int] | None = None


def fastest_precision(device: Device, backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the fastest Keras dtype policy that a device has in itself, and emulates nothing for.

    A CPU's bfloat16 is used by oneDNN, which TensorFlow multiplies with; XLA, which JAX does, gains nothing from it.
    AVX-512's bfloat16 multiplies twice as many numbers per cycle as float32 on AMD's processors, and not on Intel's,
    which have AMX for it: `python -m benchmarks precision` measured 1.5 to 1.7 times float32's rate on a Zen 4, and 0.6
    of it on a Xeon whose AMX was switched off.
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
    usable = _bfloat16_instructions(device, backend, environment)
    if device.vendor != "AuthenticAMD":
        usable.discard("avx512_bf16")
    return "mixed_bfloat16" if usable else "float32"


def _bfloat16_instructions(device: Device, backend: str, environment: Mapping[str, str] = os.environ) -> set[str]:
    """Return the flags of the bfloat16 instructions that a CPU has and that training uses."""
    if backend != "tensorflow" or environment.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return set()
    held_to = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    return {
        flag
        for flag, words in BFLOAT16_INSTRUCTIONS.items()
        if flag in device.flags and any(word in held_to for word in words)
    }


def resolve_precision(parameter: str, precision: str) -> str:
    """Return the dtype policy that a parameter stands for on this machine, and print what it is.

    Args:
        parameter: its name, for messages.
        precision: `auto`, or a dtype policy, which is warned of where it is slower than float32.
    """
    device = this_device()
    fastest = fastest_precision(device, keras.backend.backend())
    if precision == AUTO:
        print(f"{parameter}: auto is {fastest} here", flush=True)
        return fastest
    if cost := cost_of(precision, device, keras.backend.backend()):
        print(f"warning: {parameter}: {precision} {cost}; `auto` takes {fastest} here", flush=True)
    return precision


def cost_of(precision: str, device: Device, backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return in words why a precision is slower on a device than float32, and by how much; empty where it is not."""
    if precision in ("float32", fastest_precision(device, backend, environment)):
        return ""
    if precision == "mixed_float16" and device.kind == "gpu" and (device.capability or (0, 0)) >= (7, 0):
        return ""
    if precision == "mixed_bfloat16" and _bfloat16_instructions(device, backend, environment):
        return "is slow on this CPU, whose bfloat16 is no faster: an epoch of a small CNN took 1.7 times as in float32"
    return (
        f"is emulated on this {device.kind.upper()}, which is slow: without instructions for it an epoch of a small CNN"
        " took 4 to 5 times as long as in float32"
    )


def this_device() -> Device:
    """Return the device on which Keras trains: the first of the host's."""
    kind = first_device().split(":")[0]
    if kind == "gpu":
        return Device(kind, capability=_capability())
    return Device(kind) if kind == "tpu" else read_cpu(Path("/proc/cpuinfo"))


def read_cpu(cpuinfo: Path) -> Device:
    """Return the first processor in `/proc/cpuinfo`; x86 calls the line of its flags `flags`, Arm `Features`."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    first = {name.strip(): value.strip() for name, _, value in reversed([line.partition(":") for line in lines])}
    flags = first.get("flags", first.get("Features", ""))
    return Device("cpu", frozenset(flags.split()), first.get("vendor_id", ""))


def _capability() -> tuple[int, int] | None:
    """Return the first GPU's compute capability; None where it is not NVIDIA's."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return found.get("compute_capability")
    import jax

    found = getattr(jax.devices()[0], "compute_capability", None)
    return tuple(map(int, found.split("."))) if found else None
