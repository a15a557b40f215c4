"""Simulated angiographic runs with exact truth, projected from CT; needs numba, nibabel and xraydb (the extra `simulate`)."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from angiomorph.errors import InputError

_missing = [name for name in ("numba", "nibabel", "xraydb") if find_spec(name) is None]
if _missing:
    raise InputError(f"simulation: expected {', '.join(_missing)} to be installed; run `pip install {' '.join(_missing)}`")


class _Simulate(ModuleType):
    """This package, which `angiomorph.simulate(...)` calls: the function of its job has the package's name."""

    def __call__(self, *given: Any, **options: Any) -> None:
        """Simulate runs; see `write.simulate`."""
        from angiomorph.simulate.write import simulate

        simulate(*given, **options)


sys.modules[__name__].__class__ = _Simulate
