"""What simulated runs are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from angiomorph.errors import InputError

VIEWS = ("frontal", "lateral", "oblique")


@dataclass(frozen=True)
class SimulationSettings:
    """What the runs of one simulation have in common; ranges (low, high) are drawn anew for each run.

    Args:
        size: rows and columns, pixels; the field of view does not depend on it.
        frames: a run's frame count, background frames included.
        background: frames before the contrast agent arrives.
        motion_mm: largest translation within a run, mm.
        motion_deg: largest rotation within a run, degrees.
        still: share of runs without motion.
        dose: photons detected behind the head, median, per mm^2 and frame; the default leaves noise of
            about 0.04 to 0.005 ln units at 512 pixels.
        frame_time: ms.
        views: of "frontal", "lateral", "oblique".
        field_of_view: detector width over the 300 mm of the middle one.
        deformation: elastic change of the anatomy, standard deviation, mm; also sets scaling.
        iodine: attenuation of undiluted contrast in grown arteries, 1/mm; a CTA with its wide veins gets 0.3 of it.
        grown: share of runs with a grown arterial tree where a CTA is given.
        collimated: share of runs with a visible collimator.
        bits_stored: BitsStored and how often, as pairs.
    """

    size: int = 512
    frames: int = 12
    background: int = 3
    motion_mm: tuple[float, float] = (0.0, 5.0)
    motion_deg: tuple[float, float] = (0.0, 3.0)
    still: float = 0.1
    dose: tuple[float, float] = (5e2, 2e4)
    frame_time: tuple[float, float] = (250.0, 500.0)
    views: tuple[str, ...] = VIEWS
    field_of_view: tuple[float, float] = (0.65, 1.1)
    deformation: float = 3.0
    iodine: tuple[float, float] = (0.07, 0.18)
    grown: float = 0.5
    collimated: float = 0.35
    bits_stored: tuple[tuple[int, float], ...] = ((8, 0.08), (10, 0.32), (12, 0.6))

    def __post_init__(self) -> None:
        """Refuse what no run can be made of."""
        ranges = ("motion_mm", "motion_deg", "dose", "frame_time", "field_of_view", "iodine")
        wrong = [name for name in ranges if not 0 <= getattr(self, name)[0] <= getattr(self, name)[1]]
        if wrong:
            raise InputError(
                f"simulation: expected {wrong[0]} as low, high with 0 <= low <= high, found {getattr(self, wrong[0])}"
            )
        if self.size < 32 or not 1 <= self.background <= self.frames:
            raise InputError(
                f"simulation: expected size >= 32 and 1 <= background <= frames, found size {self.size}, "
                f"background {self.background}, frames {self.frames}"
            )
        if not self.views or set(self.views) - set(VIEWS):
            raise InputError(f"simulation: expected views out of {', '.join(VIEWS)}, found {self.views}")
