"""From what the beam passes to stored pixel values: many energies, scatter, blur, noise, exposure and encoding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.simulate.compiled import njit, prange
from angiomorph.simulate.settings import BITS, RELATIONS, SimulationSettings
from angiomorph.simulate.xray.aperture import Aperture, draw_aperture
from angiomorph.simulate.xray.spectrum import Beam, make_beam

# The ranges were chosen by eye against clinical runs, unless a source is named.
SPREAD = (0.17, 0.42)  # mm, standard deviation of the light's spread in the detector
# Pixels, of sampling: with it, frames of half the size equal 2 x 2 means in sharpness and noise (tested).
PIXEL_SPREAD = 6**-0.5
SCATTER = (0.1, 0.5)  # scattered over primary intensity behind the patient, with an anti-scatter grid
ELECTRONIC = (2.0, 8.0)  # photons, deviation of electronic noise in a pixel of FIELD
STEEPNESS, SHARPENING = (1.5, 2.5), (0.0, 0.5)  # of DISP's curve
DRIFTING, DRIFT = 0.4, 0.01  # share of runs whose exposure drifts, and the drift's deviation over the run
RAMPING, RAMP, RAMP_FRAMES = 0.25, (0.02, 0.2), (0.3, 1.0)  # share of runs that begin too dark, by how much, time constant
FLICKER = 0.002  # deviation of exposure from frame to frame
FIELD = 300.0 / 512  # mm, the pixel for which electronic noise is drawn
MIDDLE = (0.08, 0.3)  # stored value of the patient's median over the largest value
BRIGHTER = (1.2, 2.2)  # ln units from the patient's median to where a logarithmic curve ends
LOG_SPAN, DISP_SPAN = (5.5, 7.5), (3.2, 4.5)  # ln units from darkest to brightest
BEHIND = 4.0  # g/cm^2 of tissue and bone from which a pixel is behind the patient
HALO = 3.0  # pixels, of the blur that sharpening subtracts
COMPRESSION = (0.2, 0.6)  # of DISP's slow variation
STEP = 0.002  # of DISP's and LOG's span, to either side, by which a slope is measured
BEYOND = 2.0  # spans below DISP's low end that are kept until its range is evened out
WATER, BONE, IODINE, METAL = range(4)  # of the paths
_Choice = TypeVar("_Choice")


@dataclass(frozen=True)
class Encoding:
    """How the detector's signal becomes stored values up to `top = 2^bits_stored - 1`.

    With the signal s, u = (ln s - low) / (high - low), its copies b blurred by `HALO` pixels and m by a tenth of the width:

        LIN:  stored = s
        LOG:  stored = top * u
        DISP: stored = top * (1/2 + tanh(steepness * (v - 1/2)) / (2 tanh(steepness / 2))),
              v = u + compression * (1 - m) + sharpening * (u - b)

    and what is beyond 0..top saturates; DISP's u is limited to -2..1 before, as by its detector.

    Args:
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        bits_stored: BitsStored; what lies beyond saturates.
        low: ln of the signal that is stored as 0, for LOG and DISP.
        high: ln of the signal that is stored as `top`, for LOG and DISP.
        steepness: steepness of DISP's curve, > 0.
        sharpening: factor by which DISP raises edges.
        compression: share of what varies slowly that DISP takes away, 0 to 1.

    Source: compression is the single-scale form of latitude reduction in P. Vuylsteke and E. Schoeters, Proc. SPIE 2167 (1994)
    551-560.
    """

    relation: str
    bits_stored: int
    low: float = 0.0
    high: float = 1.0
    steepness: float = 1.0
    sharpening: float = 0.0
    compression: float = 0.0

    @property
    def top(self) -> int:
        """Largest stored value."""
        return 2**self.bits_stored - 1


@dataclass(frozen=True, eq=False)
class Detector:
    """What one acquisition's beam and detector do.

    Args:
        beam: tube voltage and filter.
        photons: detected in an open pixel in one frame, mean.
        scatter: scattered over primary intensity, mean behind the patient, after the grid.
        blur: standard deviation of the detector's point spread, pixels.
        electronic: standard deviation of electronic noise, photons.
        exposure: signal of an open pixel; for LIN the stored value before saturation.
        encoding: map from signal to stored values.
        stored_per_ln: stored units per ln unit of intensity: 1 for LIN, which is subtracted after ln; the slope of LOG; the
            mean slope behind the patient of DISP.
        aperture: collimator.
        gain: `(T,)` relative exposure of each frame.
    """

    beam: Beam
    photons: float
    scatter: float
    blur: float
    electronic: float
    exposure: float
    encoding: Encoding
    stored_per_ln: float
    aperture: Aperture
    gain: np.ndarray


def transmission(paths: np.ndarray, spectrum: Beam) -> np.ndarray:
    """Share of the open beam's signal that passes: `sum_E weights[E] exp(-sum_m coefficients[m, E] paths[m])`.

    Args:
        paths: `(4, H, W)` float32, g/cm^2 of water, bone, iodine and metal.
        spectrum: the beam.

    Returns:
        `(H, W)` float32.
    """
    out = np.empty(paths.shape[1:], np.float32)
    coefficients, weights = spectrum.coefficients.astype(np.float32), spectrum.weights.astype(np.float32)
    _transmit(np.ascontiguousarray(paths, np.float32), coefficients, weights, out)
    return out


@njit(parallel=True, cache=True, fastmath=True)
def _transmit(paths, coefficients, weights, out):  # type: ignore[no-untyped-def]
    for row in prange(out.shape[0]):
        for column in range(out.shape[1]):
            water, bone = paths[0, row, column], paths[1, row, column]
            iodine, metal = paths[2, row, column], paths[3, row, column]
            if water == 0 and bone == 0 and iodine == 0 and metal == 0:
                out[row, column] = 1
                continue
            total = np.float32(0)
            for e in range(len(weights)):
                exponent = coefficients[0, e] * water + coefficients[1, e] * bone
                if iodine != 0 or metal != 0:
                    exponent += coefficients[2, e] * iodine + coefficients[3, e] * metal
                total += weights[e] * math.exp(-exponent)
            out[row, column] = total


def expose(paths: np.ndarray, detector: Detector) -> np.ndarray:
    """Beam at the detector: `P = aperture * transmission` and smooth scatter `scatter * smooth(P)`.

    Args:
        paths: `(4, H, W)` float32, g/cm^2.
        detector: the run's detector.

    Returns:
        `(H, W)` float32 relative to the open beam, before the detector's blur.
    """
    return _with_scatter(detector.aperture.share * transmission(paths, detector.beam), detector.scatter)


def _with_scatter(primary: np.ndarray, scatter: float) -> np.ndarray:
    return primary + np.float32(scatter) * _smooth(np.minimum(primary, 0.3))


def _smooth(image: np.ndarray) -> np.ndarray:
    """Gaussian of a tenth of the image's width, computed on blocks of 8 by 8 pixels."""
    rows, columns = image.shape
    small = ndimage.uniform_filter(image, 8)[4::8, 4::8]
    small = ndimage.gaussian_filter(small, columns / 80, mode="nearest")
    return ndimage.zoom(small, (rows / small.shape[0], columns / small.shape[1]), order=1, mode="nearest", grid_mode=True)


