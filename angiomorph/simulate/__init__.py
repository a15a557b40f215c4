"""Simulated angiographic runs with exact truth, projected from CT; to run it needs the packages of the extra `simulate`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Simulate(ModuleType):
    # This package, which `angiomorph.simulate(...)` calls: the function of its job has the package's name, and its page.

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return _find_function().__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_find_function())

    def __call__(self, *given: Any, **options: Any) -> None:
        """Simulate runs; see `write.simulate`."""
        _find_function()(*given, **options)


def _find_function() -> Callable[..., None]:
    from angiomorph.simulate.write import simulate

    return simulate


sys.modules[__name__].__class__ = _Simulate
