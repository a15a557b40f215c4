"""Registration of a run: background, network, warp, subtraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from angiomorph.dicom import Series
from angiomorph.preprocessing.resizing import level_shapes
from angiomorph.registration.options import CompleteOptions
from angiomorph.registration.outputs import Spooling
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.result import Registration
from angiomorph.registration.streaming import Refine, RunStream, Spooled

OF_FRAMES = ("bsa", "dsa", "moved", "warp", "weights")  # a registration's arrays with one entry a frame


def register_series(
    series: Series,
    predictor: Predictor,
    refine: Refine,
    how: CompleteOptions,
    spooling: Spooling | None = None,
    hypers: Sequence[float] = (),
) -> Registration:
    """Register a run: warp its background onto each of its frames and subtract.

        bsa = ln(frame) - ln(background)(x + warp(x))

    where the stored values are proportional to intensity (PixelIntensityRelationship LIN); LOG and DISP values are
    subtracted as they are stored. The warp brings in nothing from behind a collimator, see `field.clamp_warp`.

    Args:
        series: the run.
        predictor: predictor of the network's warps.
        refine: see `Model.refine`.
        how: the options, complete.
        spooling: place for arrays on the disk; None for arrays in memory.
        hypers: further λ at which the key frame is registered, too.

    Raises:
        InputError: a background that is not there, or, with `require_clean`, one that is not
            known to be clean.

    Source: Zhou et al. 2024; DICOM PS3.4 N.2.5 (subtraction in a space logarithmic to X-ray intensity).
    """
    stream = RunStream(series, predictor, refine, how)
    if spooling is not None:
        spooled = Spooled(stream, spooling)
        names = (*OF_FRAMES, "figures")
        result = _registration(stream, predictor, how, **{name: getattr(spooled, name) for name in names})
        return _add_montage(result, stream, hypers)
    shape = stream.series.frames.shape
    shapes = {"warp": (*shape, 2), "weights": shape[:1]}
    types = {"weights": np.float64}
    arrays: dict[str, Any] = {name: np.empty(shapes.get(name, shape), types.get(name, np.float32)) for name in OF_FRAMES}
    for frame in stream.frames(arrays["warp"]):
        for name, array in arrays.items():
            array[frame.index] = getattr(frame, name)
    return _add_montage(_registration(stream, predictor, how, **arrays), stream, hypers)


def _add_montage(result: Registration, stream: RunStream, hypers: Sequence[float]) -> Registration:
    if not hypers:
        return result
    return replace(result, figures=result.frame_figures, montage=stream.subtract_at(result.key_frame - 1, hypers))


def _registration(stream: RunStream, predictor: Predictor, how: CompleteOptions, **of_frames: Any) -> Registration:
    return Registration(
        series=stream.series,
        background=stream.seen.background,
        units=stream.units,
        intensity=stream.seen.intensity,
        hyper=how.hyper,
        levels=len(level_shapes(stream.series.frames.shape[1:], predictor.size, how.levels, predictor.levels)),
        rounds=how.rounds,
        refine=how.refine,
        field=stream.seen.field,
        seconds=stream.stages.seconds,
        guard=how.guard,
        batch_size=how.batch_size,
        engine=predictor.how,
        **of_frames,
    )