def expect_signal(intensity: np.ndarray, detector: Detector, frame: int) -> np.ndarray:
    """Noise-free signal: `exposure * gain * blur(intensity)`.

    Args:
        intensity: `(H, W)` from `expose`.
        detector: the run's detector.
        frame: index from 0.

    Returns:
        `(H, W)` float32, > 0; of LIN the stored value before saturation.
    """
    signal = ndimage.gaussian_filter(intensity, detector.blur, mode="nearest")
    return signal * np.float32(detector.exposure * detector.gain[frame])


def to_ln_units(signal: np.ndarray, detector: Detector) -> np.ndarray:
    """What a subtraction sees of a noise-free signal, in ln units: `ln(stored)` of LIN, else `stored / stored_per_ln`.

    Args:
        signal: `(H, W)` from `expect_signal`.
        detector: the run's detector.

    Returns:
        `(H, W)` float32; the truth that the frames have in expectation.
    """
    values = encode(signal, detector.encoding)
    if detector.encoding.relation == "LIN":
        return np.log(np.maximum(values, 1))
    return values / np.float32(detector.stored_per_ln)


def find_unsaturated(signal: np.ndarray, detector: Detector) -> np.ndarray:
    """Return where a signal's stored value lies within the encoding's range, `(H, W)` bool."""
    values = encode(signal, detector.encoding)
    return np.asarray((values > 1) & (values < 0.98 * detector.encoding.top))


