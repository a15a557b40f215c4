"""Line integrals through volumes and point clouds, and resampling: the compiled inner loops of the simulator."""

from __future__ import annotations

import math

import numpy as np

from angiomorph.simulate.compiled import njit, prange
from angiomorph.simulate.xray.geometry import CArm, rotation

EDGE = 1e-6  # voxels kept from the grid's border, more than rounding along a ray can add up to
BLOCK = 8  # voxels along the side of a block that is passed over where it is empty
FRACTION = 2**32  # a place along a ray is counted in parts of a voxel: whole numbers are faster to split than floats
TILE = 16  # rays side by side that pass over the same empty blocks
BANDS = 16  # detector bands projected independently; fixed, so that sums do not depend on the thread count


def find_occupied(density: np.ndarray) -> np.ndarray:
    """Say which materials there are in blocks of 8 x 8 x 8 voxels.

    Args:
        density: `(Z, Y, X, 2)` float32.

    Returns:
        `(ceil(Z / 8), ceil(Y / 8), ceil(X / 8))` uint8: 1 for the first material, 2 for the second, 3 for both, 0 for none.
    """
    out = np.zeros([-(-size // BLOCK) for size in density.shape[:3]], np.uint8)
    _occupy(density, out)
    return out


@njit(parallel=True, cache=True)
def _occupy(density, out):  # type: ignore[no-untyped-def]
    nz, ny, nx, _ = density.shape
    for block in prange(out.shape[0]):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, nz)):
            for j in range(ny):
                for k in range(nx):
                    kind = np.uint8(density[i, j, k, 0] != 0) | np.uint8(density[i, j, k, 1] != 0) << 1
                    out[block, j // BLOCK, k // BLOCK] |= kind


def project_volume(
    density: np.ndarray,
    spacing: np.ndarray,
    origin: np.ndarray,
    arm: CArm,
    pose: np.ndarray,
    blocks: np.ndarray | None = None,
) -> np.ndarray:
    """Line integrals of two materials in a rigidly moved volume along the rays from the source to each pixel's centre.

    Joseph's method: `sum_k f(s + a_k d) |d| / |d_m|` over the planes k of the axis m along which the ray d is steepest.

    Args:
        density: `(Z, Y, X, 2)` float32, of each material, g/cm^3.
        spacing: x, y, z, mm.
        origin: position of voxel [0, 0, 0] at pose 0, x, y, z, mm from the isocentre.
        arm: geometry.
        pose: `(6,)` degrees about x, y, z and mm: a point x of the volume lies at `R x + t`.
        blocks: result of `find_occupied(density)`, where it is known already.

    Returns:
        `(2, rows, columns)` float32, mm (times the density's unit).

    Source:
        P. M. Joseph, IEEE Trans. Med. Imaging 1 (1982) 192-196.
    """
    start, first, right, down = rays_in_voxels(arm, pose, spacing, origin, 1)
    out = np.empty((2, arm.rows, arm.columns), np.float32)
    size = np.array(density.shape[2::-1], np.int64)
    _march(
        density.ravel(),
        find_occupied(density) if blocks is None else blocks,
        size,
        np.asarray(spacing, np.float64),
        start,
        first,
        right,
        down,
        out,
    )
    return out


def rays_in_voxels(arm: CArm, pose: np.ndarray, spacing: np.ndarray, origin: np.ndarray, block: int) -> tuple[np.ndarray, ...]:
    """Source, centre of the first block of pixels and the steps to the next column and row of blocks, voxel indices x, y, z."""
    inverse = rotation(pose).T
    source, corner, right, down = arm.rays()
    corner = corner + (block - 1) / 2 * (right + down)
    start, first = ((inverse @ (point - pose[3:]) - origin) / spacing for point in (source, corner))
    return start, first, block * (inverse @ right) / spacing, block * (inverse @ down) / spacing


@njit(cache=True, inline="always")
def _limits(low, high, start, slope, plane, size):  # type: ignore[no-untyped-def]
    """Shorten the plane range [low, high] to where start + (k - plane) * slope has both its neighbours in the grid."""
    top = size - 1 - EDGE
    if abs(slope) < 1e-12:
        if start < EDGE or start > top:
            return low, low - 1.0
        return low, high
    one = plane + (EDGE - start) / slope
    two = plane + (top - start) / slope
    return max(low, min(one, two)), min(high, max(one, two))


@njit(cache=True, inline="always")
def planes(n, start, step, m, b, c):  # type: ignore[no-untyped-def]
    """First and last plane of axis m that the ray start + a * step crosses within the grid, source and detector."""
    low, high = max(0.0, min(start[m], start[m] + step[m])), min(n[m] - 1.0, max(start[m], start[m] + step[m]))
    low, high = _limits(low, high, start[b], step[b] / step[m], start[m], n[b])
    low, high = _limits(low, high, start[c], step[c] / step[m], start[m], n[c])
    return math.ceil(low), math.floor(high)


@njit(cache=True, inline="always")
def _blocks(p, q, r, s, size):  # type: ignore[no-untyped-def]
    """First and last block of an axis that bilinear samples among four places reach, within the grid."""
    low, high = max(min(min(p, q), min(r, s)), 0.0), min(max(max(p, q), max(r, s)) + 1, size - 1.0)
    return int(low) // BLOCK, int(high) // BLOCK


@njit(cache=True)
def content(filled, n, m, block, one, other):  # type: ignore[no-untyped-def]
    """What the blocks hold that rays between two border on, on all planes of one block of axis m.

    A ray is `(rest_b, rest_c, slope_b, slope_c)`: on plane k it is at rest + k * slope along the axes other than m.
    """
    b, c = others(m)
    near, far = block * BLOCK, block * BLOCK + BLOCK - 1
    low_b, high_b = _blocks(
        one[0] + near * one[2], one[0] + far * one[2], other[0] + near * other[2], other[0] + far * other[2], n[b]
    )
    low_c, high_c = _blocks(
        one[1] + near * one[3], one[1] + far * one[3], other[1] + near * other[3], other[1] + far * other[3], n[c]
    )
    kind = 0
    for i in range(low_b, high_b + 1):
        for j in range(low_c, high_c + 1):
            if m == 0:
                kind |= filled[j, i, block]
            elif m == 1:
                kind |= filled[j, block, i]
            else:
                kind |= filled[block, j, i]
    return kind


@njit(cache=True, inline="always")
def others(m):  # type: ignore[no-untyped-def]
    """The axes other than m, ascending."""
    return (0 if m else 1), (1 if m == 2 else 2)


@njit(cache=True, inline="always")
def _stretch(flat, sm, sb, sc, first, end, at_b, at_c, slope_b, slope_c, second):  # type: ignore[no-untyped-def]
    """Sums of bilinear samples of both materials on the planes first to end."""
    whole_b, step_b = np.int64(at_b * FRACTION), np.int64(slope_b * FRACTION)
    whole_c, step_c = np.int64(at_c * FRACTION), np.int64(slope_c * FRACTION)
    one, two = np.float32(0), np.float32(0)
    for k in range(first, end + 1):
        p = k * sm + (whole_b >> 32) * sb + (whole_c >> 32) * sc
        wb, wc = _part(whole_b), _part(whole_c)
        p00, p10 = np.uintp(p), np.uintp(p + sb)  # unsigned: no test for negative indices
        p01, p11 = np.uintp(p + sc), np.uintp(p + sb + sc)
        near = flat[p00] + wb * (flat[p10] - flat[p00])
        one += near + wc * (flat[p01] + wb * (flat[p11] - flat[p01]) - near)
        if second:
            p00, p10, p01, p11 = p00 + np.uintp(1), p10 + np.uintp(1), p01 + np.uintp(1), p11 + np.uintp(1)
            near = flat[p00] + wb * (flat[p10] - flat[p00])
            two += near + wc * (flat[p01] + wb * (flat[p11] - flat[p01]) - near)
        whole_b += step_b
        whole_c += step_c
    return one, two


@njit(cache=True, inline="always")
def _part(whole):  # type: ignore[no-untyped-def]
    """Fraction of a voxel, of 31 bits, which a signed conversion takes."""
    return np.float32(np.int32((whole & (FRACTION - 1)) >> 1)) * np.float32(2 / FRACTION)


@njit(cache=True, inline="always")
def steepest(step):  # type: ignore[no-untyped-def]
    """The axis along which a ray is steepest, and the two others."""
    if abs(step[0]) >= abs(step[1]) and abs(step[0]) >= abs(step[2]):
        return 0, 1, 2
    if abs(step[1]) >= abs(step[2]):
        return 1, 0, 2
    return 2, 0, 1


@njit(parallel=True, cache=True)
def _march(flat, filled, n, spacing, start, first, right, down, out):  # type: ignore[no-untyped-def]
    stride = 2 * np.array([1, n[0], n[0] * n[1]])
    for row in prange(out.shape[1]):
        step, ray, limits, sums = (
            np.empty(3),
            np.empty((TILE, 4)),
            np.empty((TILE, 3), np.int64),
            np.empty((TILE, 3), np.float32),
        )
        for left in range(0, out.shape[2], TILE):
            count = min(TILE, out.shape[2] - left)
            for i in range(count):
                for axis in range(3):
                    step[axis] = first[axis] + row * down[axis] + (left + i) * right[axis] - start[axis]
                m, b, c = steepest(step)
                limits[i, 0] = m
                limits[i, 1], limits[i, 2] = planes(n, start, step, m, b, c)
                ray[i, 2], ray[i, 3] = step[b] / step[m], step[c] / step[m]
                ray[i, 0], ray[i, 1] = start[b] - start[m] * ray[i, 2], start[c] - start[m] * ray[i, 3]
                length = math.sqrt((step[0] * spacing[0]) ** 2 + (step[1] * spacing[1]) ** 2 + (step[2] * spacing[2]) ** 2)
                sums[i, 0], sums[i, 1], sums[i, 2] = 0, 0, length / abs(step[m])
            _tile(flat, filled, n, stride, ray[:count], limits[:count], sums)
            for i in range(count):
                out[0, row, left + i], out[1, row, left + i] = sums[i, 0] * sums[i, 2], sums[i, 1] * sums[i, 2]


@njit(cache=True)
def _tile(flat, filled, n, stride, ray, limits, sums):  # type: ignore[no-untyped-def]
    """Add to `sums` what rays side by side pass, block after block of planes."""
    alike = limits[:, 0].min() == limits[:, 0].max()
    for block in range(limits[:, 1].min() // BLOCK, limits[:, 2].max() // BLOCK + 1):
        kind = content(filled, n, limits[0, 0], block, ray[0], ray[-1]) if alike else 3
        if kind == 0:
            continue
        for i in range(len(ray)):
            low, high = max(limits[i, 1], block * BLOCK), min(limits[i, 2], block * BLOCK + BLOCK - 1)
            if low > high:
                continue
            m = limits[i, 0]
            b, c = others(m)
            at_b, at_c = ray[i, 0] + low * ray[i, 2], ray[i, 1] + low * ray[i, 3]
            one, two = _stretch(flat, stride[m], stride[b], stride[c], low, high, at_b, at_c, ray[i, 2], ray[i, 3], kind > 1)
            sums[i, 0] += one
            sums[i, 1] += two


def project_points(position: np.ndarray, amount: np.ndarray, radius: np.ndarray, arm: CArm, pose: np.ndarray) -> np.ndarray:
    """Line integrals of a rigidly moved cloud of small bodies, each seen as a uniform disc of its radius.

    A tube of radius r sampled along its centre line projects to the chord `2 sqrt(r^2 - d^2)` at distance d. A uniform disc
    integrates to the same along a line. The sum over pixels times a pixel's area at the body's depth is its amount.

    Args:
        position: `(N, 3)` mm from the isocentre at pose 0.
        amount: `(N,)` mm^3 (times any density).
        radius: `(N,)` mm.
        arm: geometry.
        pose: as in `project_volume`.

    Returns:
        `(rows, columns)` float32, mm (times that density).
    """
    source, corner, right, down = arm.rays()
    out = np.zeros((arm.rows, arm.columns), np.float32)
    _splat(
        np.asarray(position, np.float32),
        np.asarray(amount, np.float32),
        np.asarray(radius, np.float32),
        rotation(pose),
        np.asarray(pose[3:] - source, np.float64),
        np.cross(right, down) / (arm.pixel_spacing**2),
        corner - source,
        right / arm.pixel_spacing**2,
        down / arm.pixel_spacing**2,
        arm.source_detector,
        arm.pixel_spacing,
        out,
    )
    return out


@njit(parallel=True, cache=True)
def _splat(position, amount, radius, turn, shift, axis, corner, right, down, distance, pixel, out):  # type: ignore[no-untyped-def]
    rows, columns = out.shape
    count = len(amount)
    spot = np.empty((count, 4), np.float32)
    for i in prange(count):
        x = turn[0, 0] * position[i, 0] + turn[0, 1] * position[i, 1] + turn[0, 2] * position[i, 2] + shift[0]
        y = turn[1, 0] * position[i, 0] + turn[1, 1] * position[i, 1] + turn[1, 2] * position[i, 2] + shift[1]
        z = turn[2, 0] * position[i, 0] + turn[2, 1] * position[i, 1] + turn[2, 2] * position[i, 2] + shift[2]
        scale = distance / abs(x * axis[0] + y * axis[1] + z * axis[2])
        x, y, z = x * scale - corner[0], y * scale - corner[1], z * scale - corner[2]
        spot[i, 0] = x * down[0] + y * down[1] + z * down[2]
        spot[i, 1] = x * right[0] + y * right[1] + z * right[2]
        spot[i, 2] = max(radius[i] * scale / pixel, 0.6)
        spot[i, 3] = amount[i] * (scale / pixel) ** 2
    for band in prange(BANDS):
        top, bottom = rows * band // BANDS, rows * (band + 1) // BANDS
        for i in range(count):
            if spot[i, 3] != 0:
                _disc(out, spot[i, 0], spot[i, 1], spot[i, 2], spot[i, 3], top, bottom, columns)


@njit(cache=True)
def _disc(out, row, column, size, total, top, bottom, columns):  # type: ignore[no-untyped-def]
    """Add a disc with an edge one pixel wide to the rows [top, bottom), its whole sum equal to total."""
    reach = size + np.float32(0.5)
    low, high = math.ceil(row - reach), math.floor(row + reach)
    if high < top or low >= bottom:
        return
    left, right = math.ceil(column - reach), math.floor(column + reach)
    weights = np.float32(0)
    for i in range(low, high + 1):
        for j in range(left, right + 1):
            weights += min(max(reach - math.sqrt((i - row) ** 2 + (j - column) ** 2), 0.0), 1.0)
    for i in range(max(low, top), min(high + 1, bottom)):
        for j in range(max(left, 0), min(right + 1, columns)):
            weight = min(max(reach - math.sqrt((i - row) ** 2 + (j - column) ** 2), 0.0), 1.0)
            out[i, j] += np.float32(total * weight / weights)


def resample(volume: np.ndarray, scale: np.ndarray, centre: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Sample a volume at `centre + scale * (index - centre) + control(index)`, trilinear, 0 outside it but repeated below it.

    Args:
        volume: `(Z, Y, X)` float32.
        scale: `(3,)` along Z, Y, X.
        centre: `(3,)` voxels, along Z, Y, X.
        control: `(3, D, D, D)` float32 displacement along x, y, z in voxels, spread evenly over the volume.

    Returns:
        `(Z, Y, X)` float32.
    """
    out = np.empty_like(volume)
    _resample(volume, np.asarray(scale, np.float64), np.asarray(centre, np.float64), control, out)
    return out


@njit(cache=True)
def trilinear(volume, z, y, x):  # type: ignore[no-untyped-def]
    i, j, k = min(int(z), volume.shape[0] - 2), min(int(y), volume.shape[1] - 2), min(int(x), volume.shape[2] - 2)
    c, b, a = np.float32(z - i), np.float32(y - j), np.float32(x - k)
    v00 = volume[i, j, k] + a * (volume[i, j, k + 1] - volume[i, j, k])
    v01 = volume[i, j + 1, k] + a * (volume[i, j + 1, k + 1] - volume[i, j + 1, k])
    v10 = volume[i + 1, j, k] + a * (volume[i + 1, j, k + 1] - volume[i + 1, j, k])
    v11 = volume[i + 1, j + 1, k] + a * (volume[i + 1, j + 1, k + 1] - volume[i + 1, j + 1, k])
    near, far = v00 + b * (v01 - v00), v10 + b * (v11 - v10)
    return near + c * (far - near)


@njit(parallel=True, cache=True)
def _resample(volume, scale, centre, control, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = volume.shape
    last = control.shape[1] - 1
    for i in prange(nz):
        w = i * last / (nz - 1)
        for j in range(ny):
            v = j * last / (ny - 1)
            for k in range(nx):
                u = k * last / (nx - 1)
                z = centre[0] + scale[0] * (i - centre[0]) + trilinear(control[2], w, v, u)
                y = centre[1] + scale[1] * (j - centre[1]) + trilinear(control[1], w, v, u)
                x = centre[2] + scale[2] * (k - centre[2]) + trilinear(control[0], w, v, u)
                z = max(z, 0.0)
                if z > nz - 1 or y < 0 or y > ny - 1 or x < 0 or x > nx - 1:
                    out[i, j, k] = 0
                else:
                    out[i, j, k] = trilinear(volume, z, y, x)
