"""The exposed field of a run, found without tags, and warps that stay inside it (NumPy and SciPy only)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.lazy_frames import Frames
from angiomorph.preprocessing.resizing import shrink_frames
from angiomorph.preprocessing.spacing import spread_indices

SIZE = 256  # longer side at which edges are looked for, pixels
SMALLEST = 96  # shorter side, pixels: smaller frames show too little of an edge
FRAMES = 9  # as many are looked at
PARTS = 3  # of the run, in each of which an edge must be seen
SIGMA = 2.0  # of the edge filter, pixels at that size, as all below
STEP = 0.1  # ln, by which a blade is darker at one place of its edge
SHARE = 0.8  # of an edge at which it is
MEDIAN_STEP = 0.25  # ln, by which it is darker in the middle of all places
APART = 6  # pixels from the edge, on either side, where that is measured
OPAQUE_STEP = 1.6  # ln, of a long edge of blades, whatever leaks through them: no table is as dense
SEEN_BEHIND = 0.6  # of the structure along the edge, at most: a table shows all of it, a blade none
SHORTEST = 0.14  # of the longer side: shorter edges are not believed
LONG = 0.3  # of the longer side: of shorter edges, and behind a round one, more is asked
SHORT_STEP = 0.6  # ln, MEDIAN_STEP of a short edge
BORDER_STEP = 1.0  # ln, of an edge so near to the border that anatomy may show through all that is outside
EXACT = 0.75  # of a straight edge that is where it should be, within a pixel
ROUND_EXACT = 0.6  # of a round one, and of one so dark outside that it may be bent a little, as corners are
BLACK_STEP = 3.0  # ln, of such a one
CENTRAL = 0.5  # of the half side, around the centre: no blade reaches there
WIDEST = 10  # pixels from a soft edge's middle to its foot
FOOT = 0.4  # of its greatest slope is left there
CANDIDATES = 40
WHITE_SHARE = 0.95  # of a white edge at which it must be seen, as air is white too


@dataclass(frozen=True, eq=False)
class _Picture:
    """What edges are looked for in.

    Args:
        ln: `(h, w)`, ln of the run's median over time.
        white: `(h, w)` bool, where the run is at its greatest value at all times.
        black: `(h, w)` bool, where the run is at its least value at all times, and some pixels around too.
        slopes: `(G, 2, h, w)`, how much ln rises across an edge, along rows and columns, in each of G parts of the run.
    """

    ln: np.ndarray
    white: np.ndarray
    black: np.ndarray
    slopes: np.ndarray

    @property
    def half(self) -> np.ndarray:
        return (np.array(self.ln.shape) - 1) / 2

    def at(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return an image at points, `(2, n)` from its centre; beyond the border the edge pixels go on."""
        return np.asarray(ndimage.map_coordinates(image, points + self.half[:, None], order=1, mode="nearest"))

    def heights(self, points: np.ndarray, normals: np.ndarray, sign: int) -> np.ndarray:
        """Return how much darker (of sign -1: brighter) it becomes along the normals, the least of all parts, `(n,)`."""
        falls = [
            -sign * sum(self.at(slope, points) * normal for slope, normal in zip(part, normals, strict=True))
            for part in self.slopes
        ]
        return np.asarray(np.min(falls, axis=0))


@dataclass(frozen=True)
class _Line:
    """A straight edge.

    Args:
        angle: direction of the normal that leads out of the field, from the axis of rows, radians.
        distance: the edge's distance from the picture's centre, pixels.
    """

    angle: float
    distance: float

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Return how deep points, `(2, ...)` from the centre, lie inside."""
        return np.asarray(self.distance - np.cos(self.angle) * points[0] - np.sin(self.angle) * points[1])

    def places(self, reach: float) -> np.ndarray:
        """Return where along the edge its places lie, pixels from the one nearest to the centre, `(n,)`."""
        return np.arange(-np.ceil(reach), reach + 1)

    def points(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points at such places, and the normals there, `(2, n)` each."""
        normal = np.array([[np.cos(self.angle)], [np.sin(self.angle)]])
        return normal * self.distance + np.array([-normal[1], normal[0]]) * places, np.repeat(normal, places.size, axis=1)

    def inward(self, by: float) -> _Line:
        return _Line(self.angle, self.distance - by)

    def near(self, step: float) -> list[_Line]:
        turns, shifts = np.radians(np.arange(-2, 3) * step), np.arange(-2, 3) * step
        return [_Line(self.angle + turn, self.distance + shift) for turn in turns for shift in shifts]


