"""What simulated runs are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from angiomorph.errors import InputError
from angiomorph.options import check_options, document_options, option, refuse
from angiomorph.simulate.xray.spectrum import COPPER, KV

RELATIONS = {"LIN": 0.8, "LOG": 0.12, "DISP": 0.08}  # and how often each is drawn where several are allowed
BITS = {8: 0.08, 10: 0.3, 12: 0.52, 16: 0.1}
RANGES = ("motion_mm", "motion_deg", "kv", "copper", "dose", "frame_time", "field_of_view", "iodine", "blush")
PAIR, SHARE = ("LOW", "HIGH"), "SHARE"


@document_options
@dataclass(frozen=True)
class SimulationSettings:
    """What the runs of one simulation have in common; ranges (low, high) and shares are drawn anew for each run.

    >>> from angiomorph.simulate.settings import SimulationSettings
    >>> SimulationSettings(size=256, relations=("LIN",)).frames
    12
    >>> SimulationSettings(still=2.0)
    Traceback (most recent call last):
    angiomorph.errors.InputError: `still` 2.0: expected a number from 0 to 1, got 2.0
    """

    size: int = option(
        512, "rows and columns, pixels, a multiple of 4; the field of view does not depend on it", metavar="N", low=32
    )
    frames: int = option(12, "frames of a run, background frames included", metavar="N", low=1)
    background: int = option(3, "frames before the contrast agent arrives", metavar="N", low=1)
    motion_mm: tuple[float, float] = option((0.0, 5.0), "largest shift of the patient within a run, mm", metavar=PAIR, low=0)
    motion_deg: tuple[float, float] = option((0.0, 3.0), "largest turn of the patient, degrees", metavar=PAIR, low=0)
    still: float = option(0.1, "share of runs in which nothing moves but the blood", metavar=SHARE, low=0, high=1)
    parts: float = option(
        0.3,
        "share of the other runs in which a part moves by itself, for each of jaw, throat, shoulders, diaphragm and heart",
        metavar=SHARE,
        low=0,
        high=1,
    )
    objects: float = option(
        0.4,
        "share of runs with a table, with leads, with a catheter, which stay as the patient moves",
        metavar=SHARE,
        low=0,
        high=1,
    )
    metal: float = option(
        0.12, "share of runs with a clip or a coil, which moves with the patient", metavar=SHARE, low=0, high=1
    )
    kv: tuple[float, float] = option((68.0, 100.0), "tube voltage, kV", metavar=PAIR, low=KV[0], high=KV[1])
    copper: tuple[float, float] = option((0.0, 0.3), "copper filter, mm", metavar=PAIR, low=COPPER[0], high=COPPER[1])
    dose: tuple[float, float] = option(
        (5e2, 2e4),
        "photons detected behind the patient, median, per mm^2 and frame; the default leaves noise of 0.04 to 0.005 ln units "
        "at 512 pixels",
        metavar=PAIR,
        low=1,
    )
    frame_time: tuple[float, float] = option((250.0, 500.0), "time between frames, ms", metavar=PAIR, low=1)
    views: tuple[str, ...] = option(
        ("frontal", "lateral", "oblique"), "views to draw from", choices=("frontal", "lateral", "oblique")
    )
    field_of_view: tuple[float, float] = option((0.65, 1.1), "detector width over 300 mm", metavar=PAIR, low=0.1)
    deformation: float = option(
        3.0, "elastic change of the anatomy, standard deviation, mm; also sets scaling", metavar="MM", low=0
    )
    iodine: tuple[float, float] = option(
        (70.0, 180.0), "iodine in grown arteries, mg/ml; a CTA with its wide veins gets 0.3 of it", metavar=PAIR, low=0
    )
    blush: tuple[float, float] = option(
        (0.3, 1.0),
        "blood shown in capillaries over what flows in; above 1 there would be more iodine than was injected",
        metavar=PAIR,
        low=0,
        high=1,
    )
    grown: float = option(0.5, "share of runs with grown vessels although a CTA is given", metavar=SHARE, low=0, high=1)
    collimated: float = option(0.35, "share of runs with a visible collimator", metavar=SHARE, low=0, high=1)
    relations: tuple[str, ...] = option(
        tuple(RELATIONS), "PixelIntensityRelationship to draw from, LIN most often", choices=tuple(RELATIONS)
    )
    bits_stored: tuple[int, ...] = option(tuple(BITS), "BitsStored to draw from, 12 most often", choices=tuple(BITS))

    def __post_init__(self) -> None:
        """Refuse what no run can be made of.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)
        for name in RANGES:
            low, high = getattr(self, name)
            if low > high:
                raise refuse(name, "the lower end first", (low, high))
        for name in ("views", "relations", "bits_stored"):
            if not getattr(self, name):
                raise InputError(f"`{name}`: expected at least one to draw from, got none")
        if self.size % 4:
            raise refuse("size", "a multiple of 4", self.size)
        if self.background > self.frames:
            raise refuse("background", f"at most `frames`, {self.frames}", self.background)
