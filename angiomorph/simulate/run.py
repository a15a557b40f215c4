"""A simulated angiographic run with known truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from angiomorph.errors import InputError
from angiomorph.simulate import anatomy, contrast, motion, physics
from angiomorph.simulate.anatomy import Volume
from angiomorph.simulate.geometry import CArm
from angiomorph.simulate.projector import project_points, project_volume
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.vessels import Vessels, place, vessel_tree

WATER = 0.021  # 1/mm at about 55 keV, the mean energy of an 80 kV angiography beam behind its filter
BONE = 0.037  # the same of bone mineral of 1 g/cm^3
SPREAD = (0.17, 0.42)  # mm, standard deviation of the light's spread in the detector
PIXEL_SPREAD = (
    6**-0.5
)  # pixels, of sampling: with it, frames of half the size equal 2 x 2 means in sharpness and noise (tested)
CTA_IODINE = 0.3  # of the iodine in a grown artery: the CTA shows veins, which the agent reaches diluted
VISIBLE = 0.02  # ln units from which a pixel counts as vessel
DETECTOR_WIDTH = 300.0  # mm, of the middle field of view
MIDDLE = (0.08, 0.3)  # stored value of the head's median over the largest value


@dataclass(frozen=True)
class SimulatedRun:
    """One run and its truth.

    In expectation `ln(frames) = background + vessel`, both with the pose, blur, scatter, gain and saturation of that frame.

    Args:
        frames: `(T, H, W)` uint8 or uint16, PixelIntensityRelationship LIN, iodine dark.
        background: `(T, H, W)` float32, ln of the noise-free stored value without contrast agent.
        vessel: `(T, H, W)` float32 <= 0, ln of the noise-free stored value with over that without contrast agent.
        vessel_mask: `(T, H, W)` bool, vessel < -0.02.
        anatomy: `(T, H, W)` bool, inside the collimator, behind tissue, not saturated.
        pose: `(T, 6)` float64, degrees about x, y, z, mm along x, y, z, about the isocentre; the first frame's is 0.
        arm: geometry.
        bits_stored: BitsStored.
        frame_time: ms.
        background_frames: count of frames before the contrast agent.
        seed: entropy of the run.
    """

    frames: np.ndarray
    background: np.ndarray
    vessel: np.ndarray
    vessel_mask: np.ndarray
    anatomy: np.ndarray
    pose: np.ndarray
    arm: CArm
    bits_stored: int
    frame_time: float
    background_frames: int
    seed: tuple[int, ...]


@dataclass(frozen=True)
class _Scene:
    """All that one run is projected from."""

    head: Volume
    vessels: Vessels
    origin: np.ndarray
    isocentre: np.ndarray
    iodine: float
    bolus: contrast.Bolus
    arrival: float
    arm: CArm
    frame_time: float
    times: np.ndarray
    pose: np.ndarray
    streams: list[np.random.Generator] = field(repr=False)


def simulate_run(
    ct: Volume, vessels: Vessels | None, settings: SimulationSettings, seed: int | tuple[int, ...]
) -> SimulatedRun:
    """Draw one run.

    Args:
        ct: head.
        vessels: scanned vessels, or None to grow arteries in every run.
        settings: what to draw from.
        seed: the same one gives the same run, bit for bit, whatever the number of threads.

    Returns:
        frames and truth.

    Raises:
        InputError: the CT holds no skull.
    """
    entropy = (seed,) if isinstance(seed, int) else tuple(seed)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(entropy).spawn(7)]
    scene = _draw_scene(ct, vessels, settings, streams)
    return _expose(scene, settings, entropy)


def _draw_scene(
    ct: Volume, vessels: Vessels | None, settings: SimulationSettings, streams: list[np.random.Generator]
) -> _Scene:
    head_rng, vessel_rng, view_rng, motion_rng, contrast_rng = streams[:5]
    head = anatomy.vary(ct, head_rng, settings.deformation)
    cavity = anatomy.find_cavity(head)
    scanned = vessels is not None and vessel_rng.random() >= settings.grown
    cloud = place(vessels, cavity, vessel_rng) if scanned and vessels is not None else vessel_tree(vessel_rng, cavity)
    isocentre = cavity.centre + view_rng.uniform(-1, 1, 3) * 12 - (0, 0, view_rng.uniform(0, 35))
    frame_time = view_rng.uniform(*settings.frame_time)
    times = np.arange(settings.frames) * frame_time / 1000
    return _Scene(
        head=head,
        vessels=cloud,
        origin=np.array(head.origin) - isocentre,
        isocentre=isocentre,
        iodine=contrast_rng.uniform(*settings.iodine) * (CTA_IODINE if scanned else 1.0),
        bolus=contrast.draw_bolus(contrast_rng),
        arrival=(settings.background - 1 + contrast_rng.uniform(0.05, 0.95)) * frame_time / 1000,
        arm=_draw_arm(settings, view_rng),
        frame_time=frame_time,
        times=times,
        pose=_draw_pose(settings, times, motion_rng),
        streams=streams,
    )


def _draw_arm(settings: SimulationSettings, rng: np.random.Generator) -> CArm:
    view = settings.views[rng.integers(len(settings.views))]
    angles = {
        "frontal": rng.normal(0, 5),
        "lateral": rng.choice([-90, 90]) + rng.normal(0, 4),
        "oblique": rng.choice([-1, 1]) * rng.uniform(15, 70),
    }
    primary = float(angles[view])
    secondary = rng.uniform(-12, 28) if view == "frontal" else rng.normal(0, 5 if view == "lateral" else 12)
    spacing = DETECTOR_WIDTH / settings.size * rng.uniform(*settings.field_of_view)
    return CArm(rng.uniform(1000, 1200), rng.uniform(700, 780), primary, secondary, settings.size, settings.size, spacing)


def _draw_pose(settings: SimulationSettings, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sizes = rng.uniform(*settings.motion_mm), rng.uniform(*settings.motion_deg)
    moving = rng.random() >= settings.still
    course = motion.trajectory(times, rng, *sizes)
    return course if moving else np.zeros_like(course)


def _expose(scene: _Scene, settings: SimulationSettings, entropy: tuple[int, ...]) -> SimulatedRun:
    tissue = _project_head(scene, settings)
    iodine = [_project_iodine(scene, frame) for frame in range(settings.frames)]
    detector = _draw_detector(tissue[0], scene, settings)
    noise = scene.streams[6].spawn(settings.frames)
    shape = (settings.frames, settings.size, settings.size)
    frames = np.empty(shape, np.uint8 if detector.bits_stored <= 8 else np.uint16)
    background, vessel, region = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, bool)
    for t in range(settings.frames):
        frames[t] = physics.measured(tissue[t] + iodine[t], detector, t, noise[t])
        empty = physics.expected(tissue[t], detector, t)
        background[t] = np.log(empty)
        vessel[t] = np.minimum(np.log(physics.expected(tissue[t] + iodine[t], detector, t)) - background[t], 0)
        region[t] = (detector.aperture > 0.5) & (tissue[t] > 0.3) & (empty < 0.98 * (2**detector.bits_stored - 1))
    return SimulatedRun(
        frames, background, vessel, vessel < -VISIBLE, region, scene.pose, scene.arm, detector.bits_stored,
        scene.frame_time, settings.background, entropy,
    )  # fmt: skip


def _project_head(scene: _Scene, settings: SimulationSettings) -> list[np.ndarray]:
    """Line integrals of the head at each frame's pose; a pose that repeats is projected once."""
    seen: dict[bytes, np.ndarray] = {}
    density = anatomy.materials(scene.head)
    for pose in scene.pose:
        if pose.tobytes() not in seen:
            spacing = np.array(scene.head.spacing)
            water, bone = project_volume(density, spacing, scene.origin, scene.arm, pose)
            seen[pose.tobytes()] = np.float32(WATER) * water + np.float32(BONE) * bone
    return [seen[pose.tobytes()] for pose in scene.pose]


