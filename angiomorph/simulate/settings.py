"""What simulated runs are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from angiomorph.errors import InputError

VIEWS = ("frontal", "lateral", "oblique")
RELATIONS = ("LIN", "LOG", "DISP")
BITS = (8, 10, 12, 16)
RANGES = ("motion_mm", "motion_deg", "kv", "copper", "dose", "frame_time", "field_of_view", "iodine", "blush")
SHARES = ("still", "parts", "objects", "metal", "grown", "collimated")


@dataclass(frozen=True)
class SimulationSettings:
    """What the runs of one simulation have in common; ranges (low, high) are drawn anew for each run.

    Args:
        size: rows and columns, pixels, a multiple of 4; the field of view does not depend on it.
        frames: a run's frame count, background frames included.
        background: frames before the contrast agent arrives.
        motion_mm: largest translation of the head within a run, mm.
        motion_deg: largest rotation of the head within a run, degrees.
        still: share of runs in which nothing moves but the blood.
        parts: share of the other runs in which a part moves by itself, for each part that the anatomy has.
        objects: share of runs with a table, with leads, with a catheter: things that stay when the patient moves.
        metal: share of runs with a clip or a coil, which moves with the patient.
        kv: tube voltage, kV.
        copper: filter, mm.
        dose: photons detected behind the patient, median, per mm^2 and frame; the default leaves noise of
            about 0.04 to 0.005 ln units at 512 pixels.
        frame_time: ms.
        views: of "frontal", "lateral", "oblique".
        field_of_view: detector width over the 300 mm of the middle one.
        deformation: elastic change of the anatomy, standard deviation, mm; also sets scaling.
        iodine: in grown arteries, mg/ml; a CTA with its wide veins gets 0.3 of it.
        blush: blood shown in capillaries, 0..1, over flow times transit time, about 1 to 7 % of a brain's tissue; over 2 to
            4 % of it about the vessels of a CTA. Above 1 there would be more iodine than was injected.
        grown: share of runs with a grown arterial tree where a CTA is given.
        collimated: share of runs with a visible collimator.
        relations: PixelIntensityRelationship and how often, as pairs.
        bits_stored: BitsStored and how often, as pairs.
    """

    size: int = 512
    frames: int = 12
    background: int = 3
    motion_mm: tuple[float, float] = (0.0, 5.0)
    motion_deg: tuple[float, float] = (0.0, 3.0)
    still: float = 0.1
    parts: float = 0.3
    objects: float = 0.4
    metal: float = 0.12
    kv: tuple[float, float] = (68.0, 100.0)
    copper: tuple[float, float] = (0.0, 0.3)
    dose: tuple[float, float] = (5e2, 2e4)
    frame_time: tuple[float, float] = (250.0, 500.0)
    views: tuple[str, ...] = VIEWS
    field_of_view: tuple[float, float] = (0.65, 1.1)
    deformation: float = 3.0
    iodine: tuple[float, float] = (70.0, 180.0)
    blush: tuple[float, float] = (0.3, 1.0)
    grown: float = 0.5
    collimated: float = 0.35
    relations: tuple[tuple[str, float], ...] = (("LIN", 0.8), ("LOG", 0.12), ("DISP", 0.08))
    bits_stored: tuple[tuple[int, float], ...] = ((8, 0.08), (10, 0.3), (12, 0.52), (16, 0.1))

    def __post_init__(self) -> None:
        """Refuse what no run can be made of."""
        for name in RANGES:
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise InputError(f"simulation: expected {name} as low, high with 0 <= low <= high, found {low}, {high}")
        if self.blush[1] > 1:
            raise InputError(f"simulation: expected blush up to 1, found {self.blush[1]:g}: tissue holds no more than flows in")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"simulation: expected {name} as a share from 0 to 1, found {getattr(self, name)}")
        if self.size < 32 or self.size % 4 or not 1 <= self.background <= self.frames:
            raise InputError(
                f"simulation: expected size >= 32 and a multiple of 4, and 1 <= background <= frames, found size {self.size}, "
                f"background {self.background}, frames {self.frames}"
            )
        if not 50 <= self.kv[0] <= self.kv[1] <= 150:
            raise InputError(f"simulation: expected kv from 50 to 150, found {self.kv[0]:g}, {self.kv[1]:g}")
        for name, known in (("views", VIEWS), ("relations", RELATIONS), ("bits_stored", BITS)):
            self._check_choice(name, known)

    def _check_choice(self, name: str, known: tuple[object, ...]) -> None:
        given = [item[0] if isinstance(item, tuple) else item for item in getattr(self, name)]
        weights = [item[1] if isinstance(item, tuple) else 1.0 for item in getattr(self, name)]
        if not given or set(given) - set(known) or min(weights) < 0 or not sum(weights) > 0:
            raise InputError(
                f"simulation: expected {name} out of {', '.join(map(str, known))}, with weights of 0 or more, found "
                f"{getattr(self, name)}"
            )
