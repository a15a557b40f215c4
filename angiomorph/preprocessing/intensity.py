"""From stored values to what the network sees: linear or logarithmic, scaled per run, padded; and back (NumPy only)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from angiomorph.errors import InputError
from angiomorph.preprocessing.lazy_frames import Frames
from angiomorph.preprocessing.noise import robust_deviation

MODES = ("log", "linear")
INTENSITIES = ("auto", *MODES)  # what a network may see of a run
LN, STORED = "ln(intensity)", "stored value"
UNITS = {"log": LN, "linear": STORED}  # of a subtracted run, by its mode
DYNAMIC_RANGE = 64  # collimator blades lie below, the densest bone of an exposed picture above 1/64 of its bright end
TAIL = 0.5  # percent left out at each end
SAMPLES, SAMPLED_FRAMES = 2_000_000, 32  # values of a run by which its percentiles are found, and frames that they are from
LEVEL_SAMPLES, LEAST_SAMPLES = 20_000, 100  # pixels by which exposures are compared
LEVEL_ROUNDS = 8  # of reweighting, after which the gain changes no more
LEAST_SPREAD = 1e-4  # of the run's range, so that frames without noise can be compared
TUKEY = 4.685  # standard deviations beyond which a pixel counts for nothing: 95 % efficient where nothing is an outlier
MOST_GAIN = 1.5  # and its inverse: beyond it the difference is no exposure's


@dataclass(frozen=True)
class Normalisation:
    """The scale of a run: `(value - lo) / (hi - lo)`.

    Args:
        lo: value, in the run's domain, that becomes 0.
        hi: value that becomes 1; equal to `lo` for a constant run.
    """

    lo: float
    hi: float


def resolve_mode(relation: str, intensity: str) -> str:
    """Return the domain in which a run is registered and subtracted.

    Args:
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        intensity: "log", "linear", or "auto": log for LIN, else linear, since LOG is logarithmic already and of DISP the
            relation to X-ray intensity is unknown.

    Returns:
        "log" or "linear".

    Raises:
        InputError: another word, or "log" for a run that is logarithmic already.

    Source: DICOM PS3.4 N.2.5: subtraction takes place in a space logarithmic to X-ray intensity.
    """
    if intensity not in INTENSITIES:
        raise InputError(f"`intensity` {intensity}: expected one of {', '.join(INTENSITIES)}, got {intensity}")
    if relation == "LOG" and intensity == "log":
        raise InputError(
            "`intensity` log: expected auto or linear for a run whose PixelIntensityRelationship is LOG, got log; "
            "its values are logarithmic already"
        )
    if intensity == "auto":
        return "log" if relation == "LIN" else "linear"
    return intensity


def choose_mode(relation: str, trained_on: str, wanted: str | None = None) -> str:
    """Return the domain in which a network sees a run.

    Args:
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        trained_on: "auto", "log" or "linear", the network's own intensity; for a run of LOG, "log" counts as "auto".
        wanted: "auto", "log" or "linear"; None for `trained_on`.

    Returns:
        "log" or "linear".

    Raises:
        InputError: as `resolve_mode`.
    """
    own = "auto" if trained_on == "log" and relation == "LOG" else trained_on
    return resolve_mode(relation, wanted or own)


def to_domain(frames: np.ndarray, mode: str) -> np.ndarray:
    """Return stored values `I` as float32: `ln(max(I, 1))` in log mode, `I` in linear mode.

    Args:
        frames: any shape, unsigned integers or floats, stored values.
        mode: "log" or "linear".

    Raises:
        InputError: another mode.
    """
    _check_mode(mode)
    values = np.asarray(frames).astype(np.float32)
    return np.log(np.maximum(values, 1, out=values), out=values) if mode == "log" else values


def to_ln(frames: np.ndarray, relation: str, stored_per_ln: float = 1.0) -> np.ndarray:
    """Return stored values in ln units of intensity: ln(frames) of LIN, frames / stored_per_ln of LOG and DISP.

    Args:
        frames: `(..., H, W)`, stored values.
        relation: PixelIntensityRelationship.
        stored_per_ln: stored values for one ln unit, of LOG and DISP.

    Returns:
        `(..., H, W)` float32.
    """
    if relation == "LIN":
        return to_domain(frames, "log")
    return to_domain(frames, "linear") / np.float32(stored_per_ln)


def normalisation(values: np.ndarray, roi: np.ndarray | None, mode: str) -> Normalisation:
    """Return the scale of one run, the same for its background and contrast frames.

    In linear mode lo and hi are the run's minimum and maximum, as the method's authors took them. In log mode they are the
    0.5 and 99.5 percentiles of the exposed pixels: those of `roi` whose median over time is within a factor 64 of the
    brightest such medians. Collimator blades, near 0 and far below everything in ln, would take up the range.

    Args:
        values: `(T, H, W)` of the run, from `to_domain`.
        roi: `(H, W)` bool, True where exposed (`Series.shutter`), or None for everywhere; of no effect in linear mode.
        mode: "log" or "linear".

    Raises:
        InputError: another mode, or values that are not `(T, H, W)` with `roi` `(H, W)`.
    """
    _check_mode(mode)
    if values.ndim != 3 or values.size == 0 or (roi is not None and roi.shape != values.shape[1:]):
        raise InputError(
            f"`values`, `roi`: expected (T, H, W) and (H, W), got {values.shape} and "
            f"{None if roi is None else roi.shape}; give a whole run"
        )
    if mode == "linear":
        return Normalisation(float(values.min()), float(values.max()))
    return _find_exposed_range(_sample(values, roi))


def exposed_range(frames: Frames, roi: np.ndarray, mode: str) -> float:
    """Return how far the exposed pixels of a run reach, by which figures of runs of any encoding compare.

        exposed_range = p99.5 - p0.5 of to_domain(frames, mode) over roi; in log mode without blades, as in `normalisation`

    Args:
        frames: `(T, H, W)`, stored values of the run.
        roi: `(H, W)` bool, True where exposed (`Series.shutter`).
        mode: "log" or "linear".

    Returns:
        in the unit of the domain; 0 for a constant run.

    Raises:
        InputError: another mode.
    """
    sample = to_domain(_sample(frames, roi), mode)
    scale = _find_exposed_range(sample) if mode == "log" else _percentiles(sample)
    return scale.hi - scale.lo


def stored_normalisation(frames: Sequence[np.ndarray] | Frames, mode: str, roi: np.ndarray | None = None) -> Normalisation:
    """Return `normalisation(to_domain(frames, mode), roi, mode)` without taking all frames to the domain.

    Args:
        frames: T frames `(H, W)` of the run, unsigned integers, stored values; of each that is needed one at a time.
        mode: "log" or "linear".
        roi: see `normalisation`.

    Raises:
        InputError: another mode.
    """
    _check_mode(mode)
    if mode == "linear":
        limits = [(float(frame.min()), float(frame.max())) for frame in frames]
        return Normalisation(min(lo for lo, _ in limits), max(hi for _, hi in limits))
    return _find_exposed_range(to_domain(_sample(frames, roi), mode))


def _find_exposed_range(sample: np.ndarray) -> Normalisation:
    return _percentiles(_select_exposed(sample))


def _percentiles(sample: np.ndarray) -> Normalisation:
    lo, hi = np.percentile(sample, [TAIL, 100 - TAIL])
    return Normalisation(float(lo), float(hi))


def _sample(values: Sequence[np.ndarray] | Frames, roi: np.ndarray | None) -> np.ndarray:
    """Return `(T', pixels)`: a regular subset of at most a few million values, large enough for percentiles."""
    chosen = range(0, len(values), math.ceil(len(values) / SAMPLED_FRAMES))
    shape = values[0].shape
    places = np.flatnonzero(roi if roi is not None and roi.any() else np.ones(shape, bool))
    places = places[:: math.ceil(len(chosen) * places.size / SAMPLES)]
    return np.stack([values[index].reshape(-1)[places] for index in chosen])


def _select_exposed(sample: np.ndarray) -> np.ndarray:
    typical = np.median(sample, axis=0)
    return sample[:, typical >= np.percentile(typical, 100 - TAIL) - math.log(DYNAMIC_RANGE)]


def normalise(values: np.ndarray, scale: Normalisation) -> np.ndarray:
    """Return `(values - lo) / (hi - lo)` clipped to [0, 1], float32; all 0 for a constant run.

    Args:
        values: any shape, from `to_domain`.
        scale: the run's scale, from `normalisation`.
    """
    if not scale.hi > scale.lo:
        return np.zeros(np.shape(values), np.float32)
    scaled = (np.asarray(values, np.float32) - np.float32(scale.lo)) / np.float32(scale.hi - scale.lo)
    return np.clip(scaled, 0, 1, out=scaled)


def level(frames: np.ndarray, reference: np.ndarray, field: np.ndarray, *, gain: bool) -> np.ndarray:
    """Return frames with the exposure of a reference frame, as far as what both show tells it.

        levelled = (frames - offset) / gain, with reference = (frames - offset) / gain for most of the field

    In the log domain exposure is an offset alone. Iodine, which is darker, and what moves count less and less.

    Args:
        frames: `(T, H, W)`, normalised, [0, 1].
        reference: `(H, W)`, normalised, [0, 1].
        field: `(H, W)` bool, the exposed field.
        gain: whether exposure may be a factor too, as in stored values.

    Returns:
        `(T, H, W)` float32, clipped to [0, 1].
    """
    of_frame = leveller(reference, field, gain=gain)
    levelled = np.empty(frames.shape, np.float32)
    for target, frame in zip(levelled, frames, strict=True):
        target[:] = of_frame(frame)
    return levelled


def leveller(reference: np.ndarray, field: np.ndarray, *, gain: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return what levels one frame `(H, W)` after the other to the same reference, see `level`."""
    known = field & (reference > 0) & (reference < 1)
    every = max(1, int(np.sqrt(known.sum() / LEVEL_SAMPLES)))
    rows, columns = np.nonzero(known[::every, ::every])
    there = reference[rows * every, columns * every].astype(np.float64)

    def of_frame(frame: np.ndarray) -> np.ndarray:
        factor, offset = _exposure(frame[rows * every, columns * every].astype(np.float64), there, gain)
        levelled = (frame - np.float32(offset)) / np.float32(factor)
        return np.clip(levelled, 0, 1, out=levelled)

    return of_frame


