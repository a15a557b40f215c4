"""Parts that move by themselves: the volume as they deform it, and where on the detector all that is seen lies at rest."""

from __future__ import annotations

import math

import numpy as np

from angiomorph.simulate.compiled import njit, prange
from angiomorph.simulate.xray.geometry import CArm
from angiomorph.simulate.xray.projector import BLOCK, content, find_occupied, planes, rays_in_voxels, steepest, trilinear


def deform(density: np.ndarray, spacing: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Return a volume after its parts moved: the value at a voxel x is that at rest at `x + control(x)`, edges repeated.

    Args:
        density: `(Z, Y, X, 2)` float32 at rest.
        spacing: x, y, z, mm.
        control: `(3, D, D, D)` float32, mm along x, y, z, spread evenly over the volume.

    Returns:
        `(Z, Y, X, 2)` float32; `density` itself where nothing moves.
    """
    moving = np.argwhere(np.any(control != 0, axis=0))
    if not len(moving):
        return density
    step = (np.array(density.shape[:3]) - 1) / (control.shape[1] - 1)
    low = np.floor((moving.min(0) - 1) * step).astype(np.int64).clip(0)
    high = np.minimum(np.ceil((moving.max(0) + 1) * step).astype(np.int64) + 1, density.shape[:3])
    out = density.copy()
    _deform(density, control / np.asarray(spacing, np.float32)[:, None, None, None], low, high, out)
    return out


@njit(parallel=True, cache=True)
def _deform(density, control, low, high, out):  # type: ignore[no-untyped-def]
    nz, ny, nx, _ = density.shape
    last = control.shape[1] - 1
    for i in prange(low[0], high[0]):
        w = i * last / (nz - 1)
        for j in range(low[1], high[1]):
            v = j * last / (ny - 1)
            for k in range(low[2], high[2]):
                u = k * last / (nx - 1)
                x, y, z = trilinear(control[0], w, v, u), trilinear(control[1], w, v, u), trilinear(control[2], w, v, u)
                if x == 0 and y == 0 and z == 0:
                    continue
                x, y, z = min(max(k + x, 0.0), nx - 1.0), min(max(j + y, 0.0), ny - 1.0), min(max(i + z, 0.0), nz - 1.0)
                out[i, j, k, 0] = trilinear(density[..., 0], z, y, x)
                out[i, j, k, 1] = trilinear(density[..., 1], z, y, x)


def move_points(
    position: np.ndarray, spacing: np.ndarray, origin: np.ndarray, shape: tuple[int, ...], control: np.ndarray
) -> np.ndarray:
    """Return where points that rest at `position` lie once their parts have moved: the q with `q + control(q) = position`.

    Args:
        position: `(N, 3)` x, y, z, mm, in the volume's coordinates.
        spacing: x, y, z, mm.
        origin: position of voxel [0, 0, 0], x, y, z, mm.
        shape: shape of the volume, Z, Y, X.
        control: `(3, D, D, D)` float32, mm along x, y, z, spread evenly over the volume; without folds.

    Returns:
        `(N, 3)` float32; outside the volume nothing moves.
    """
    if not control.any():
        return position
    out = np.empty(position.shape, np.float32)
    size = np.array(shape[::-1], np.float64)
    _invert(
        np.asarray(position, np.float64), np.asarray(spacing, np.float64), np.asarray(origin, np.float64), size, control, out
    )
    return out


@njit(cache=True, inline="always")
def _sample(control, spacing, origin, size, x, y, z):  # type: ignore[no-untyped-def]
    """Control at a point in mm; 0 outside the volume."""
    last = control.shape[1] - 1
    u = (x - origin[0]) / spacing[0] / (size[0] - 1) * last
    v = (y - origin[1]) / spacing[1] / (size[1] - 1) * last
    w = (z - origin[2]) / spacing[2] / (size[2] - 1) * last
    if not (0 <= u <= last and 0 <= v <= last and 0 <= w <= last):
        return 0.0, 0.0, 0.0
    return trilinear(control[0], w, v, u), trilinear(control[1], w, v, u), trilinear(control[2], w, v, u)


@njit(parallel=True, cache=True)
def _invert(position, spacing, origin, size, control, out):  # type: ignore[no-untyped-def]
    for i in prange(len(position)):
        x, y, z = position[i, 0], position[i, 1], position[i, 2]
        for _ in range(8):  # a contraction, since the control does not fold
            dx, dy, dz = _sample(control, spacing, origin, size, x, y, z)
            x, y, z = position[i, 0] - dx, position[i, 1] - dy, position[i, 2] - dz
        out[i, 0], out[i, 1], out[i, 2] = x, y, z


def find_displacement(
    density: np.ndarray,
    spacing: np.ndarray,
    origin: np.ndarray,
    arm: CArm,
    pose: np.ndarray,
    control: np.ndarray,
    block: int,
    blocks: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where on the detector the bone that blocks of pixels show at this moment lies at rest.

    With q the points along the ray through a block's centre x, w their bone density and P the projection to the detector:

        u = sum(w (P(q0) - x)) / sum(w),  spread^2 = sum(w |P(q0) - x - u|^2) / sum(w),  q0 = q + control(q)

    Args:
        density: `(Z, Y, X, 2)` float32, of which the second material counts, as deformed at this moment.
        spacing: x, y, z, mm.
        origin: position of voxel [0, 0, 0] at pose 0, x, y, z, mm from the isocentre.
        arm: geometry.
        pose: `(6,)` of this moment, as in `projector.project_volume`; at rest it is 0.
        control: `(3, D, D, D)` float32, mm along x, y, z from a point of the body to where it is at rest, spread evenly over
            the volume.
        block: pixels along a block's side.
        blocks: result of `projector.find_occupied(density)`, where it is known already.

    Returns:
        u `(h, w, 2)` float32, pixels, row and column, 0 where there is no bone; spread `(h, w)` float32, pixels: large where
        bones overlap that move differently; bone's line integral `(h, w)` float32, mm (times the density's unit).
    """
    start, first, right, down = rays_in_voxels(arm, pose, spacing, origin, block)
    source, corner, across, along = arm.rays()
    area = arm.pixel_spacing**2
    filled = find_occupied(density) if blocks is None else blocks
    sums = np.zeros((arm.rows // block, arm.columns // block, 4))
    detector = (corner - source, np.cross(across, along) / area, across / area, along / area)
    _weigh(
        density, filled, np.asarray(spacing, np.float64), np.asarray(origin, np.float64), start, first, right, down,
        control, bool(control.any()), source, *detector, arm.source_detector, block, sums,
    )  # fmt: skip
    weight = np.maximum(sums[..., 0], 1e-12)
    mean = sums[..., 1:3] / weight[..., None]
    spread = np.sqrt(np.maximum(sums[..., 3] / weight - np.sum(mean**2, axis=-1), 0))
    return mean.astype(np.float32), spread.astype(np.float32), sums[..., 0].astype(np.float32)


@njit(parallel=True, cache=True)
def _weigh(  # type: ignore[no-untyped-def]
    density, filled, spacing, origin, start, first, right, down,
    control, moving, source, corner, axis, across, along, distance, block, sums,
):  # fmt: skip
    n = np.array(density.shape[2::-1])
    for row in prange(sums.shape[0]):
        step, q, ray = np.empty(3), np.empty(3), np.empty(4)
        for column in range(sums.shape[1]):
            for a in range(3):
                step[a] = first[a] + row * down[a] + column * right[a] - start[a]
            m, b, c = steepest(step)
            low, high = planes(n, start, step, m, b, c)
            length = math.sqrt((step[0] * spacing[0]) ** 2 + (step[1] * spacing[1]) ** 2 + (step[2] * spacing[2]) ** 2)
            length /= abs(step[m])
            step /= step[m]
            rest = start - start[m] * step
            ray[0], ray[1], ray[2], ray[3] = rest[b], rest[c], step[b], step[c]
            here_row, here_column = row * block + (block - 1) / 2, column * block + (block - 1) / 2
            bony = False
            for k in range(low, high + 1):
                if k == low or k % BLOCK == 0:
                    bony = content(filled, n, m, k // BLOCK, ray, ray) > 1
                if not bony:
                    continue
                for a in range(3):
                    q[a] = rest[a] + k * step[a]
                w = density[int(q[2] + 0.5), int(q[1] + 0.5), int(q[0] + 0.5), 1] * length
                if w <= 0:
                    continue
                x, y, z = (q[0] * spacing[0] + origin[0]), (q[1] * spacing[1] + origin[1]), (q[2] * spacing[2] + origin[2])
                if moving:
                    dx, dy, dz = _sample(control, spacing, origin, n, x, y, z)
                    x, y, z = x + dx, y + dy, z + dz
                x, y, z = x - source[0], y - source[1], z - source[2]
                scale = distance / abs(x * axis[0] + y * axis[1] + z * axis[2])
                x, y, z = x * scale - corner[0], y * scale - corner[1], z * scale - corner[2]
                i = x * along[0] + y * along[1] + z * along[2] - here_row
                j = x * across[0] + y * across[1] + z * across[2] - here_column
                sums[row, column, 0] += w
                sums[row, column, 1] += w * i
                sums[row, column, 2] += w * j
                sums[row, column, 3] += w * (i * i + j * j)
