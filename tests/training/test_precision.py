"""Which type a machine gains by convolving in."""

import pytest

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.training import precision


@pytest.mark.parametrize("flags", ["fpu avx512f avx512_bf16 sse4_2", "amx_bf16 amx_tile"])
def test_a_cpu_with_bfloat16_is_known_by_its_flags(flags):
    precision._check_cpu(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 4000\n")


@pytest.mark.parametrize("cpuinfo", ["", "flags : fpu avx512f\n", "model name : avx512_bf16\nflags : fpu avx512_bf16x\n"])
def test_a_cpu_without_it_is_refused(cpuinfo):
    with pytest.raises(InputError, match=r"expected a GPU, or a CPU with bfloat16 .*, found neither; leave out --mixed"):
        precision._check_cpu(cpuinfo)


def test_gpus_from_volta_on_are_taken():
    precision._check_gpu("GPU:0", (7, 0))
    with pytest.raises(InputError, match=r"capability 7\.0 or more .*, found 6\.1 \(GPU:0\); leave out --mixed-precision"):
        precision._check_gpu("GPU:0", (6, 1))
    with pytest.raises(InputError, match=r"found one of unknown capability \(GPU:0\)"):
        precision._check_gpu("GPU:0", None)


def test_gpus_that_tensorflow_uses_decide(monkeypatch):
    gpus = [tf.config.PhysicalDevice(f"GPU:{number}", "GPU") for number in range(2)]
    capability = {"GPU:0": (8, 6), "GPU:1": (7, 5)}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability[gpu.name]})
    assert precision.of_machine() == "float16"
    capability["GPU:1"] = (5, 2)
    with pytest.raises(InputError, match=r"found 5\.2 \(GPU:1\)"):
        precision.of_machine()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(precision.Path, "exists", lambda path: False)
    with pytest.raises(InputError, match="found neither"):
        precision.of_machine()
    monkeypatch.setattr(precision.Path, "exists", lambda path: True)
    monkeypatch.setattr(precision.Path, "read_text", lambda path: "flags : avx512_bf16")
    assert precision.of_machine() == "bfloat16"
