"""Training pairs varied as other acquisitions would vary them: both frames of a pair alike, but for the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from angiomorph.backend import tf
from angiomorph.preprocessing.intensity import DYNAMIC_RANGE, Normalisation
from angiomorph.training.config import Augmentation

STREAM = 1  # sets these draws apart from those of frames and λ, whose keys are shorter


@dataclass(frozen=True)
class Change:
    """What one pair undergoes.

    Args:
        mirrored: left to right.
        angle: radians, anticlockwise as seen.
        scale: magnification, > 0.
        sigma: noise level, see `add_noise`.
        factor: factor of attenuation, see `scale_attenuation`.
    """

    mirrored: bool = False
    angle: float = 0.0
    scale: float = 1.0
    sigma: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True)
class Tone:
    """What the normalised values x of a run mean: T(x), X-ray intensity relative to that of x = 1.

        T(x) = dark^(1 - x)           where values are logarithmic to intensity
        T(x) = dark + (1 - dark) x    where they are proportional to it

    Args:
        dark: T(0), 0 to 1; 1 for a constant run.
        logarithmic: which of the two.
    """

    dark: float
    logarithmic: bool


def tone(relation: str, mode: str, scale: Normalisation) -> Tone:
    """Return what a run's normalised values mean.

        dark = exp(lo - hi) in log mode, lo / hi of LIN in linear mode

    LOG and DISP values count as logarithmic, as they do where they are subtracted. No tag that a store keeps says how many ln
    units their range spans. It is taken as that of an exposed picture, ln 64.

    Args:
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        mode: "log" or "linear", see `angiomorph.preprocessing.intensity.resolve_mode`.
        scale: the run's scale.
    """
    logarithmic = mode == "log" or relation != "LIN"
    if not scale.hi > scale.lo:
        return Tone(1.0, logarithmic)
    if mode == "log":
        return Tone(math.exp(scale.lo - scale.hi), logarithmic)
    return Tone(1 / DYNAMIC_RANGE if logarithmic else scale.lo / scale.hi, logarithmic)


def draw_change(rng: np.random.Generator, augmentation: Augmentation) -> Change:
    """Return what a pair undergoes; an option of 0 leaves what the others draw as it is."""
    mirror, turn, size, level, attenuation = rng.random(5)
    return Change(
        mirrored=bool(mirror < augmentation.flip),
        angle=math.radians(augmentation.rotate) * (2 * turn - 1),
        scale=(1 + augmentation.zoom) ** (2 * size - 1),
        sigma=augmentation.noise * level,
        factor=(1 + augmentation.gamma) ** -attenuation,
    )


def augment(
    moving: np.ndarray,
    fixed: np.ndarray,
    augmentation: Augmentation,
    tone: Tone,
    key: Sequence[int],
    first: int = 0,
    clean: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, ...]:
    """Return a batch of pairs varied, the draws of each a function of `key` and its place in the batch alone.

    Args:
        moving: `(B, H, W)` float32 in [0, 1], background frames.
        fixed: `(B, H, W)` float32 in [0, 1], contrast frames.
        augmentation: how far; with all off the frames are returned as they are.
        tone: the run's tone.
        key: seed and step, each at least 0.
        first: place in the batch of the first pair, where these are a part of it.
        clean: further frames of the pairs, `(B, H, W)` each, varied alike but without noise.

    Returns:
        moving, fixed and each of `clean`, `(B, H, W)` float32 in [0, 1].
    """
    if augmentation == Augmentation():
        return moving, fixed, *clean
    rngs = [np.random.default_rng([*key, place, STREAM]) for place in range(first, first + len(moving))]
    changes = [draw_change(rng, augmentation) for rng in rngs]
    frames = move(np.stack([moving, fixed, *clean], axis=1), changes)
    for pair, change, rng in zip(frames, changes, rngs, strict=True):
        # Noise before gamma: it is the acquisition's own, and what saturates there is known only before.
        pair[:2] = add_noise(pair[:2], change.sigma, tone, rng)
        pair[:] = scale_attenuation(pair, change.factor, tone)
    return tuple(np.moveaxis(frames, 1, 0))


def move(frames: np.ndarray, changes: Sequence[Change]) -> np.ndarray:
    """Mirror the frames of pairs, then rotate and magnify them about the frame's middle, bilinearly.

        moved(c + s) = frames(c + turn @ s / scale), turn = [[cos(angle), sin(angle)], [-sin(angle), cos(angle)]]

    with s in pixels, row then column, from the middle c. What was not in the frame has the value of its nearest pixel, as a
    network is given what lies behind a collimator. What is neither rotated nor magnified keeps its values exactly.

    Args:
        frames: `(B, N, H, W)` float32 in [0, 1], N frames of each pair.
        changes: B of them.

    Returns:
        `(B, N, H, W)` float32 in [0, 1], a new array.
    """
    mirrored = np.array([change.mirrored for change in changes])[:, None, None, None]
    frames = np.where(mirrored, frames[..., ::-1], frames)
    if all(change.angle == 0 and change.scale == 1 for change in changes):
        return frames
    rows, columns = frames.shape[2:]
    transforms = np.repeat([_transform(change, (rows, columns)) for change in changes], frames.shape[1], axis=0)
    with tf.device("CPU"):  # the frames are there, and go to the model's device later
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=frames.reshape(-1, rows, columns, 1),
            transforms=transforms.astype(np.float32),
            output_shape=[rows, columns],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        ).numpy()
    return np.clip(moved, 0, 1).reshape(frames.shape)


def _transform(change: Change, shape: tuple[int, int]) -> list[float]:
    """Return TensorFlow's eight numbers, which lead from a new pixel (column, row) to its source."""
    down, right = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    cosine, sine = math.cos(change.angle) / change.scale, math.sin(change.angle) / change.scale
    to_column = [cosine, -sine, right - cosine * right + sine * down]
    to_row = [sine, cosine, down - sine * right - cosine * down]
    return [*to_column, *to_row, 0.0, 0.0]


