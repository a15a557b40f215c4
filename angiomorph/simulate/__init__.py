"""Simulated angiographic runs with exact truth, projected from CT; to run it needs the packages of the extra `simulate`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Simulate(ModuleType):
    """This package, which `angiomorph.simulate(...)` calls: the function of its job has the package's name."""

    def __call__(self, *given: Any, **options: Any) -> None:
        """Simulate runs; see `write.simulate`."""
        from angiomorph.simulate.write import simulate

        simulate(*given, **options)


sys.modules[__name__].__class__ = _Simulate
