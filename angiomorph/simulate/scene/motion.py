"""How a patient moves during a run: as a whole, in parts, and with the pulse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("drift", "jerk", "periodic")

# All chosen by eye, so that runs move as patients who breathe, swallow and lose their patience do.
BEND = 0.5  # deviation of a drift's curve, over its length
RISE = (0.1, 0.4)  # s that a jerk takes
BEGINNING = (0.1, 0.8)  # of the run, when a jerk begins
RETURN, RETURNING = (0.0, 0.6), 1.5  # share of a jerk that is taken back, and the time constant of that, s
FREQUENCY, LOUDNESS = (0.2, 1.2), (0.3, 1.0)  # Hz, from breathing to tremor; size over that of the other kinds
HEARTBEAT = (0.8, 1.1)  # s, 55 to 75 a minute


def draw_trajectory(times: np.ndarray, rng: np.random.Generator, motion_mm: float, motion_deg: float) -> np.ndarray:
    """Draw a rigid head motion: one or two of drift, jerk and periodic (breathing, tremor), at random directions and axes.

    Args:
        times: `(T,)` s, ascending.
        rng: source.
        motion_mm: largest translation away from the first frame, mm, >= 0.
        motion_deg: largest rotation angle sum away from the first frame, degrees (Euclidean norm of the three), >= 0.

    Returns:
        `(T, 6)` float64 pose: degrees about x, y, z, then mm; the first frame's is 0, the largest reach the amplitudes.
    """
    parts = [_scale_to(_draw_course(times, rng), size) for size in (motion_deg, motion_mm)]
    return np.concatenate(parts, axis=1)


def _scale_to(course: np.ndarray, size: float) -> np.ndarray:
    course = course - course[0]
    largest = np.linalg.norm(course, axis=1).max()
    return course * (size / largest) if largest > 0 else course


def _draw_course(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kinds = rng.choice(KINDS, size=rng.integers(1, 3), replace=False)
    return sum((_draw_course_of(str(kind), times, rng) for kind in kinds), np.zeros((len(times), 3)))


def _draw_course_of(kind: str, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    span = max(times[-1] - times[0], 1e-9)
    u = (times - times[0]) / span
    if kind == "drift":
        bend = rng.normal(0, BEND, 3)
        return u[:, None] * direction + (u * (1 - u))[:, None] * bend
    if kind == "jerk":
        rise = RISE[0] + (RISE[1] - RISE[0]) * rng.random()
        start = rng.uniform(BEGINNING[0] * span, BEGINNING[1] * span)
        back = rng.uniform(*RETURN) * (1 - np.exp(-np.maximum(times - times[0] - start - rise, 0) / RETURNING))
        ramp = np.clip((times - times[0] - start) / rise, 0, 1)
        return (ramp * ramp * (3 - 2 * ramp) * (1 - back))[:, None] * direction
    frequency = rng.uniform(*FREQUENCY)
    phase = rng.uniform(0, 2 * np.pi)
    return np.sin(2 * np.pi * frequency * (times - times[0]) + phase)[:, None] * direction * rng.uniform(*LOUDNESS)


@dataclass(frozen=True)
class Parts:
    """Local motions: parts of the body that move by themselves, as backward displacements.

    The material that is now at a point q of the body was at rest at `q + sum over p of amplitude[t, p] * field[p](q)`.

    Args:
        names: P names.
        field: `(P, 3, D, D, D)` float32, displacement along x, y, z per unit of amplitude, sampled evenly over the whole volume
            (axes Z, Y, X, the outermost voxels' centres included); its largest length is 1, and it is 0 outside its part.
        amplitude: `(T, P)` float64, mm; the first frame's is 0.
    """

    names: tuple[str, ...]
    field: np.ndarray
    amplitude: np.ndarray

    def control(self, frame: int) -> np.ndarray:
        """Return the whole displacement at a frame, `(3, D, D, D)` float32, mm."""
        return np.tensordot(self.amplitude[frame].astype(np.float32), self.field, axes=1)


def draw_pulse(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the arterial pulse wave: a steep rise and a slower fall, 0.8 to 1.1 s apart.

    Args:
        times: `(T,)` s, ascending.
        rng: source.

    Returns:
        `(T,)` float64 between -1 and 1, relative to the first frame's, which is 0.
    """
    return since_first(beat((times - times[0]) / rng.uniform(*HEARTBEAT) + rng.random()))


def beat(cycles: np.ndarray) -> np.ndarray:
    """Pressure over the heart's cycle, 0..1: a cosine up within its first quarter, and down again until the next one.

    Args:
        cycles: any shape, of the heart; a beat begins at each whole number.

    Returns:
        the same shape.
    """
    phase = cycles - np.floor(cycles)
    return np.where(phase < 0.25, 0.5 - 0.5 * np.cos(4 * np.pi * phase), 0.5 + 0.5 * np.cos(4 / 3 * np.pi * (phase - 0.25)))


def since_first(course: np.ndarray) -> np.ndarray:
    """Return a course relative to its first value."""
    return course - course[0]
