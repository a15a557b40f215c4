"""A simulated angiographic run with known truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from angiomorph.simulate.scene import anatomy, motion
from angiomorph.simulate.scene.parts import draw_parts
from angiomorph.simulate.scene.territory import Territory, find_territory
from angiomorph.simulate.scene.volume import Volume, materials
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.vessels import contrast, trees
from angiomorph.simulate.vessels.cloud import CAPILLARY
from angiomorph.simulate.vessels.trees import Vessels
from angiomorph.simulate.xray import objects
from angiomorph.simulate.xray.detector import (
    BONE,
    IODINE,
    METAL,
    WATER,
    Detector,
    draw_detector,
    expect_signal,
    expose,
    find_unsaturated,
    measure,
    to_ln_units,
)
from angiomorph.simulate.xray.displacement import deform, find_displacement, move_points
from angiomorph.simulate.xray.geometry import CArm
from angiomorph.simulate.xray.projector import find_occupied, project_points, project_volume
from angiomorph.storage.truth import BLOCK, RunTruth

STREAMS = ("anatomy", "vessels", "view", "motion", "contrast", "detector", "noise", "parts", "pulse", "room", "metal")
_Streams = Mapping[str, np.random.Generator]

# The numbers below were chosen by eye, so that runs look like clinical ones, unless a source is named.
CTA_IODINE = 0.3  # of the iodine in a grown artery: the CTA shows veins, which the agent reaches diluted
VISIBLE = 0.02  # ln units from which a pixel counts as vessel
DETECTOR_WIDTH = 300.0  # mm, of the middle field of view
ALONE = 0.5  # pixels: bones that overlap count as one where they move alike to this standard deviation
LEAST_BONE = 0.15  # g/cm^2 from which bone is seen
THIN = 1.5  # g/cm^2 of tissue and bone from which a pixel shows the patient
ASIDE = 12.0  # mm, to either side: how far the isocentre lies from the territory's centre along each axis
BELOW = (0.0, 35.0)  # mm further down, where the carotid arteries rise
INJECTED = (0.05, 0.95)  # of the time between the last background frame and the next, when the agent arrives
SOURCE_DETECTOR, SOURCE_PATIENT = (1000.0, 1200.0), (700.0, 780.0)  # mm, of a C-arm on the floor or the ceiling
FRONTAL, LATERAL, OBLIQUE = 5.0, 4.0, (15.0, 70.0)  # degrees of the primary angle: deviation, deviation, range to either side
TILTED, UNTILTED, ANY_TILT = (
    (-12.0, 28.0),
    5.0,
    12.0,
)  # degrees of the secondary angle: frontal range; deviation lateral, oblique
SHADE = 0.05  # g/cm^2 of metal that stays while bone behind it moves


@dataclass(frozen=True)
class SimulatedRun:
    """One run and its truth.

    In expectation the frames in ln units are truth.background + truth.vessel, both with the pose, beam, blur, scatter, gain
    and saturation of that frame.

    Args:
        frames: `(T, H, W)` uint8 or uint16, stored values, iodine dark.
        truth: truth of these frames; a pixel counts as vessel where `truth.vessel` is below -`VISIBLE`.
        arm: geometry.
        detector: beam and encoding.
        frame_time: ms.
        background_frames: count of frames before the contrast agent.
        territory: "head", "neck" or "chest".
        seed: entropy of the run.
    """

    frames: np.ndarray
    truth: RunTruth
    arm: CArm
    detector: Detector
    frame_time: float
    background_frames: int
    territory: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class _Blood:
    """The vessels, and what is injected into them."""

    vessels: Vessels
    bolus: contrast.Bolus
    arrival: float  # s, at the inlet
    iodine: float  # g/cm^3


@dataclass(frozen=True)
class _Scene:
    """All that one run is projected from; places in mm from the isocentre."""

    density: np.ndarray
    spacing: np.ndarray
    origin: np.ndarray
    arm: CArm
    frame_time: float
    times: np.ndarray
    pose: np.ndarray
    parts: motion.Parts
    pulse: np.ndarray
    blood: _Blood
    implant: objects.Implant | None
    room: np.ndarray


def simulate_run(
    ct: Volume, scanned: Vessels | None, settings: SimulationSettings, seed: int | tuple[int, ...]
) -> SimulatedRun:
    """Draw one run.

    Args:
        ct: a head, a neck or a chest.
        scanned: vessels of a CT angiography for a head, or None to grow all vessels.
        settings: ranges and shares to draw from.
        seed: the same one gives the same run, bit for bit, whatever the number of threads.

    Returns:
        frames and truth.

    Raises:
        InputError: the CT is of none of these regions, or the field of view shows no patient.
    """
    entropy = (seed,) if isinstance(seed, int) else tuple(seed)
    streams = np.random.SeedSequence(entropy).spawn(len(STREAMS))
    rngs = {name: np.random.default_rng(stream) for name, stream in zip(STREAMS, streams, strict=True)}
    body = anatomy.vary_anatomy(ct, rngs["anatomy"], settings.deformation)
    territory = find_territory(body)
    scene = _draw_scene(body, territory, scanned, settings, rngs)
    return _expose(scene, territory.kind, settings, entropy, rngs)


def _draw_scene(
    body: Volume, territory: Territory, scanned: Vessels | None, settings: SimulationSettings, rngs: _Streams
) -> _Scene:
    view, moving = rngs["view"], rngs["motion"]
    isocentre = territory.centre + view.uniform(-1, 1, 3) * ASIDE - (0, 0, view.uniform(*BELOW))
    frame_time = view.uniform(*settings.frame_time)
    times = np.arange(settings.frames) * frame_time / 1000
    arm = _draw_arm(settings, view)
    still = moving.random() < settings.still
    pose = _draw_pose(settings, times, moving)
    parts = draw_parts(body, territory, times, rngs["parts"], 0.0 if still else settings.parts)
    blood = _draw_blood(territory, isocentre, scanned, frame_time, settings, rngs)
    implant = objects.draw_implant(territory.centre - isocentre, territory.half, rngs["metal"])
    return _Scene(
        density=materials(body),
        spacing=np.array(body.spacing),
        origin=np.array(body.origin) - isocentre,
        arm=arm,
        frame_time=frame_time,
        times=times,
        pose=0 * pose if still else pose,
        parts=parts,
        pulse=motion.draw_pulse(times, rngs["pulse"]),
        blood=blood,
        implant=implant if rngs["metal"].random() < settings.metal else None,
        room=objects.draw_static(arm, trees.find_inlet(blood.vessels), rngs["room"], settings.objects),
    )


def _draw_blood(
    territory: Territory,
    isocentre: np.ndarray,
    scanned: Vessels | None,
    frame_time: float,
    settings: SimulationSettings,
    rngs: _Streams,
) -> _Blood:
    rng = rngs["contrast"]
    bolus = contrast.draw_bolus(rng)
    from_scan = scanned is not None and territory.kind == "head" and rngs["vessels"].random() >= settings.grown
    if from_scan and scanned is not None:
        cloud = trees.place_vessels(scanned, territory, rngs["vessels"])
    else:
        cloud = trees.grow_vessels(rngs["vessels"], territory, bolus.transit)
    arrival = (settings.background - 1 + rng.uniform(*INJECTED)) * frame_time / 1000
    iodine = rng.uniform(*settings.iodine) / 1000 * (CTA_IODINE if from_scan else 1.0)
    blush = np.where(cloud.phase == CAPILLARY, rng.uniform(*settings.blush), 1.0).astype(np.float32)
    shift = isocentre.astype(np.float32)
    placed = replace(cloud, position=cloud.position - shift, amount=cloud.amount * blush, path=cloud.path - shift)
    return _Blood(placed, bolus, arrival, iodine)


def _draw_arm(settings: SimulationSettings, rng: np.random.Generator) -> CArm:
    view = settings.views[rng.integers(len(settings.views))]
    angles = {
        "frontal": rng.normal(0, FRONTAL),
        "lateral": rng.choice([-90, 90]) + rng.normal(0, LATERAL),
        "oblique": rng.choice([-1, 1]) * rng.uniform(*OBLIQUE),
    }
    primary = float(angles[view])
    secondary = rng.uniform(*TILTED) if view == "frontal" else rng.normal(0, UNTILTED if view == "lateral" else ANY_TILT)
    spacing = DETECTOR_WIDTH / settings.size * rng.uniform(*settings.field_of_view)
    distances = rng.uniform(*SOURCE_DETECTOR), rng.uniform(*SOURCE_PATIENT)
    return CArm(*distances, primary, secondary, settings.size, settings.size, spacing)


def _draw_pose(settings: SimulationSettings, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sizes = rng.uniform(*settings.motion_mm), rng.uniform(*settings.motion_deg)
    return motion.draw_trajectory(times, rng, *sizes)


@dataclass(frozen=True)
class _Projected:
    """One frame's line integrals without and with iodine, `(4, H, W)` g/cm^2, its displacement and where that is defined."""

    empty: np.ndarray
    filled: np.ndarray
    displacement: np.ndarray
    defined: np.ndarray


