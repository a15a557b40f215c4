"""The pictures of the comparison: what each method makes of the same frames, and what it leaves against what it eats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from angiomorph.comparison import Line
from angiomorph.intensity import to_domain
from angiomorph.layers import warp_frames
from angiomorph.scoring import Score
from angiomorph.view.pictures import Panel, frame_window, grid
from benchmarks.runs import Sample, read_sample

if TYPE_CHECKING:
    from benchmarks.peers import Method

SIDE = 224  # pixels of a picture, cut out where motion artefact and vessels meet
LEAST_DEPTH = 0.1  # ln units of the window's dark end


def pictured(paths: Sequence[Path], compared: Mapping[str, Sequence[Score]]) -> list[Path]:
    """Return the runs to show: of the moving ones those at 1/6, 1/2 and 5/6 of the order of their first method's error, and
    the middle still one.
    """
    scores = next(iter(compared.values()))
    ranked = sorted(range(len(paths)), key=lambda index: scores[index].rmse_over_floor)
    moving = [index for index in ranked if scores[index].runs == "moving"]
    still = [index for index in ranked if scores[index].runs == "still"]
    shown = dict.fromkeys(moving[int(share * len(moving))] for share in (1 / 6, 1 / 2, 5 / 6) if moving)
    return [paths[index] for index in (*shown, *still[len(still) // 2 : len(still) // 2 + 1])]


def panels(paths: Sequence[Path], methods: Sequence[Method], count: int, path: Path) -> None:
    """Write rows = runs, columns = background, contrast frame, true vessels, then each method's BSA in one window a row.

    Args:
        paths: runs.
        methods: columns.
        count: frames registered a run, of which the one with the most iodine is shown.
        path: PNG file.
    """
    grid([_row(read_sample(run, count), methods) for run in paths], path)


def _row(sample: Sample, methods: Sequence[Method]) -> list[Panel]:
    first = len(sample.numbers)  # the truth has the background frames before the registered ones
    shown = int(np.argmin(sample.truth.vessel[first:].sum((1, 2))))
    vessel, inside = sample.truth.vessel[first + shown], sample.truth.anatomy[first + shown]
    frames = (
        to_domain(sample.series.frames, "log" if sample.series.relation == "LIN" else "linear") / sample.truth.stored_per_ln
    )
    background = frames[[number - 1 for number in sample.numbers]].mean(0)
    frame = frames[sample.frames[shown]]
    artefact = sample.truth.background[:first].mean(0) - sample.truth.background[first + shown]
    where = _where(artefact, vessel, inside)
    depth = max(-float(np.percentile(vessel[where], 0.5)), LEAST_DEPTH)
    window = (-depth, depth / 2)
    plain = frame_window(frame[where])
    panels_ = [
        Panel(f"{sample.name}\nbackground", background[where], plain),
        Panel("contrast frame", frame[where], plain),
        Panel("true vessels", vessel[where], window),
    ]
    alone = replace(sample, frames=sample.frames[shown : shown + 1], fixed=sample.fixed[shown : shown + 1])
    for method in methods:
        warps, _ = method.warps(alone)
        bsa = frame - warp_frames(background[None].astype(np.float32), warps).numpy()[0]
        panels_.append(Panel(method.name, (bsa - np.median((bsa - vessel)[inside]))[where], window))
    return panels_


def _where(artefact: np.ndarray, vessel: np.ndarray, inside: np.ndarray) -> tuple[slice, slice]:
    """Return the square in which artefact and vessels meet most, wholly inside the frame."""
    side = min(SIDE, *vessel.shape)
    energies = [ndimage.uniform_filter(np.where(inside, part, 0) ** 2, side, mode="constant") for part in (artefact, vessel)]
    lowest = side // 2
    place = tuple(slice(lowest, length - (side - lowest) + 1) for length in vessel.shape)
    product = (energies[0] * energies[1])[place]
    row, column = np.unravel_index(int(np.argmax(product)), product.shape)
    return slice(int(row), int(row) + side), slice(int(column), int(column) + side)


def tradeoff(lines: Sequence[Line], path: Path) -> None:
    """Write what each method leaves of the artefact, or makes where nothing moved, against the contrast it keeps.

    Args:
        lines: of the table.
        path: PNG file.
    """
    drawing = Figure(figsize=(12, 5.5), dpi=128, layout="constrained")
    left, right = drawing.subplots(1, 2)
    _scatter(left, lines, "moving", "artefact_left")
    left.set(
        title="moving runs", xlabel="artefact left (0: none, 1: as without registration)", ylabel="contrast kept", xscale="log"
    )
    _scatter(right, lines, "still", "harm")
    right.set(title="still runs", xlabel="harm: artefact made, in noise energies", ylabel="contrast kept")
    right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9, frameon=False)
    FigureCanvasAgg(drawing).print_png(str(path))


def _scatter(axes: Axes, lines: Sequence[Line], runs: str, name: str) -> None:
    for number, line in enumerate(lines):
        across, up = (getattr(line, runs)[figure] for figure in (name, "contrast_kept"))
        if not (across.count and up.count):
            continue
        ours = line.method.startswith("AngioMorph")
        axes.errorbar(
            across.mean,
            up.mean,
            xerr=[[across.mean - across.low], [across.high - across.mean]],
            yerr=[[up.mean - up.low], [up.high - up.mean]],
            fmt="*" if ours else "o",
            markersize=12 if ours else 6,
            color=f"C{number % 10}",
            markerfacecolor=f"C{number % 10}" if number < 10 else "white",
            elinewidth=1,
            label=line.method,
        )
    axes.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    axes.grid(alpha=0.3)
