"""Which arithmetic `precision: auto` takes, on every kind of machine."""

import keras
import pytest

from distillery.learning import precision
from distillery.learning.precision import Device, cost_of, fastest_precision, read_cpu, resolve_precision

ZEN_3 = frozenset(["fma", "avx", "avx2", "sse4_2", "vaes"])
SKYLAKE = ZEN_3 | {"avx512f", "avx512bw", "avx512vl"}
ICE_LAKE = SKYLAKE | {"avx512_vnni"}
ZEN_4 = ICE_LAKE | {"avx512_bf16"}
SAPPHIRE_RAPIDS = ZEN_4 | {"amx_tile", "amx_int8", "amx_bf16"}
GRAVITON_2, GRAVITON_3 = frozenset({"fp", "asimd"}), frozenset({"fp", "asimd", "bf16", "svebf16"})
AMD, INTEL = "AuthenticAMD", "GenuineIntel"
BF16, FP16, FP32 = "mixed_bfloat16", "mixed_float16", "float32"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("cpu", ZEN_3, AMD), FP32),
        (Device("cpu", SKYLAKE), FP32),
        (Device("cpu", ICE_LAKE), FP32),
        (Device("cpu", ZEN_4, AMD), BF16),
        (Device("cpu", ZEN_4, INTEL), FP32),  # Cooper Lake, or later ones whose AMX is switched off
        (Device("cpu", SAPPHIRE_RAPIDS, INTEL), BF16),
        (Device("cpu", GRAVITON_2), FP32),
        (Device("cpu", GRAVITON_3), BF16),
        (Device("cpu"), FP32),  # a system without /proc
        (Device("gpu", capability=(6, 1)), FP32),  # Pascal
        (Device("gpu", capability=(7, 0)), FP16),  # Volta
        (Device("gpu", capability=(7, 5)), FP16),  # Turing
        (Device("gpu", capability=(8, 0)), BF16),  # Ampere
        (Device("gpu", capability=(9, 0)), BF16),  # Hopper
        (Device("gpu"), FP32),  # not NVIDIA's
        (Device("tpu"), BF16),
    ],
)
def test_auto_is_the_fastest_that_the_hardware_has(device, expected):
    assert fastest_precision(device, "tensorflow", {}) == expected
    on_cpu = FP32 if device.kind == "cpu" else expected  # XLA gains nothing from a processor's bfloat16
    assert fastest_precision(device, "jax", {}) == on_cpu


@pytest.mark.parametrize(
    ("variables", "on_amd", "on_intel"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, FP32, FP32),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"}, FP32, FP32),
        ({"DNNL_MAX_CPU_ISA": "AVX2_VNNI"}, FP32, FP32),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, BF16, FP32),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, BF16, BF16),
        ({"TF_ENABLE_ONEDNN_OPTS": "0"}, FP32, FP32),
        ({"TF_ENABLE_ONEDNN_OPTS": "1"}, BF16, BF16),
    ],
)
def test_variables_that_hold_onednn_back_count(variables, on_amd, on_intel):
    assert fastest_precision(Device("cpu", ZEN_4, AMD), "tensorflow", variables) == on_amd
    assert fastest_precision(Device("cpu", SAPPHIRE_RAPIDS, INTEL), "tensorflow", variables) == on_intel


def test_processors_are_read_as_each_kind_writes_them(tmp_path):
    intel = "vendor_id\t: GenuineIntel\nmodel name\t: bf16 avx\nflags\t\t: fma avx2 avx512_bf16\nbugs\t\t: amx_bf16\n"
    (tmp_path / "x86").write_text(f"processor\t: 0\n{intel}\nprocessor\t: 1\nflags\t\t: fma\n\n")
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n\n")
    assert read_cpu(tmp_path / "x86") == Device("cpu", frozenset({"fma", "avx2", "avx512_bf16"}), INTEL)
    assert read_cpu(tmp_path / "arm") == Device("cpu", frozenset({"fp", "asimd", "bf16"}))
    assert read_cpu(tmp_path / "none") == Device("cpu")


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        (BF16, Device("cpu", ZEN_3, AMD), "is emulated on this CPU"),
        (BF16, Device("cpu", ZEN_4, AMD), ""),
        (BF16, Device("cpu", ZEN_4, INTEL), "is slow on this CPU"),
        (FP16, Device("cpu", ZEN_4, AMD), "is emulated on this CPU"),
        (FP32, Device("cpu", ZEN_3, AMD), ""),
        (FP32, Device("gpu", capability=(9, 0)), ""),
        (BF16, Device("gpu", capability=(7, 5)), "is emulated on this GPU"),
        (FP16, Device("gpu", capability=(7, 5)), ""),
        (FP16, Device("gpu", capability=(9, 0)), ""),
        (FP16, Device("gpu"), "is emulated on this GPU"),
    ],
)
def test_precision_that_is_slower_than_float32_is_known(asked, device, expected):
    cost = cost_of(asked, device, "tensorflow", {})
    assert cost.startswith(expected)
    assert bool(cost) == bool(expected)


def test_precision_is_printed_and_a_slow_one_warned_of_once(capsys, monkeypatch):
    monkeypatch.setattr(precision, "this_device", lambda: Device("cpu", ZEN_3))
    assert resolve_precision("student.precision", "auto") == FP32
    assert capsys.readouterr().out == "student.precision: auto is float32 here\n"
    assert resolve_precision("student.precision", FP32) == FP32
    assert capsys.readouterr().out == ""
    assert resolve_precision("student.precision", BF16) == BF16
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1
    assert told[0].startswith("warning: student.precision: mixed_bfloat16 is emulated on this CPU")


def test_loss_is_scaled_in_float16_and_training_learns(digits):
    """A GPU without bfloat16 trains in float16, whose small gradients vanish unscaled; here the CPU emulates it."""
    from conftest import spec

    from distillery.learning.batches import Batches, Examples
    from distillery.learning.models import build_model
    from distillery.learning.settings import Training
    from distillery.learning.training import compile_model, train_epoch

    images, labels = digits
    training = Training(epochs=2, batch_size=64, learning_rate=0.003, precision=FP16)
    model = build_model(spec("dense_128"), 0, training.precision)
    batches = Batches(Examples(images, labels), training.batch_size, 0)
    compile_model(model, training, len(batches), label_smoothing=0.0)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    first, second = (train_epoch(model, batches, number) for number in (1, 2))
    assert second["accuracy"] > max(0.8, first["accuracy"])
