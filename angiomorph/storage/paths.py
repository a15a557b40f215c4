"""Paths as users give them: one by itself, or several."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

AnyPath: TypeAlias = str | os.PathLike[str]
AnyPaths: TypeAlias = AnyPath | Iterable[AnyPath]


def list_paths(given: AnyPaths) -> list[Path]:
    """Return paths as a list; a single one is a list of one, and never taken apart into its letters.

    Args:
        given: a path, or several.
    """
    return [Path(given)] if isinstance(given, str | os.PathLike) else [Path(path) for path in given]
