"""Registrations made by hand."""

import numpy as np

from angiomorph.preprocessing.background import Background
from angiomorph.registration.result import Registration
from tests.runs import phantom, series


def registered(bsa, background=Background((1,), "number"), **changed):  # noqa: B008
    """Return a registration that moved nothing."""
    still = np.ones_like(bsa)
    given = {"series": series(phantom(bsa.shape)), "bsa": bsa, "dsa": bsa, "moved": still, "warp": np.zeros((*bsa.shape, 2))}
    given |= {"background": background, "units": "ln(intensity)", "intensity": "log", "hyper": 0.5, "levels": 1, "rounds": 0}
    given |= {"refine": 0, "field": np.ones(bsa.shape[1:], bool), "weights": np.ones(len(bsa)), "model_sha256": "0" * 64}
    return Registration(**given | changed)
