"""Mixed precision: in which type this machine gains by convolving."""

from __future__ import annotations

from pathlib import Path

from angiomorph.backend import tf
from angiomorph.errors import InputError

REMEDY = "leave out `mixed_precision` for float32"
FLAGS = {"avx512_bf16", "amx_bf16"}


def choose_type() -> str:
    """Return "float16" where TensorFlow will use a GPU, else "bfloat16" where the CPU has it.

    Raises:
        InputError: the GPU or CPU has no such arithmetic, or nothing says so.
    """
    gpus = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        check_gpu(gpu.name, tf.config.experimental.get_device_details(gpu).get("compute_capability"))
    if gpus:
        return "float16"
    path = Path("/proc/cpuinfo")
    if not has_bfloat16(path.read_text() if path.exists() else ""):
        raise InputError(
            "`mixed_precision`: expected a GPU, or a CPU with bfloat16 (avx512_bf16 or amx_bf16 in Linux's /proc/cpuinfo), "
            f"found neither; {REMEDY}"
        )
    return "bfloat16"


def check_gpu(name: str, capability: tuple[int, int] | None) -> None:
    """Check that a GPU gains by float16.

    Args:
        name: the GPU's name, for people.
        capability: its compute capability; None where TensorFlow does not know it.

    Raises:
        InputError: it gains nothing.
    """
    if capability is None or capability < (7, 0):
        found = "one of unknown capability" if capability is None else ".".join(map(str, capability))
        raise InputError(
            f"`mixed_precision`: expected a GPU of compute capability 7.0 or more (older ones gain nothing by float16), found "
            f"{found} ({name}); {REMEDY}"
        )


def has_bfloat16(cpuinfo: str) -> bool:
    """Return whether the first CPU of Linux's /proc/cpuinfo multiplies in bfloat16."""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return bool(FLAGS & set(flags.split()))
