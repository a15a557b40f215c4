"""The contrast agent's bolus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP = 0.01  # s, of the table that the curve is read from


@dataclass(frozen=True)
class Bolus:
    """Concentration over time at the inlet: a constant injection smeared by a gamma-variate transit.

    `c(t) = integral over s in [0, duration] of g(t - s)`, `g(t) = t^(shape-1) e^(-t/scale) / (Gamma(shape) scale^shape)`.
    The time integral of g is 1, so that of c is `duration`: all that is injected passes every point.

    Args:
        duration: of the injection, s.
        shape: of the gamma variate, > 1.
        scale: of the gamma variate, s.
    """

    duration: float
    shape: float
    scale: float

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Times `(N,)` s from 0 until all has passed, and concentration relative to an endless injection, 0..1."""
        from scipy.special import gammainc

        end = self.duration + self.scale * (self.shape + 12 * np.sqrt(self.shape))
        times = np.arange(0, end, STEP)
        passed = gammainc(self.shape, times / self.scale)
        late = gammainc(self.shape, np.maximum(times - self.duration, 0) / self.scale)
        return times, passed - late

    def concentration(self, time: np.ndarray) -> np.ndarray:
        """Concentration at times since the bolus reached a point.

        Args:
            time: any shape, s; negative before arrival.

        Returns:
            0..1, as the share of the injected concentration; its time integral is `duration`.
        """
        times, values = self.table()
        return np.interp(time, times, values, left=0.0, right=0.0)


def draw_bolus(rng: np.random.Generator) -> Bolus:
    """Draw a hand or pump injection into a cerebral artery: 0.8 to 3 s, transit spread 0.1 to 0.4 s."""
    return Bolus(duration=rng.uniform(0.8, 3.0), shape=rng.uniform(1.5, 3.0), scale=rng.uniform(0.08, 0.25))