@dataclass(frozen=True)
class _Circle:
    """A round edge.

    Args:
        row: position of its centre, from the picture's centre, pixels.
        column: the same.
        radius: pixels.
    """

    row: float
    column: float
    radius: float

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Return how deep points, `(2, ...)` from the picture's centre, lie inside."""
        return np.asarray(self.radius - np.hypot(points[0] - self.row, points[1] - self.column))

    def places(self, _: float) -> np.ndarray:
        """Return where along the edge its places lie, radians, `(n,)`."""
        return np.arange(0, 2 * np.pi, 1 / self.radius)

    def points(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points at such places, and the normals there, `(2, n)` each."""
        normals = np.stack([np.cos(places), np.sin(places)])
        return np.array([[self.row], [self.column]]) + self.radius * normals, normals

    def inward(self, by: float) -> _Circle:
        return _Circle(self.row, self.column, self.radius - by)

    def near(self, step: float) -> list[_Circle]:
        shifts = np.arange(-1, 2) * step
        return [_Circle(self.row + a, self.column + b, self.radius + c) for a in shifts for b in shifts for c in shifts]


_Edge = _Line | _Circle
Edge = TypeVar("Edge", _Line, _Circle)


def find_field(frames: Frames, shutter: np.ndarray) -> np.ndarray:
    """Return the exposed field of a run, found from its frames where its header is silent.

        field = shutter & inside every edge found

    An edge is straight, or round about the centre. It is one to blades where all along, throughout the run, it is darker
    outside, and structure does not go on there. A round one may be white outside too, as a round detector leaves it. Fields
    are convex: what is dark, straight or round but inside of one (bone, metal, markers) is not taken for a blade. Soft edges
    lie outside.

    Args:
        frames: `(T, H, W)`, unsigned integers, stored values, iodine dark.
        shutter: `(H, W)` bool, True where the header says exposed, see `Series.shutter`.

    Returns:
        `(H, W)` bool; `shutter` where no edge is found, or frames have less than 96 pixels a side.

    Raises:
        InputError: frames that are not `(T, H, W)` with `shutter` `(H, W)`.
    """
    if frames.ndim != 3 or frames.size == 0 or shutter.shape != frames.shape[1:]:
        raise InputError(
            f"`frames`, `shutter`: expected (T, H, W) and (H, W), got {frames.shape} and {shutter.shape}; give a whole run"
        )
    if min(frames.shape[1:]) < SMALLEST:
        return shutter
    picture = _picture(frames)
    field = _draw_field(_edges(picture), picture, frames.shape[1:]) & shutter
    return field if field.any() else shutter


def _picture(frames: Frames) -> _Picture:
    chosen = frames[spread_indices(len(frames), FRAMES)]
    small = shrink_frames(chosen, SIZE)
    ln = np.log(np.maximum(small, 1).astype(np.float32))
    parts = [np.median(part, axis=0) for part in np.array_split(ln, min(PARTS, len(ln)))]
    slopes = [[ndimage.gaussian_filter(part, SIGMA, order, mode="nearest") for order in ((1, 0), (0, 1))] for part in parts]
    smooth = ndimage.gaussian_filter(np.median(ln, axis=0), 1, mode="nearest")
    # A step of height 1 has a slope of 1 / (sigma sqrt(2 pi)) under a Gaussian.
    return _Picture(
        ln=smooth,
        white=(small == frames.max()).all(axis=0),
        black=ndimage.binary_erosion((ln == ln.min()).all(axis=0), iterations=APART, border_value=1),
        slopes=SIGMA * np.sqrt(2 * np.pi) * np.array(slopes),
    )


def _draw_field(edges: Sequence[_Edge], picture: _Picture, shape: tuple[int, ...]) -> np.ndarray:
    """Return where pixels of the full size lie inside every edge, `(H, W)` bool."""
    scale = np.array(picture.ln.shape) / shape
    rows, columns = ((np.arange(size) + 0.5 - size / 2) * by for size, by in zip(shape, scale, strict=True))
    points = np.stack(np.broadcast_arrays(rows[:, None], columns))
    return np.all([np.ones(shape, bool), *(edge.depth(points) > 0 for edge in edges)], axis=0)


def _edges(picture: _Picture) -> list[_Edge]:
    """Return the edges of the field, at their inner feet."""
    lines = _lines(picture)
    circle = _circle(picture, 1)
    given: list[_Edge] = [] if circle is None else [circle]
    found = [*given, *_choose_consistent(picture, lines, given)]
    if not found:
        white = _circle(picture, -1)
        return [] if white is None else [white.inward(_foot(picture, white, [], -1))]
    return [edge.inward(_foot(picture, edge, _without(found, edge), 1)) for edge in found]


def _without(edges: Sequence[_Edge], edge: _Edge) -> list[_Edge]:
    return [other for other in edges if other is not edge]


def _visible(picture: _Picture, edge: _Edge, others: Sequence[_Edge]) -> np.ndarray:
    """Return the places along an edge that lie in the picture and inside the others, `(n,)`.

    Those amid black are left out: whether they are edges the picture cannot show, other edges may have left it black.
    """
    places = edge.places(float(np.hypot(*picture.half)))
    points, _ = edge.points(places)
    seen = (np.abs(points) <= picture.half[:, None]).all(axis=0) & (picture.at(picture.black.astype(np.float32), points) < 0.5)
    for other in others:
        seen &= other.depth(points) > 0
    return places[seen]


def _lines(picture: _Picture) -> list[_Line]:
    """Return straight edges that may be blades', the clearest first."""
    rows, columns = (np.indices(picture.ln.shape) - picture.half[:, None, None]).reshape(2, -1)
    angles = np.radians(np.arange(0, 360, 2))
    length = int(np.hypot(*picture.half)) + 2
    slopes = picture.slopes.reshape(len(picture.slopes), 2, -1)
    votes = np.zeros((angles.size, length))
    for vote, angle in zip(votes, angles, strict=True):
        down, right = np.cos(angle), np.sin(angle)
        height = -np.max(slopes[:, 0] * down + slopes[:, 1] * right, axis=0)
        distance = rows * down + columns * right
        some = (height > STEP) & (distance > CENTRAL * picture.half.min())
        vote += np.bincount(np.rint(distance[some]).astype(int), np.minimum(height[some], 5 * STEP), length)
    peaks = votes == ndimage.maximum_filter(votes, (9, 7), mode=("wrap", "constant"))
    places = np.argwhere(peaks & (votes > SHORTEST * max(picture.ln.shape) * STEP))
    clearest = places[np.argsort(-votes[tuple(places.T)])][:CANDIDATES]
    return [_Line(float(angles[place[0]]), float(place[1])) for place in clearest]


def _choose_consistent(picture: _Picture, lines: Sequence[_Line], given: Sequence[_Edge]) -> list[_Line]:
    """Return the lines that are blades' edges all along the field that they and the given edges leave."""

    def share(line: _Line, others: Sequence[_Line]) -> float:
        return _share(picture, line, [*given, *_without(others, line)], LONG if given else SHORTEST)

    candidates = [line for line in lines if _longest(picture, line) >= SHORTEST * max(picture.ln.shape)]
    left = list(candidates)
    while left:
        shares = [share(line, left) for line in left]
        worst = int(np.nanargmin([1.0, *shares])) - 1
        if worst < 0 or shares[worst] >= SHARE:
            break
        del left[worst]
    left = [line for line in left if share(line, left) >= SHARE]
    # Some were judged beside others that are gone, or cannot be told before others are there.
    while more := [line for line in candidates if line not in left and share(line, left) >= SHARE]:
        left.append(more[0])
    refined = [_refine_edge(picture, line, [*given, *_without(left, line)], 1) for line in left]
    return [line for line in refined if _is_straight(picture, line, [*given, *_without(refined, line)])]


def _longest(picture: _Picture, line: _Line) -> int:
    """Return over how many pixels on end a line looks like a blade's edge."""
    points, normals = line.points(_visible(picture, line, []))
    labels, _ = ndimage.label(picture.heights(points, normals, 1) > STEP)
    return int(np.bincount(labels)[1:].max(initial=0))


def _share(picture: _Picture, edge: _Edge, others: Sequence[_Edge], shortest: float) -> float:
    """Return at which share of its visible places an edge darkens.

    Args:
        picture: the run's picture, `(H, W)`.
        edge: the edge to judge.
        others: the field's other edges.
        shortest: least visible length, of the picture's longer side.

    Returns:
        0 if it is no blade's edge, nan if too little of it is visible.
    """
    points, normals = edge.points(_visible(picture, edge, others))
    length = points.shape[1] / max(picture.ln.shape)
    if length < shortest:
        return math.nan
    step, behind = (MEDIAN_STEP, SEEN_BEHIND) if length >= LONG else (SHORT_STEP, SEEN_BEHIND / 2)
    if np.mean((np.abs(points + APART * normals) <= picture.half[:, None]).all(axis=0)) < 0.5:
        step = BORDER_STEP
    outside, inside = (picture.at(picture.ln, points + side * APART * normals) for side in (1, -1))
    middle = np.median(inside - outside)
    opaque = length >= LONG and middle >= OPAQUE_STEP
    if middle < step or (not opaque and _compare_outside(outside, inside) > behind):
        return 0.0
    return float(np.mean(picture.heights(points, normals, 1) > STEP))


def _compare_outside(outside: np.ndarray, inside: np.ndarray) -> float:
    """Return how much of the structure along the inside of an edge is seen outside too: slope or correlation, the lesser."""
    behind, before = (values - ndimage.gaussian_filter1d(values, 8) for values in (outside, inside))
    power = np.sum(before**2) + 1e-3 * before.size
    return float(np.sum(behind * before) / max(power, np.sqrt(power * np.sum(behind**2))))


def _is_straight(picture: _Picture, line: _Line, others: Sequence[_Edge]) -> bool:
    points, normals = line.points(_visible(picture, line, others))
    if not points.size:
        return False
    outside, inside = (picture.at(picture.ln, points + side * APART * normals) for side in (1, -1))
    exact = ROUND_EXACT if np.median(inside - outside) > BLACK_STEP else EXACT
    return _follows(picture, line, others, 1) >= exact


def _follows(picture: _Picture, edge: _Edge, others: Sequence[_Edge], sign: int) -> float:
    """Return at which share of an edge the picture is steepest there, within a pixel: what is bent otherwise is none."""
    points, normals = edge.points(_visible(picture, edge, others))
    if not points.size:
        return 0.0
    shifts = np.arange(-5, 6)
    steepest = shifts[np.argmax([picture.heights(points + shift * normals, normals, sign) for shift in shifts], axis=0)]
    return float(np.mean(np.abs(steepest - np.median(steepest)) <= 1))


def _refine_edge(picture: _Picture, edge: Edge, others: Sequence[_Edge], sign: int) -> Edge:
    """Return the edge near the given one that is the steepest at the same places."""
    places = _visible(picture, edge, others)
    if not places.size:
        return edge

    def height(near: Edge) -> float:
        points, normals = near.points(places)
        return float(np.mean(picture.heights(points, normals, sign)))

    for step in (1.0, 0.5):
        edge = max(edge.near(step), key=height)
    return edge


def _circle(picture: _Picture, sign: int) -> _Circle | None:
    """Return the round edge of the field, or None.

    Args:
        picture: the run's picture, `(H, W)`.
        sign: 1 for an edge that is dark outside, -1 for one that is white.
    """
    half = float(picture.half.min())
    shifts = np.arange(-0.06, 0.061, 0.02) * half
    radii = np.arange(0.8 * half, 1.25 * half, 1.5)
    angles = np.arange(0, 2 * np.pi, np.pi / 48)
    normals = np.stack([np.cos(angles), np.sin(angles)])[:, None, :]
    middle = np.median(picture.slopes, axis=0)
    best, clearest = None, STEP
    for row in shifts:
        for column in shifts:
            points = np.array([row, column])[:, None, None] + radii[:, None] * normals
            seen = (np.abs(points) <= picture.half[:, None, None]).all(axis=0)
            flat = points.reshape(2, -1)
            falls = -sign * sum(
                picture.at(slope, flat).reshape(seen.shape) * normal for slope, normal in zip(middle, normals, strict=True)
            )
            means = np.sum(np.clip(falls, -STEP, 5 * STEP) * seen, axis=1) / np.maximum(seen.sum(axis=1), 1)
            means[seen.mean(axis=1) < 0.2] = 0
            if means.max() > clearest:
                best, clearest = _Circle(row, column, float(radii[means.argmax()])), means.max()
    if best is None:
        return None
    best = _refine_edge(picture, _refine_edge(picture, best, [], sign), [], sign)
    return best if _is_round(picture, best, sign) else None


def _is_round(picture: _Picture, circle: _Circle, sign: int) -> bool:
    """Return whether a circle is the field's edge."""
    if _follows(picture, circle, [], sign) < ROUND_EXACT:
        return False
    if sign > 0:
        return _share(picture, circle, [], 2 * LONG) >= SHARE
    points, normals = circle.points(_visible(picture, circle, []))
    around = circle.depth(np.indices(picture.ln.shape) - picture.half[:, None, None]) < -APART
    share = np.mean(picture.heights(points, normals, sign) > STEP)
    return bool(share >= WHITE_SHARE and around.any() and picture.white[around].mean() >= WHITE_SHARE)


def _foot(picture: _Picture, edge: _Edge, others: Sequence[_Edge], sign: int) -> float:
    """Return how far inside a soft edge its foot lies, pixels."""
    points, normals = edge.points(_visible(picture, edge, others))
    if not points.size:
        return 0.0
    steps = np.arange(0, WIDEST + 0.5, 0.5)
    ln = np.array([np.median(picture.at(picture.ln, points - step * normals)) for step in steps])
    slope = sign * np.diff(ln) / 0.5
    flat = slope < FOOT * max(slope.max(), 1e-6)
    return float(steps[np.argmax(flat)] if flat.any() else WIDEST)


def fill_outside(frames: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return frames whose pixels outside the field have the value of the nearest one inside, frame by frame.

    Args:
        frames: `(..., H, W)`.
        field: `(H, W)` bool; of none inside, the frames remain as they are.
    """
    return filler(field)(frames)


def filler(field: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what fills one frame after the other of the same field, see `fill_outside`."""
    if field.all() or not field.any():
        return lambda frames: frames
    outside = np.flatnonzero(~field)
    rows, columns = nearest_inside(field).reshape(2, -1)[:, outside]
    nearest = rows * field.shape[1] + columns

    def fill(frames: np.ndarray) -> np.ndarray:
        filled = frames.reshape(*frames.shape[:-2], -1).copy()
        filled[..., outside] = filled[..., nearest]
        return filled.reshape(frames.shape)

    return fill


def nearest_inside(field: np.ndarray) -> np.ndarray:
    """Return row and column of the nearest pixel inside the field, for each pixel.

    Args:
        field: `(H, W)` bool, somewhere True.

    Returns:
        `(2, H, W)` int32.
    """
    return np.asarray(ndimage.distance_transform_edt(~field, return_distances=False, return_indices=True))


def clamp_warp(warp: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return a warp that brings nothing in from outside the field.

        moved(x) = background(x + warp(x))

    Up to four pixels around x + warp(x) make up the bilinear sample. Where one of them is outside the field, the warp leads to
    the nearest place inside. Outside the field it is 0. Beyond the frame the edge pixels go on, as in `warp.warp_frames`.

    Args:
        warp: `(T, H, W, 2)` float32, pixels, ij order.
        field: `(H, W)` bool.

    Returns:
        `(T, H, W, 2)` float32, pixels; `warp` itself where the field is the whole frame.
    """
    return warp_clamp(field)(warp)


def warp_clamp(field: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what clamps one batch of warps after the other to the same field, see `clamp_warp`."""
    if field.all():
        return lambda warp: warp
    # A cell is the square between four pixels: where all of them are inside, so is every bilinear sample in it.
    cells = field[:-1, :-1] & field[1:, :-1] & field[:-1, 1:] & field[1:, 1:]
    if not cells.any():
        return np.zeros_like
    nearest = ndimage.distance_transform_edt(~cells, return_distances=False, return_indices=True)
    depth = ndimage.distance_transform_edt(np.pad(field, 1))[1:-1, 1:-1][field]
    order = np.argsort(depth)
    inside = np.stack(np.nonzero(field))[:, order]
    return lambda warp: np.stack([_clamp_warp(each, field, cells, nearest, inside, depth[order]) for each in warp])


def _clamp_warp(
    warp: np.ndarray, field: np.ndarray, cells: np.ndarray, nearest: np.ndarray, inside: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Return one frame's warp, `(H, W, 2)`, led into the cells.

    Args:
        warp: `(H, W, 2)`.
        field: `(H, W)` bool.
        cells: `(H - 1, W - 1)` bool, whether all of the four pixels about it are inside.
        nearest: `(2, H - 1, W - 1)`, of each cell, the nearest that is inside.
        inside: `(2, N)`, rows and columns of the field's pixels, by their depth.
        depth: `(N,)`, distance to the nearest pixel outside the field or the frame, rising.
    """
    led = np.where(field[..., None], warp, np.float32(0))
    reach = np.sqrt(np.max(warp[..., 0] ** 2 + warp[..., 1] ** 2)) + 2
    # Deeper pixels cannot be led outside. A warp that is no number reaches everywhere.
    rows, columns = inside[:, : np.searchsorted(depth, reach) if np.isfinite(reach) else None]
    last = np.array(field.shape, np.float32)[:, None] - 1
    grid = np.stack([rows, columns]).astype(np.float32)
    place = np.clip(grid + warp[rows, columns].T, 0, last)
    at = np.minimum(np.nan_to_num(place), last - 1).astype(np.int32)  # a warp that is no number remains one
    out = ~cells[at[0], at[1]]  # few; what is inside already keeps its own warp
    rows, columns, place, corner = rows[out], columns[out], place[:, out], nearest[:, at[0, out], at[1, out]]
    moved = np.clip(place, corner, corner + 1)
    led[rows, columns] = np.where(moved == place, warp[rows, columns].T, moved - grid[:, out]).T
    return led