def _project(scene: _Scene) -> Iterator[_Projected]:
    """Yield each frame; a body at rest since the frame before is projected once."""
    last: bytes | None = None
    at_rest = find_occupied(scene.density)
    for t, pose in enumerate(scene.pose):
        control = scene.parts.control(t)
        if (now := pose.tobytes() + control.tobytes()) != last:
            density = deform(scene.density, scene.spacing, control)
            blocks = at_rest if density is scene.density else find_occupied(density)
            empty, moved, defined = _project_body(scene, density, blocks, pose, control)
            last = now
        filled = empty.copy()
        filled[IODINE] += _project_iodine(scene, t, control)
        yield _Projected(empty, filled, moved, defined)


def _project_body(
    scene: _Scene, density: np.ndarray, blocks: np.ndarray, pose: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = scene.spacing, scene.origin, scene.arm, pose
    paths = scene.room.copy()
    paths[[WATER, BONE]] += project_volume(density, *place, blocks) / 10
    moved, spread, bone = find_displacement(density, *place, control, BLOCK, blocks)
    defined = (spread < ALONE) & (bone / 10 > LEAST_BONE) & _blocks(scene.room[METAL] < SHADE)
    if scene.implant is not None:
        position = _at_moment(scene, scene.implant.position, control)
        paths[METAL] += project_points(position, scene.implant.amount, scene.implant.radius, scene.arm, pose) / 10
    return paths, moved, defined


def _project_iodine(scene: _Scene, frame: int, control: np.ndarray) -> np.ndarray:
    """Mass of iodine per area, `(H, W)` g/cm^2."""
    blood = scene.blood
    share = contrast.share_of_bolus(blood.bolus, blood.vessels, scene.times[frame] - blood.arrival)
    amount = blood.vessels.amount * share * np.float32(blood.iodine / 10)
    position = trees.apply_pulse(blood.vessels, scene.pulse[frame])
    tissue = blood.vessels.phase == CAPILLARY
    total = np.zeros((scene.arm.rows, scene.arm.columns), np.float32)
    whole = scene.arm
    rows, columns, spacing = whole.rows // BLOCK, whole.columns // BLOCK, whole.pixel_spacing * BLOCK
    coarse = replace(whole, rows=rows, columns=columns, pixel_spacing=spacing)
    for kind, arm in ((~tissue, whole), (tissue, coarse)):
        there = kind & (amount > 0)
        place = _at_moment(scene, position[there], control)
        projected = project_points(place, amount[there], blood.vessels.radius[there], arm, scene.pose[frame])
        total += projected if arm is whole else _enlarge(projected)
    return total


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Enlarge a coarse projection smoothly; line integrals do not depend on a pixel's size."""
    return ndimage.zoom(ndimage.gaussian_filter(image, 1, mode="nearest"), BLOCK, order=1, mode="nearest", grid_mode=True)


def _at_moment(scene: _Scene, position: np.ndarray, control: np.ndarray) -> np.ndarray:
    return move_points(position, scene.spacing, scene.origin, scene.density.shape[:3], control)


def _expose(
    scene: _Scene, territory: str, settings: SimulationSettings, entropy: tuple[int, ...], rngs: _Streams
) -> SimulatedRun:
    projected = list(_project(scene))
    detector = draw_detector(projected[0].empty, scene.arm.pixel_spacing, settings, rngs["detector"])
    noise = rngs["noise"].spawn(settings.frames)
    taken = [_take(frame, t, detector, noise[t]) for t, frame in enumerate(projected)]
    frames, background, vessel, region = (np.stack(part) for part in zip(*taken, strict=True))
    open_field = detector.aperture.share > 0.5
    truth = RunTruth(
        background=background,
        vessel=vessel,
        vessel_mask=vessel < -VISIBLE,
        anatomy=region,
        pose=scene.pose,
        displacement=np.stack([frame.displacement for frame in projected]),
        displacement_defined=np.stack([frame.defined & _blocks(open_field) for frame in projected]),
        stored_per_ln=detector.stored_per_ln,
    )
    return SimulatedRun(
        frames=frames,
        truth=truth,
        arm=scene.arm,
        detector=detector,
        frame_time=scene.frame_time,
        background_frames=settings.background,
        territory=territory,
        seed=entropy,
    )


def _take(frame: _Projected, t: int, detector: Detector, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Stored values, truth without iodine and of iodine, and where the patient is seen."""
    empty = filled = expose(frame.empty, detector)
    without = signal = expect_signal(empty, detector, t)
    if not np.array_equal(frame.filled[IODINE], frame.empty[IODINE]):
        filled = expose(frame.filled, detector)
        signal = expect_signal(filled, detector, t)
    background = to_ln_units(without, detector)
    vessel = to_ln_units(signal, detector) - background
    if detector.encoding.relation != "DISP":
        vessel = np.minimum(vessel, 0)  # only rounding is above
    seen = (detector.aperture.share > 0.5) & (frame.empty[WATER] + frame.empty[BONE] > THIN)
    return measure(filled, detector, t, rng), background, vessel, seen & find_unsaturated(without, detector)


def _blocks(region: np.ndarray) -> np.ndarray:
    """Return the blocks that lie wholly in a region."""
    rows, columns = region.shape
    return np.asarray(region.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).all((1, 3)))