def encode(signal: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Stored value before rounding, within 0..top (see `Encoding`).

    Args:
        signal: `(H, W)`, any sign: noise may take it below 0.
        encoding: relation, bits and curve.

    Returns:
        `(H, W)` float32.
    """
    if encoding.relation == "LIN":
        return np.clip(signal, 0, encoding.top)
    shade = _shade(signal, encoding)
    if encoding.relation == "DISP":
        shade = _curve(_process(shade, encoding), encoding)
    return np.clip(encoding.top * shade, 0, encoding.top).astype(np.float32)


def _shade(signal: np.ndarray, encoding: Encoding) -> np.ndarray:
    """u of `Encoding`, limited, below since noise may take a signal below 0."""
    span = encoding.high - encoding.low
    lowest = encoding.low - (BEYOND * span if encoding.relation == "DISP" else 0.0)
    shade = (np.log(np.maximum(signal, np.float32(math.exp(lowest)))) - np.float32(encoding.low)) / np.float32(span)
    return np.asarray(np.minimum(shade, np.float32(1)))


def _process(shade: np.ndarray, encoding: Encoding) -> np.ndarray:
    """v of `Encoding`."""
    halo = ndimage.gaussian_filter(shade, HALO, mode="nearest")
    lift = np.float32(encoding.compression) * (1 - _smooth(shade))
    return np.asarray(shade + lift + np.float32(encoding.sharpening) * (shade - halo))


def _curve(shade: np.ndarray, encoding: Encoding) -> np.ndarray:
    bend = np.tanh(np.float32(encoding.steepness) * (shade - np.float32(0.5)))
    return np.asarray(np.float32(0.5) + bend / np.float32(2 * math.tanh(encoding.steepness / 2)))


def measure(intensity: np.ndarray, detector: Detector, frame: int, rng: np.random.Generator) -> np.ndarray:
    """Stored values of one frame: Poisson photons, then the detector's blur, which also correlates them, and electronic noise.

    Args:
        intensity: `(H, W)` from `expose`.
        detector: the run's detector.
        frame: index from 0.
        rng: random generator of this frame's noise.

    Returns:
        `(H, W)` uint16 (uint8 up to 8 bits).
    """
    photons = rng.poisson(intensity * (detector.photons * detector.gain[frame])).astype(np.float32)
    signal = ndimage.gaussian_filter(photons, detector.blur, mode="nearest")
    signal += np.float32(detector.electronic) * rng.standard_normal(signal.shape, np.float32)
    stored = np.rint(encode(signal * np.float32(detector.exposure / detector.photons), detector.encoding))
    return stored.astype(np.uint8 if detector.encoding.bits_stored <= 8 else np.uint16)


def modality_lut(encoding: Encoding) -> np.ndarray:
    """The table that leads LOG's stored values back to intensity: `65535 exp((high - low) (v / top - 1))`.

    Args:
        encoding: LOG.

    Returns:
        `(top + 1,)` uint16.

    Source: DICOM PS3.3 C.8.7.1.1.2: with LOG a Modality LUT shall be included to scale back to intensity.
    """
    values = np.arange(encoding.top + 1) / encoding.top
    return np.rint(65535 * np.exp((encoding.high - encoding.low) * (values - 1))).astype(np.uint16)


def draw_detector(paths: np.ndarray, pixel_spacing: float, settings: SimulationSettings, rng: np.random.Generator) -> Detector:
    """Draw the beam and the detector of one run.

    Args:
        paths: `(4, H, W)` of the first frame, g/cm^2.
        pixel_spacing: mm at the detector.
        settings: ranges and shares.
        rng: source.

    Raises:
        InputError: nothing of the patient is inside the field of view.
    """
    aperture = draw_aperture(rng, paths.shape[1], paths.shape[2], bool(rng.random() < settings.collimated))
    spectrum = make_beam(float(np.round(rng.uniform(*settings.kv), 1)), float(np.round(rng.uniform(*settings.copper), 1)))
    scatter = rng.uniform(*SCATTER)
    behind = (aperture.share > 0.5) & (paths[WATER] + paths[BONE] > BEHIND)
    if not behind.any():
        raise InputError("`field_of_view`: expected a patient inside it, found air only; use a larger one")
    intensity = _with_scatter(aperture.share * transmission(paths, spectrum), scatter)
    middle = float(np.median(intensity[behind]))
    dose = np.exp(rng.uniform(*np.log(settings.dose)))
    encoding, exposure = _draw_encoding(middle, settings, rng)
    return Detector(
        beam=spectrum,
        photons=dose * pixel_spacing**2 / middle,
        scatter=scatter,
        blur=float(np.hypot(rng.uniform(*SPREAD) / pixel_spacing, PIXEL_SPREAD)),
        electronic=rng.uniform(*ELECTRONIC) * pixel_spacing / FIELD,
        exposure=exposure,
        encoding=encoding,
        stored_per_ln=_slope(intensity * exposure, behind, encoding),
        aperture=aperture,
        gain=draw_gain(rng, settings.frames),
    )


def _draw_encoding(middle: float, settings: SimulationSettings, rng: np.random.Generator) -> tuple[Encoding, float]:
    """Draw the encoding, and the signal of an open pixel that suits it."""
    relation = _draw_one(settings.relations, RELATIONS, rng)
    bits = _draw_one(settings.bits_stored, BITS, rng)
    share, brighter, span = np.exp(rng.uniform(*np.log(MIDDLE))), rng.uniform(*BRIGHTER), rng.random()
    steepness, sharpening = rng.uniform(*STEEPNESS), rng.uniform(*SHARPENING)
    if relation == "LIN":
        return Encoding(relation, bits), share * 2**bits / middle
    low, high = LOG_SPAN if relation == "LOG" else DISP_SPAN
    width = low + span * (high - low)
    top = math.log(middle) + brighter
    if relation == "LOG":
        return Encoding(relation, bits, top - width, top), 1.0
    compression = rng.uniform(*COMPRESSION)
    # What varies slowly keeps the drawn span, and detail gains what compression makes free.
    return Encoding(relation, bits, top - (1 - compression) * width, top, steepness, sharpening, compression), 1.0


def _draw_one(values: Sequence[_Choice], often: Mapping[_Choice, float], rng: np.random.Generator) -> _Choice:
    """Draw one of the values, each as often among them as `often` says."""
    weights = np.array([often[value] for value in values])
    return values[rng.choice(len(values), p=weights / weights.sum())]


def _slope(signal: np.ndarray, behind: np.ndarray, encoding: Encoding) -> float:
    """Stored units per ln unit of detail: the mean slope over the pixels `(H, W)` behind the patient; 1 for LIN."""
    if encoding.relation == "LIN":
        return 1.0
    shade = _shade(signal, encoding)
    if encoding.relation == "LOG":
        low, high = (np.clip(shade[behind] + step, 0, 1) for step in (-STEP, STEP))
    else:
        shade = _process(shade, replace(encoding, sharpening=0.0))[behind]
        low, high = (np.clip(_curve(shade + np.float32(step), encoding), 0, 1) for step in (-STEP, STEP))
    return encoding.top * float(np.mean(high - low, dtype=np.float64)) / (2 * STEP * (encoding.high - encoding.low))


def draw_gain(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Draw each frame's relative exposure: steady, or drifting slowly, or rising over the first frames.

    Args:
        rng: source.
        frames: count.

    Returns:
        `(T,)` float64 about 1.
    """
    index = np.arange(frames)
    drift = rng.normal(0, DRIFT) * index / max(frames - 1, 1) if rng.random() < DRIFTING else 0 * index
    ramp = -rng.uniform(*RAMP) * np.exp(-index / rng.uniform(*RAMP_FRAMES)) if rng.random() < RAMPING else 0 * index
    flicker = rng.normal(0, FLICKER, frames)
    return (1 + drift) * (1 + ramp) * (1 + flicker)
