"""The contrast agent's bolus, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from angiomorph.simulate.vessels.cloud import ARTERY, CAPILLARY, VEIN, Vessels

STEP = 0.01  # s, of the table that the curve is read from
# Chosen by eye within what textbooks of angiography name.
INJECTION = (0.8, 3.0)  # s, by hand or by pump
SPREAD_SHAPE, SPREAD_SCALE = (1.5, 3.0), (0.08, 0.25)  # of the gamma variate that blurs the bolus: number, and s
TRANSIT = (1.2, 3.0)  # s through the capillaries
DISPERSION = 0.45  # standard deviation of the time through the capillaries over its mean


@dataclass(frozen=True)
class Bolus:
    """Concentration over time at the inlet: a constant injection smeared by a gamma-variate transit.

    `c(t) = integral over s in [0, duration] of g(t - s)`, `g(t) = t^(shape-1) e^(-t/scale) / (Gamma(shape) scale^shape)`.
    The time integral of g is 1, so that of c is `duration`: all that is injected passes every point.

    Args:
        duration: duration of the injection, s.
        shape: shape parameter of the gamma variate, > 1.
        scale: scale parameter of the gamma variate, s.
        transit: mean time that blood takes through capillaries, s, >= 0.
    """

    duration: float
    shape: float
    scale: float
    transit: float = 2.0

    def after(self) -> Bolus:
        """Return the bolus behind the capillaries, dispersed by their unequal lengths.

        The means and the variances of both transits add, `mean = shape scale + transit`, `variance = shape scale^2 +
        (0.45 transit)^2`, and a gamma variate has both.
        """
        mean = self.shape * self.scale + self.transit
        variance = self.shape * self.scale**2 + (DISPERSION * self.transit) ** 2
        return replace(self, shape=mean**2 / variance, scale=variance / mean)

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

    def within(self, time: np.ndarray) -> np.ndarray:
        """Mean concentration in the capillaries, of what has flowed into them and not yet out.

        `c(t) = integral over s in [0, t] of (c_in(s) - c_out(s)) / transit`: their volume is flow times transit (P. Meier,
        K. L. Zierler, J. Appl. Physiol. 6 (1954) 731-744).

        Args:
            time: any shape, s, since the bolus reached the capillaries.

        Returns:
            0..1, as `concentration`.
        """
        if self.transit == 0:
            return self.concentration(time)
        times, gone = self.after().table()
        kept = self.concentration(times) - gone
        volume = (np.cumsum(kept) - kept / 2) * STEP / self.transit
        return np.interp(time, times, np.maximum(volume, 0), left=0.0, right=0.0)  # where all has passed, rounding is left


def share_of_bolus(bolus: Bolus, cloud: Vessels, since_injection: float) -> np.ndarray:
    """Concentration in each body of a vessel cloud, relative to what is injected.

    Args:
        bolus: the injection.
        cloud: vessels.
        since_injection: time since the injection began, s.

    Returns:
        `(N,)` float32, 0..1; its time integral is `bolus.duration * cloud.dilution`.
    """
    out = np.zeros(len(cloud.amount), np.float32)
    for phase, curve in ((ARTERY, bolus.concentration), (CAPILLARY, bolus.within), (VEIN, bolus.after().concentration)):
        there = cloud.phase == phase
        if there.any():
            out[there] = curve(since_injection - cloud.arrival[there])
    return out * cloud.dilution


def draw_bolus(rng: np.random.Generator) -> Bolus:
    """Draw a hand or pump injection into an artery: 0.8 to 3 s, transit spread 0.1 to 0.4 s, 1.2 to 3 s through capillaries."""
    duration, shape, scale = rng.uniform(*INJECTION), rng.uniform(*SPREAD_SHAPE), rng.uniform(*SPREAD_SCALE)
    return Bolus(duration, shape, scale, transit=rng.uniform(*TRANSIT))
