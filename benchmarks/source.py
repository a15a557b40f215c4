"""What tells the code that made a file or a score from code that has changed since."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path


@functools.cache
def digest(*modules: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the modules' sources, which it does not run.

    Args:
        modules: dotted names, as imported; of a package all modules in it count, but of a module none that it imports.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    whole = hashlib.sha256()
    for module in modules:
        for name, path in list_files(module):
            whole.update(f"{module} {name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def list_files(module: str) -> list[tuple[str, Path]]:
    """Return the module's files, each with its name inside a package, in the order of these names."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return [(origin.name, origin)]
    return sorted((path.relative_to(origin.parent).as_posix(), path) for path in origin.parent.rglob("*.py"))
