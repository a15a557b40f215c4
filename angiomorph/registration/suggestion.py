"""Which λ to look at first, by what is left of motion in a few frames, and how sure that is (NumPy only).

A smaller λ removes more of what is bright. A warp that may bend more follows the frame more closely, at last into its vessels.
So the least residue would say too small a λ. Where a figure can only improve with freedom, one takes the simplest solution that
is nearly as good as the best. Here that is the smoothest warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

ENOUGH = 0.95  # of what the best λ removes; 0.9, 0.97 and 0.98 did worse on development runs, see docs/how-to/sweep.md
LEAST_GAIN = 0.15  # share of the residue that a λ must remove before it says anything; noise alone gives about a tenth
AGREE, DISAGREE = 0.2, 0.4  # between the frames' own suggestions: up to the first all agree, beyond the second they do not
FEWEST = 3  # frames that must say something
SPEAKS = 0.5  # of the largest residue of a frame in plain DSA, below which a frame's own suggestion does not count
FAINTER = 0.95  # of the vessel contrast at the largest λ, below which the suggestion may eat vessels

Sure = Literal["sure", "fairly sure", "not sure"]


@dataclass(frozen=True)
class Suggestion:
    """Which λ to look at first; nobody but the user takes it.

    Args:
        hyper: λ.
        sure: in words.
        why: the reasons, in words.
        least: λ that leaves the least bright residue.
        removed: share of plain DSA's bright residue that it removes.
        own: each frame's own suggestion; None of a frame with little residue, or of which no λ removes enough.
    """

    hyper: float
    sure: Sure
    why: str
    least: float
    removed: float
    own: tuple[float | None, ...]


def suggest_hyper(
    hypers: Sequence[float], residue: np.ndarray, plain: np.ndarray, contrast: np.ndarray, usual: float
) -> Suggestion:
    """Return the largest λ that removes nearly as much of the bright residue as the best.

        left(λ) = sqrt(sum(residue(λ)**2) / sum(plain**2)) over frames, and 1 - left(λ) >= 0.95 max(1 - left)

    Args:
        hypers: λ, `(L,)`, rising.
        residue: `(L, F)`, `against_truth.bright_residue` of BSA by λ and frame.
        plain: `(F,)`, the same of plain DSA.
        contrast: `(L, F)`, vessel contrast left, see `sweep.SweptFrame`.
        usual: the model's own λ, which is suggested where no λ removes anything.
    """
    total = float(np.sum(plain**2))
    pooled = np.sqrt(np.sum(residue**2, axis=1) / total) if total else np.ones(len(residue))
    removed, least = 1 - float(pooled.min()), hypers[int(pooled.argmin())]
    frames = zip(residue.T, plain, plain >= SPEAKS * plain.max(), strict=True)
    each = tuple(_find_own(hypers, left, before) if speaks and before else None for left, before, speaks in frames)
    if removed < LEAST_GAIN:
        why = f"no λ removes more than {max(removed, 0):.0%} of the bright residue, so little moves here, and λ hardly matters"
        return Suggestion(usual, "not sure", why, least, removed, each)
    hyper = _find_smoothest(hypers, 1 - pooled)
    sure, why = _weigh(hyper, hypers, contrast, [one for one in each if one is not None])
    best = f"λ {least:g} removes most, {removed:.0%} of the bright residue"
    said = f"{best}; λ {hyper:g} is the smoothest warp that removes {ENOUGH:.0%} of that"
    return Suggestion(hyper, sure, f"{said}; {why}", least, removed, each)


def _find_own(hypers: Sequence[float], residue: np.ndarray, before: float) -> float | None:
    """Return the suggestion of one frame, or None where no λ removes enough of what it had before."""
    removed = 1 - residue / before
    return _find_smoothest(hypers, removed) if removed.max() >= LEAST_GAIN else None


def _find_smoothest(hypers: Sequence[float], removed: np.ndarray) -> float:
    """Return the largest λ up to which, from the best on, all remove enough."""
    best = int(removed.argmax())
    enough = removed[best:] >= ENOUGH * removed[best]
    return hypers[best + (len(enough) if enough.all() else int(enough.argmin())) - 1]


def _weigh(hyper: float, hypers: Sequence[float], contrast: np.ndarray, each: Sequence[float]) -> tuple[Sure, str]:
    """Return how sure a suggestion is, and why, by what single frames would suggest and by the vessels."""
    apart = max(each, default=0.0) - min(each, default=0.0)
    says = f"single frames say λ {min(each, default=hyper):g} to {max(each, default=hyper):g}"
    doubts = (
        [f"only {len(each)} of {contrast.shape[1]} frames say anything"] if len(each) < min(FEWEST, contrast.shape[1]) else []
    )
    chosen, smoothest = contrast[list(hypers).index(hyper)], contrast[-1]
    known = (smoothest > 0) & np.isfinite(chosen)
    faint = float(np.median(chosen[known] / smoothest[known])) if known.any() else 1.0
    if faint < FAINTER:
        doubts.append(f"vessels seem {1 - faint:.0%} fainter than at λ {hypers[-1]:g}, look at them")
    if apart > DISAGREE or (apart > AGREE and doubts):
        return "not sure", "; ".join([says, *doubts])
    return ("fairly sure" if apart > AGREE or doubts else "sure"), "; ".join([says, *doubts])
