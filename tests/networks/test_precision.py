"""Which type a machine gains by convolving in."""

import pytest

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks import precision


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse4_2\nbogomips\t: 4000\n", True),
        ("processor\t: 0\nflags\t\t: amx_bf16 amx_tile\nbogomips\t: 4000\n", True),
        ("", False),
        ("flags : fpu avx512f\n", False),
        ("model name : avx512_bf16\nflags : fpu avx512_bf16x\n", False),
    ],
)
def test_a_cpu_with_bfloat16_is_known_by_its_flags(cpuinfo, expected):
    assert precision.has_bfloat16(cpuinfo) is expected


@pytest.mark.parametrize(
    ("capability", "found"), [((6, 1), "found 6.1 (GPU:0)"), (None, "found one of unknown capability (GPU:0)")]
)
def test_gpus_before_volta_are_refused(capability, found):
    with pytest.raises(InputError) as error:
        precision.check_gpu("GPU:0", capability)
    assert "expected a GPU of compute capability 7.0 or more" in str(error.value)
    assert str(error.value).endswith(f"{found}; leave out `mixed_precision` for float32")


def show_gpus(monkeypatch, capabilities):
    gpus = {f"GPU:{number}": capability for number, capability in enumerate(capabilities)}
    devices = [tf.config.PhysicalDevice(name, "GPU") for name in gpus]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: devices)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": gpus[gpu.name]})


def test_gpus_from_volta_on_take_float16(monkeypatch):
    show_gpus(monkeypatch, [(8, 6), (7, 0)])
    assert precision.choose_type() == "float16"


def test_one_older_gpu_is_too_many(monkeypatch):
    show_gpus(monkeypatch, [(8, 6), (5, 2)])
    with pytest.raises(InputError, match=r"found 5\.2 \(GPU:1\)"):
        precision.choose_type()


def test_without_a_gpu_the_cpu_decides(monkeypatch):
    show_gpus(monkeypatch, [])
    monkeypatch.setattr(precision.Path, "exists", lambda path: False)
    with pytest.raises(InputError, match=r"expected a GPU, or a CPU with bfloat16 .*, found neither; leave out `mixed_prec"):
        precision.choose_type()
    monkeypatch.setattr(precision.Path, "exists", lambda path: True)
    monkeypatch.setattr(precision.Path, "read_text", lambda path: "flags : avx512_bf16")
    assert precision.choose_type() == "bfloat16"
