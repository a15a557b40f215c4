"""Registration of a run: background, network, warp, subtraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.networks.losses import Similarity
from angiomorph.networks.warp import warp_frames
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.field import clamp_warp
from angiomorph.preprocessing.intensity import LN, STORED, to_domain
from angiomorph.registration.evidence import find_evidence, weigh_warps
from angiomorph.registration.inputs import NetworkInput, average_frames, prepare_input
from angiomorph.registration.options import CompleteOptions
from angiomorph.registration.outputs import forget_masks
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.refinement import refine_warps
from angiomorph.registration.result import Registration

OF_FRAMES = ("bsa", "dsa", "moved", "warp", "weights")  # a registration's arrays with one entry a frame


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
    series = forget_masks(series, how.background)
    seen = prepare_input(series, predictor.intensity, background=how.background, intensity=how.intensity, check=True)
    if how.require_clean and seen.background.warnings:
        raise InputError(f"{series.name}: expected a background without iodine: {'; '.join(seen.background.warnings)}")
    values = to_domain(series.frames, "log" if series.relation == "LIN" else "linear")
    steps = seen.background.split(len(values))
    parts = [_register_step(series, predictor, similarity, how, seen, values, step) for step in steps]
    return parts[0] if len(parts) == 1 else _join(parts, steps)


def _register_step(
    series: Series,
    predictor: Predictor,
    similarity: Similarity,
    how: CompleteOptions,
    seen: NetworkInput,
    values: np.ndarray,
    step: Step,
) -> Registration:
    """Return the registration of the frames of one background.

    Args:
        series: the run.
        predictor: of the network's warps.
        similarity: the loss that the network was trained with, for refinement.
        how: the options, complete.
        seen: the run as the network sees it.
        values: `(T, H, W)` float32, the run in the unit of the subtraction.
        step: the frames and their background.
    """
    own = _find_indices(step.frames, len(values))
    reference, moving = (average_frames(frames, step.numbers) for frames in (values, seen.frames))
    seen = replace(seen, moving=moving)
    fixed = seen.levelled(own)
    warps = predictor.warps(moving, fixed, how.hyper, how.batch_size, how.levels, how.rounds)
    if how.refine:
        warps = refine_warps(similarity, moving, fixed, warps, how.hyper, how.refine)
    warp = clamp_warp(np.concatenate(list(warps)), seen.field)
    moved = np.concatenate([warp_frames(reference[None], part[None]).numpy() for part in warp])
    result = Registration(
        series=series,
        bsa=values[own] - moved,
        dsa=values[own] - reference,
        moved=moved,
        warp=warp,
        background=seen.background,
        units=LN if series.relation == "LIN" else STORED,
        intensity=seen.intensity,
        hyper=how.hyper,
        levels=how.levels,
        rounds=how.rounds,
        refine=how.refine,
        field=seen.field,
        weights=np.ones(len(warp)),
    )
    if not how.guard:
        return result
    return _hold_back(result, values[own], reference, weigh_warps(_evidence(result, reference, seen, series, step)))


def _find_indices(numbers: Sequence[int], count: int) -> np.ndarray | slice:
    """Return the indices of frame numbers, a slice where they are all, so that nothing is copied."""
    return slice(None) if len(numbers) == count else np.array(numbers) - 1


def _join(parts: Sequence[Registration], steps: Sequence[Step]) -> Registration:
    """Return registrations of some frames each as that of the whole run."""
    order = np.argsort(np.concatenate([step.frames for step in steps]))
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in OF_FRAMES}
    return replace(parts[0], **joined)


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


def _evidence(result: Registration, reference: np.ndarray, seen: NetworkInput, series: Series, step: Step) -> np.ndarray:
    """Return the evidence of motion in each frame, where frame and background are exposed and not saturated, `(T,)`."""
    own, chosen = _find_indices(step.frames, len(series.frames)), [number - 1 for number in step.numbers]
    highest = 2**series.bits_stored - 1
    full = (series.frames[own] >= highest) | (series.frames[chosen] >= highest).any(0)
    known = seen.field & ~full & (seen.frames[own] > 0) & (seen.moving > 0)
    evidence = find_evidence(result.dsa, result.bsa, reference, known)
    evidence[np.isin(step.frames, step.numbers)] = 0  # their noise is the background's own, so that they say nothing
    return evidence