def _project_iodine(scene: _Scene, frame: int) -> np.ndarray:
    since = scene.times[frame] - scene.arrival - scene.vessels.arrival
    share = scene.bolus.concentration(since)
    there = share > 0
    cloud = scene.vessels
    return project_points(
        (cloud.position[there] - scene.isocentre),
        cloud.amount[there] * share[there] * scene.iodine,
        cloud.radius[there],
        scene.arm,
        scene.pose[frame],
    )


def _draw_detector(tissue: np.ndarray, scene: _Scene, settings: SimulationSettings) -> physics.Detector:
    rng = scene.streams[5]
    aperture = physics.draw_aperture(rng, settings.size, settings.size, bool(rng.random() < settings.collimated))
    scatter = rng.uniform(0.1, 0.5)
    behind = physics.intensity(tissue, scatter, aperture)[(aperture > 0.5) & (tissue > 1)]
    if behind.size == 0:
        raise InputError("simulation: expected the head inside the field of view, found air only; use a larger field of view")
    dose = np.exp(rng.uniform(*np.log(settings.dose)))
    bits, weights = zip(*settings.bits_stored, strict=True)
    bits_stored = int(rng.choice(bits, p=np.array(weights) / sum(weights)))
    photons = dose * scene.arm.pixel_spacing**2 / float(np.median(behind))
    return physics.Detector(
        photons=photons,
        scatter=scatter,
        blur=float(np.hypot(rng.uniform(*SPREAD) / scene.arm.pixel_spacing, PIXEL_SPREAD)),
        electronic=rng.uniform(2, 8) * scene.arm.pixel_spacing / (DETECTOR_WIDTH / 512),
        exposure=np.exp(rng.uniform(*np.log(MIDDLE))) * 2**bits_stored / float(np.median(behind)),
        bits_stored=bits_stored,
        aperture=aperture,
        gain=physics.draw_gain(rng, settings.frames),
    )
