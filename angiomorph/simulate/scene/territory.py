"""Where the vessels of a run are: the head's brain cavity, the chest's heart, or the neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.simulate.scene.volume import BONE, TISSUE, Volume

THIN = 24.0  # mm that ears and lips may stick out
STEP = 3.0  # mm, of the grid that regions are looked for on
LUNG = 4e5  # mm^3 of air within the body on either side, from which it is a chest
BRAIN = 4e5  # mm^3 of a cavity enclosed by bone, from which it is a skull's
WIDER = 1.4  # of the narrowest slices' area, up to which a slice of the body belongs to the neck
SPINE = 5e3  # mm^3 of bone, below which there is no spine
WIDE = 0.6  # of the lungs' largest section: below, a slice shows their tips
CORE = 0.55  # of the heart's greatest depth: what lies deeper is heart, neither spine nor aorta nor the great vessels


@dataclass(frozen=True)
class Territory:
    """The region that vessels supply, as an axis-aligned ellipsoid.

    Args:
        kind: "head" (the intracranial cavity), "chest" (the heart) or "neck" (soft tissue about the cervical spine).
        centre: x, y, z, mm.
        half: half axes along x, y, z, mm.
    """

    kind: str
    centre: np.ndarray
    half: np.ndarray


@dataclass(frozen=True)
class Grid:
    """A volume thinned to about 3 mm: attenuation `(Z, Y, X)`, voxel size and origin x, y, z, mm."""

    values: np.ndarray
    spacing: np.ndarray
    origin: np.ndarray

    def axis(self, number: int) -> np.ndarray:
        """Places of the voxels along x (0), y (1) or z (2), mm."""
        return self.origin[number] + np.arange(self.values.shape[2 - number]) * self.spacing[number]

    def bounds(self, region: np.ndarray, cut: float) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest x, y, z of a region's voxels, mm, `cut` per cent of them left out at each end."""
        ends = []
        for number in range(3):
            counts = region.sum(axis=tuple({0, 1, 2} - {2 - number})).cumsum()
            places = np.searchsorted(counts, np.array((cut / 100, 1 - cut / 100)) * counts[-1])
            ends.append(self.origin[number] + places * self.spacing[number])
        return np.array(ends)[:, 0], np.array(ends)[:, 1]

    def size(self, region: np.ndarray) -> float:
        """Volume of a region, mm^3."""
        return float(region.sum() * np.prod(self.spacing))


def find_territory(volume: Volume) -> Territory:
    """Tell a head, a chest and a neck apart, and find the region whose vessels are shown.

    A chest has two lungs, air of more than 400 ml on either side within the body: its heart lies between them. A head has a
    cavity of more than 400 ml enclosed by bone. Any other body about a spine is a neck.

    Args:
        volume: in RAS axes, z superior.

    Returns:
        the territory.

    Raises:
        InputError: there is neither.
    """
    grid = thin_volume(volume)
    lungs = _lungs(grid)
    if lungs is not None:
        return _heart(grid, lungs)
    cavity = _cavity(grid)
    if cavity is not None:
        return cavity
    return _neck(grid)


def patient(volume: Volume) -> Volume:
    """Clear the air around the patient of the table and of what lies on it.

    What is thinner than about 15 mm belongs to a patient only within 24 mm of something thicker.

    Args:
        volume: a CT.

    Returns:
        the same volume with attenuation 0 where there is neither tissue nor what an axial slice of it encloses.
    """
    grid = thin_volume(volume)
    tissue = grid.values > TISSUE
    pieces = ndimage.binary_dilation(_thick(tissue), mask=tissue, iterations=round(THIN / STEP))
    inside = np.stack([ndimage.binary_fill_holes(section) for section in pieces])
    near = ndimage.binary_dilation(inside, iterations=2)
    index = [np.arange(n) // step for n, step in zip(volume.attenuation.shape, _steps(volume)[::-1], strict=True)]
    return Volume(np.where(near[np.ix_(*index)], volume.attenuation, np.float32(0)), volume.spacing, volume.origin)


def _steps(volume: Volume) -> np.ndarray:
    """Voxels to a step of the thinned grid, x, y, z."""
    return np.maximum(np.rint(STEP / np.array(volume.spacing)), 1).astype(int)


def thin_volume(volume: Volume) -> Grid:
    """Return every so many voxels of a volume, about 3 mm apart."""
    step = _steps(volume)
    values = volume.attenuation[:: step[2], :: step[1], :: step[0]]
    return Grid(values, step * np.array(volume.spacing), np.array(volume.origin))


def _largest(region: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(region)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]) if count else region


