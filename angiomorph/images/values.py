"""Any numbers as the unsigned integers that a run is made of."""

from __future__ import annotations

import numpy as np

from angiomorph.errors import InputError

DEPTHS = (8, 10, 12, 14, 16)  # bits that detectors store
TOP = 2**16 - 1


def store_values(subject: str, values: np.ndarray) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Return values as unsigned integers, how many bits they have, and what the user should know.

        stored = rint(values * 65535 / max(values))

    where values are no whole numbers, or are above 65535; else stored = values.

    Args:
        subject: file, for messages.
        values: `(T, H, W)`, numbers from 0.

    Returns:
        uint8 or uint16; the fewest of 8, 10, 12, 14 and 16 bits that hold them; warnings.

    Raises:
        InputError: values that are negative or not finite, or all 0.
    """
    if values.dtype == np.uint8:
        return values, 8, ()
    if not np.isfinite(values).all():
        raise InputError(f"{subject}: expected finite values, found NaN or infinity; replace them")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        raise InputError(
            f"{subject}: expected values from 0 on, found {low:g}; give the run before its subtraction, or add a constant to "
            "values that are logarithms"
        )
    if values.dtype.kind in "bui" and high <= TOP:
        bits = next(depth for depth in DEPTHS if high < 2**depth)
        return values.astype(np.uint8 if bits == 8 else np.uint16), bits, ()
    if high == 0:
        raise InputError(f"{subject}: expected an image, found 0 everywhere; export it again")
    stored = np.empty(values.shape, np.uint16)
    for target, frame in zip(stored, values, strict=True):
        target[...] = np.rint(frame.astype(np.float64) / high * TOP)
    told = f"{subject}: {values.dtype} values from {low:g} to {high:g} are stored in 16 bits, the highest as {TOP}"
    return stored, 16, (told,)
