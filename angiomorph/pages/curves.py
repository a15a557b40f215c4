"""Curves as SVG within a page: a few lines of its own, so that no script has to draw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from angiomorph.pages.page import Markup, escape

WIDTH, HEIGHT = 640, 220  # pixels, scaled to the room there is
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 40
# Okabe and Ito's colours that stand out on black, which readers who see few colours tell apart, with a dash each.
STYLES = (("#56B4E9", ""), ("#E69F00", "6 3"), ("#009E73", "2 3"), ("#CC79A7", "9 3 2 3"), ("#F0E442", "1 4"))
TICKS = 5  # at most, along an axis
FEW = 60  # values whose points are drawn large


@dataclass(frozen=True)
class Curve:
    """One curve.

    Args:
        name: in the legend.
        values: one for each place; where one is not finite, the curve breaks.
    """

    name: str
    values: Sequence[float]


def draw_curves(
    title: str,
    places: Sequence[float],
    curves: Sequence[Curve],
    across: str,
    *,
    low: float | None = 0.0,
    marks: Sequence[float] = (),
    follows: bool = False,
    whole: bool = False,
) -> Markup:
    """Return curves over common places, several with a legend above them; pointing at a value shows it.

    Args:
        title: what is drawn, for people who do not see it; others read it beside the curves.
        places: along the axis across, rising.
        curves: at most five.
        across: what the axis across is.
        low: where the other axis begins at the latest; None for the least value.
        marks: places that are marked by a dashed line.
        follows: whether a line follows the frame of the page's cine, of places that are frame numbers.
        whole: whether there is nothing between whole places, as between epochs.
    """
    across_axis = _Axis(min(places), max(places), LEFT, WIDTH - RIGHT, least_step=1.0 if whole else 0.0)
    finite = [value for curve in curves for value in curve.values if math.isfinite(value)]
    least = min([*finite, *([low] if low is not None else [])], default=0.0)
    up_axis = _Axis(least, max([*finite, least], default=1.0), HEIGHT - BOTTOM, TOP)
    parts = [*_draw_axes(across_axis, up_axis, across)]
    parts += [_draw_line("mark", across_axis.find(place)) for place in marks]
    for number, curve in enumerate(curves):
        parts += _draw_curve(curve, STYLES[number % len(STYLES)], places, across_axis, up_axis)
    if len(curves) > 1:
        parts += _draw_legend([curve.name for curve in curves])
    if follows:
        parts.append(_draw_line("now", LEFT))
    ends = f' data-first="{across_axis.low:g}" data-last="{across_axis.high:g}" data-left="{LEFT}" data-right="{WIDTH - RIGHT}"'
    return Markup(
        f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
        f"{ends if follows else ''}>{''.join(parts)}</svg>"
    )


class _Axis:
    """One axis: which values it spans, and between which pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, least_step: float = 0.0) -> None:
        self.low, self.high = low, high if high > low else low + 1.0
        self._start, self._end, self._least_step = start, end, least_step

    def find(self, value: float) -> float:
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> Iterator[float]:
        step = max(find_step((self.high - self.low) / TICKS), self._least_step)
        for number in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1):
            yield number * step


def find_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times powers of ten that is not below `least`.

    >>> find_step(0.3), find_step(12)
    (0.5, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _draw_axes(across: _Axis, up: _Axis, words: str) -> Iterator[str]:
    for value in up.ticks():
        level = up.find(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{value:g}</text>'
    for value in across.ticks():
        yield f'<text x="{across.find(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(words)}</text>'


def _draw_line(kind: str, place: float) -> str:
    return f'<line class="{kind}" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'


def _draw_curve(curve: Curve, style: tuple[str, str], places: Sequence[float], across: _Axis, up: _Axis) -> Iterator[str]:
    colour, dash = style
    pen, path = "M", []
    for place, value in zip(places, curve.values, strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        point = f"{across.find(place):.1f} {up.find(value):.1f}"
        path.append(f"{pen}{point}")
        pen = "L"
    yield f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    for place, value in zip(places, curve.values, strict=True):
        if math.isfinite(value):
            centre = f'cx="{across.find(place):.1f}" cy="{up.find(value):.1f}"'
            said = escape(f"{curve.name}, {place:g}: {value:.4g}")
            yield f'<circle {centre} r="{3 if len(places) <= FEW else 1.5}" fill="{colour}"><title>{said}</title></circle>'


def _draw_legend(names: Sequence[str]) -> Iterator[str]:
    wide = (WIDTH - LEFT - RIGHT) / len(names)
    for number, name in enumerate(names):
        colour, dash = STYLES[number % len(STYLES)]
        left = LEFT + number * wide
        pen = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        yield f'<line x1="{left}" x2="{left + 24}" y1="15" y2="15" {pen}/>'
        yield f'<text x="{left + 30}" y="19">{escape(name)}</text>'
