"""How the head moves during a run."""

from __future__ import annotations

import numpy as np

KINDS = ("drift", "jerk", "periodic")


def trajectory(times: np.ndarray, rng: np.random.Generator, motion_mm: float, motion_deg: float) -> np.ndarray:
    """Draw a rigid head motion: one or two of drift, jerk and periodic (breathing, tremor), at random directions and axes.

    Args:
        times: `(T,)` s, ascending.
        rng: source.
        motion_mm: largest translation away from the first frame, mm, >= 0.
        motion_deg: largest rotation angle sum away from the first frame, degrees (Euclidean norm of the three), >= 0.

    Returns:
        `(T, 6)` float64 pose: degrees about x, y, z, then mm; the first frame's is 0, the largest reach the amplitudes.
    """
    parts = [_scaled(_course(times, rng), size) for size in (motion_deg, motion_mm)]
    return np.concatenate(parts, axis=1)


def _scaled(course: np.ndarray, size: float) -> np.ndarray:
    course = course - course[0]
    largest = np.linalg.norm(course, axis=1).max()
    return course * (size / largest) if largest > 0 else course


def _course(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kinds = rng.choice(KINDS, size=rng.integers(1, 3), replace=False)
    return sum((_one(str(kind), times, rng) for kind in kinds), np.zeros((len(times), 3)))


def _one(kind: str, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    span = max(times[-1] - times[0], 1e-9)
    u = (times - times[0]) / span
    if kind == "drift":
        bend = rng.normal(0, 0.5, 3)
        return u[:, None] * direction + (u * (1 - u))[:, None] * bend
    if kind == "jerk":
        rise = 0.1 + 0.3 * rng.random()
        start = rng.uniform(0.1 * span, 0.8 * span)
        back = rng.uniform(0, 0.6) * (1 - np.exp(-np.maximum(times - times[0] - start - rise, 0) / 1.5))
        ramp = np.clip((times - times[0] - start) / rise, 0, 1)
        return (ramp * ramp * (3 - 2 * ramp) * (1 - back))[:, None] * direction
    frequency = rng.uniform(0.2, 1.2)
    phase = rng.uniform(0, 2 * np.pi)
    return np.sin(2 * np.pi * frequency * (times - times[0]) + phase)[:, None] * direction * rng.uniform(0.3, 1)
