"""The packages of the extra `simulate`: without them everything imports, and what needs one says so when it is called."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from angiomorph.errors import InputError

PACKAGES = ("numba", "nibabel", "xraydb")


def import_extra(name: str) -> Any:
    """Return a package of the extra.

    Raises:
        InputError: it is not installed.
    """
    check_extra(name.split(".", 1)[0])
    return importlib.import_module(name)


def check_extra(*names: str) -> None:
    """Make sure that packages of the extra are installed.

    Args:
        names: names of the packages; none for all of `PACKAGES`.

    Raises:
        InputError: some are not.
    """
    missing = [name for name in names or PACKAGES if not _is_installed(name)]
    if missing:
        raise InputError(
            f"{', '.join(missing)}: expected to be installed for simulations, found nothing; "
            f"run `pip install {' '.join(missing)}`"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # a module without a specification, as tests put in place of one that is missing
        return False