def _thick(region: np.ndarray) -> np.ndarray:
    """Open a region by two voxels; where it meets the volume's border, it goes on beyond."""
    return ndimage.binary_dilation(ndimage.binary_erosion(region, iterations=2, border_value=1), iterations=2)


def _body(grid: Grid) -> np.ndarray:
    """Return the largest piece of tissue with what each axial slice of it encloses; a table is another piece."""
    tissue = _largest(_thick(grid.values > TISSUE))
    return np.stack([ndimage.binary_fill_holes(section) for section in tissue])


def _lungs(grid: Grid) -> np.ndarray | None:
    air = ndimage.binary_opening(_body(grid) & (grid.values < TISSUE), iterations=2)
    if not air.any():
        return None
    middle = int(np.median(np.argwhere(air)[:, 2]))
    sides = grid.size(air[:, :, :middle]), grid.size(air[:, :, middle:])
    return air if min(sides) > LUNG else None


def _heart(grid: Grid, lungs: np.ndarray) -> Territory:
    """Span the thickest soft piece that has lung on its left and right, where the lungs are wide."""
    area = lungs.sum(axis=(1, 2))
    between = ~lungs & (grid.values > TISSUE) & (area > WIDE * area.max())[:, None, None]
    for side in (lungs, lungs[:, :, ::-1]):
        beyond = np.logical_or.accumulate(side, axis=2)
        between &= beyond if side is lungs else beyond[:, :, ::-1]
    depth = np.zeros(between.shape)
    box = ndimage.find_objects(lungs.astype(np.int8))[0]
    depth[box] = ndimage.distance_transform_edt(between[box], grid.spacing[::-1])
    edge = CORE * float(depth.max())
    low, high = grid.bounds(_largest(depth > edge), 0.5)
    return Territory("chest", (low + high) / 2, (high - low) / 2 + edge)


def _cavity(grid: Grid) -> Territory | None:
    bone = grid.values > BONE
    enclosed = ~bone & (grid.values > TISSUE) & _bone_after(bone, 0)
    for axis in (1, 2):
        enclosed &= _bone_after(bone, axis) & _bone_after(bone[::-1, ::-1, ::-1], axis)[::-1, ::-1, ::-1]
    inside = _largest(ndimage.binary_erosion(enclosed, iterations=2))
    if not inside.any():
        return None
    low, high = grid.bounds(inside, 0.5)
    half = (high - low) / 2 + 2 * grid.spacing
    return Territory("head", (low + high) / 2, half) if 4 / 3 * np.pi * np.prod(half) > BRAIN else None


def _bone_after(bone: np.ndarray, axis: int) -> np.ndarray:
    return np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis), axis)


def _neck(grid: Grid) -> Territory:
    """Span the narrowest stretch of the body that has bone in it."""
    body = _body(grid)
    if grid.size(body & (grid.values > BONE)) < SPINE:
        raise InputError(
            "CT: expected a head with a skull, a chest with two lungs or a neck with its spine, found none of them. "
            "Give a CT of a patient in Hounsfield units, axial slices from feet to head"
        )
    area = body.sum(axis=(1, 2))
    slices = np.flatnonzero((area > 0) & (area <= WIDER * np.percentile(area[area > 0], 10)))
    lows, highs = zip(*(grid.bounds(body[k : k + 1], 1) for k in slices), strict=True)
    low, high = np.median(lows, axis=0), np.median(highs, axis=0)
    low[2], high[2] = grid.origin[2] + slices[[0, -1]] * grid.spacing[2]
    return Territory("neck", (low + high) / 2, (high - low) / 2)