def add_noise(frames: np.ndarray, sigma: float, tone: Tone, rng: np.random.Generator) -> np.ndarray:
    """Add quantum noise, drawn apart for each frame: its variance is proportional to intensity.

        var(T) = sigma^2 T, that is var(ln T) = sigma^2 / T

    to first order in sigma. So the standard deviation of x is sigma / (sqrt(T) ln(1 / dark)) where values are logarithmic, and
    sigma sqrt(T) / (1 - dark) where they are proportional. It is added to the noise that is there. Where x is 0 or 1, the
    range's ends, at which values saturate and noise with them, there is none.

    Args:
        frames: any shape, float32 in [0, 1].
        sigma: standard deviation of intensity over intensity at T = 1, at least 0; 0.01 is that of 10,000 photons a pixel.
        tone: the run's tone; a constant one has no scale, and gets no noise.
        rng: source.

    Returns:
        the same shape, float32, clipped to [0, 1].
    """
    if sigma == 0 or tone.dark == 1:
        return frames
    intensity = _intensity(frames, tone)
    if tone.logarithmic:
        deviation = np.float32(sigma / -math.log(tone.dark)) / np.sqrt(intensity)
    else:
        deviation = np.float32(sigma / (1 - tone.dark)) * np.sqrt(intensity)
    deviation[(frames <= 0) | (frames >= 1)] = 0
    deviation *= rng.standard_normal(frames.shape, np.float32)
    return np.clip(np.add(frames, deviation, out=deviation), 0, 1, out=deviation)


def scale_attenuation(frames: np.ndarray, factor: float, tone: Tone) -> np.ndarray:
    """Multiply attenuation, measured from the bright end of the run's range: gamma in the log domain.

        T' = T^factor, that is ln T' = factor ln T

    so that every subtraction in ln units, BSA and DSA, is `factor` times what it was, and in x:

        x' = 1 - factor (1 - x)                              where values are logarithmic
        x' = ((dark + (1 - dark) x)^factor - dark) / (1 - dark)    where they are proportional to intensity

    A factor of at most 1 leads nowhere beyond the range, so that no contrast saturates.

    Args:
        frames: any shape, float32 in [0, 1].
        factor: above 0, at most 1.
        tone: the run's tone.

    Returns:
        the same shape, float32 in [0, 1].
    """
    if factor == 1 or tone.dark == 1:
        return frames
    if tone.logarithmic:
        scaled = 1 - np.float32(factor) * (1 - frames)
    else:
        scaled = (_intensity(frames, tone) ** np.float32(factor) - np.float32(tone.dark)) / np.float32(1 - tone.dark)
    return np.clip(scaled, 0, 1, out=scaled)


def _intensity(frames: np.ndarray, tone: Tone) -> np.ndarray:
    """T of `Tone`, float32."""
    if tone.logarithmic:
        return np.asarray(np.exp(np.float32(math.log(tone.dark)) * (1 - frames)))
    return np.asarray(np.float32(tone.dark) + np.float32(1 - tone.dark) * frames)
