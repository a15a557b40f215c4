"""Registration of a run: background, network, warp, subtraction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.networks.layers import warp_frames
from angiomorph.networks.losses import Similarity
from angiomorph.preprocessing.field import clamp_warp
from angiomorph.preprocessing.intensity import LN, STORED, to_domain
from angiomorph.registration.evidence import find_evidence, weigh_warps
from angiomorph.registration.inputs import NetworkInput, average_frames, prepare_input
from angiomorph.registration.options import CompleteOptions
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.refinement import refine_warps
from angiomorph.registration.result import Registration


def register_series(series: Series, predictor: Predictor, similarity: Similarity, how: CompleteOptions) -> Registration:
    """Register a run: warp its background onto each of its frames and subtract.

        bsa = ln(frame) - ln(background)(x + warp(x))

    where the stored values are proportional to intensity (PixelIntensityRelationship LIN); LOG and DISP values are
    subtracted as they are stored. The warp brings in nothing from behind a collimator, see `field.clamp_warp`.

    Args:
        series: the run.
        predictor: of the network's warps.
        similarity: the loss that the network was trained with, for refinement.
        how: the options, complete.

    Raises:
        InputError: a background that is not there, or, with `require_clean`, one that is not
            known to be clean.

    Source: Zhou et al. 2024; DICOM PS3.4 N.2.5 (subtraction in a space logarithmic to X-ray intensity).
    """
    seen = prepare_input(series, predictor.intensity, background=how.background, intensity=how.intensity, check=True)
    if how.require_clean and seen.background.warnings:
        raise InputError(f"{series.name}: expected a background without iodine: {'; '.join(seen.background.warnings)}")
    linear = series.relation == "LIN"
    values = to_domain(series.frames, "log" if linear else "linear")
    reference = average_frames(values, seen.background)
    fixed = seen.levelled()
    warps = predictor.warps(seen.moving, fixed, how.hyper, how.batch_size, how.levels, how.rounds)
    if how.refine:
        warps = refine_warps(similarity, seen.moving, fixed, warps, how.hyper, how.refine)
    warp = clamp_warp(np.concatenate(list(warps)), seen.field)
    moved = np.concatenate([warp_frames(reference[None], part[None]).numpy() for part in warp])
    result = Registration(
        series=series,
        bsa=values - moved,
        dsa=values - reference,
        moved=moved,
        warp=warp,
        background=seen.background,
        units=LN if linear else STORED,
        intensity=seen.intensity,
        hyper=how.hyper,
        levels=how.levels,
        rounds=how.rounds,
        refine=how.refine,
        field=seen.field,
        weights=np.ones(len(values)),
    )
    if not how.guard:
        return result
    return _hold_back(result, values, reference, weigh_warps(_evidence(result, reference, seen, series)))


def _hold_back(result: Registration, values: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> Registration:
    """Return the registration with each frame's warp scaled by its weight, `(T,)` in [0, 1]; 0 leaves plain DSA.

    Args:
        result: with whole warps.
        values: `(T, H, W)` float32, the frames, in the result's unit.
        reference: `(H, W)` float32, the background, in the result's unit.
        weights: from `evidence.weigh_warps`.
    """
    if (weights == 1).all():
        return result
    warp = result.warp * weights[:, None, None, None].astype(np.float32)
    moved = result.moved.copy()
    moved[weights == 0] = reference
    for t in np.flatnonzero((weights > 0) & (weights < 1)):
        moved[t] = warp_frames(reference[None], warp[t : t + 1]).numpy()[0]
    return replace(result, bsa=values - moved, moved=moved, warp=warp, weights=weights)


def _evidence(result: Registration, reference: np.ndarray, seen: NetworkInput, series: Series) -> np.ndarray:
    """Return the evidence of motion in each frame, where frame and background are exposed and not saturated, `(T,)`."""
    full = series.frames >= 2**series.bits_stored - 1
    chosen = [number - 1 for number in result.background.numbers]
    known = seen.field & ~full & ~full[chosen].any(0) & (seen.frames > 0) & (seen.moving > 0)
    evidence = find_evidence(result.dsa, result.bsa, reference, known)
    evidence[chosen] = 0  # their noise is the background's own, so that they say nothing
    return evidence
