"""Which arithmetic `precision: auto` takes, on every kind of machine."""

import keras
import pytest

from distillery.learning import precision
from distillery.learning.precision import Device, cpu_flags, emulated, fastest_precision, resolve_precision

ZEN_3 = frozenset(["fma", "avx", "avx2", "sse4_2", "vaes"])
SKYLAKE = ZEN_3 | {"avx512f", "avx512bw", "avx512vl"}
ICE_LAKE = SKYLAKE | {"avx512_vnni"}
ZEN_4 = ICE_LAKE | {"avx512_bf16"}
SAPPHIRE_RAPIDS = ZEN_4 | {"amx_tile", "amx_int8", "amx_bf16"}
GRAVITON_2, GRAVITON_3 = frozenset({"fp", "asimd"}), frozenset({"fp", "asimd", "bf16", "svebf16"})
BF16, FP16, FP32 = "mixed_bfloat16", "mixed_float16", "float32"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("cpu", ZEN_3), FP32),
        (Device("cpu", SKYLAKE), FP32),
        (Device("cpu", ICE_LAKE), FP32),
        (Device("cpu", ZEN_4), BF16),
        (Device("cpu", SAPPHIRE_RAPIDS), BF16),
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
    ("variables", "expected"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, FP32),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"}, FP32),
        ({"DNNL_MAX_CPU_ISA": "AVX2_VNNI"}, FP32),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, BF16),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, BF16),
        ({"TF_ENABLE_ONEDNN_OPTS": "0"}, FP32),
        ({"TF_ENABLE_ONEDNN_OPTS": "1"}, BF16),
    ],
)
def test_variables_that_hold_onednn_back_count(variables, expected):
    assert fastest_precision(Device("cpu", SAPPHIRE_RAPIDS), "tensorflow", variables) == expected


def test_flags_are_read_as_each_kind_of_processor_writes_them(tmp_path):
    for name, line in (("x86", "flags\t\t: fma avx2 avx512_bf16"), ("arm", "Features\t: fp asimd bf16")):
        (tmp_path / name).write_text(f"processor\t: 0\nmodel name\t: bf16 avx\n{line}\nbugs\t\t: amx_bf16\n\n")
    assert cpu_flags(tmp_path / "x86") == {"fma", "avx2", "avx512_bf16"}
    assert cpu_flags(tmp_path / "arm") == {"fp", "asimd", "bf16"}
    assert cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        (BF16, Device("cpu", ZEN_3), True),
        (BF16, Device("cpu", ZEN_4), False),
        (FP16, Device("cpu", ZEN_4), True),
        (FP32, Device("cpu", ZEN_3), False),
        (FP32, Device("gpu", capability=(9, 0)), False),
        (BF16, Device("gpu", capability=(7, 5)), True),
        (FP16, Device("gpu", capability=(7, 5)), False),
        (FP16, Device("gpu", capability=(9, 0)), False),
    ],
)
def test_emulated_precision_is_known(asked, device, expected):
    assert emulated(asked, device, fastest_precision(device, "tensorflow", {})) is expected


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