def _exposure(frame: np.ndarray, reference: np.ndarray, gain: bool) -> tuple[float, float]:
    """Return (gain, offset) with frame = gain reference + offset, by least squares of weights that Tukey's biweight gives."""
    known = (frame > 0) & (frame < 1)
    frame, reference = frame[known], reference[known]
    if frame.size < LEAST_SAMPLES:
        return 1.0, 0.0
    factor, offset = 1.0, float(np.median(frame - reference))
    for _ in range(LEVEL_ROUNDS):
        error = frame - factor * reference - offset
        # What is lighter cannot be iodine, so that its spread is that of noise and motion alone.
        spread = max(robust_deviation(error[error >= 0]), LEAST_SPREAD) if (error >= 0).any() else LEAST_SPREAD
        weight = np.maximum(1 - (error / (TUKEY * spread)) ** 2, 0) ** 2
        if gain:
            centre = np.average(reference, weights=weight)
            varied = weight * (reference - centre)
            slope = (varied * frame).sum() / max((varied * reference).sum(), 1e-9)
            factor = float(np.clip(slope, 1 / MOST_GAIN, MOST_GAIN))
        offset = float(np.average(frame - factor * reference, weights=weight))
    return factor, offset


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise InputError(f"`mode` {mode}: expected log or linear, got {mode}")
