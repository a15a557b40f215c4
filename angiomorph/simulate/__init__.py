"""Simulated angiographic runs with exact truth, projected from CT; needs numba, nibabel and xraydb (the extra `simulate`)."""

from importlib.util import find_spec

from angiomorph.errors import InputError

_missing = [name for name in ("numba", "nibabel", "xraydb") if find_spec(name) is None]
if _missing:
    raise InputError(f"simulation: expected {', '.join(_missing)} to be installed; run `pip install {' '.join(_missing)}`")
