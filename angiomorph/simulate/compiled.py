"""numba's compiler, or where it is not installed, functions that say so when they are called."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

from angiomorph.simulate.extra import check_extra


def _refuse_call(*given: Any, **options: Any) -> None:
    check_extra("numba")


try:
    numba: Any = importlib.import_module("numba")
except ImportError:
    numba = SimpleNamespace(njit=lambda **options: lambda function: _refuse_call, prange=range, set_num_threads=_refuse_call)
njit, prange, set_num_threads = numba.njit, numba.prange, numba.set_num_threads
