"""The pictures of the comparison: what each method makes of the same frames, and what it leaves against what it eats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from angiomorph.evaluation.score import Runs, Score
from angiomorph.evaluation.tables import Line
from angiomorph.networks.warp import warp_frames
from angiomorph.pictures import DPI, frame_window
from angiomorph.preprocessing.intensity import to_ln
from benchmarks.peers.runs import Sample, read_sample

if TYPE_CHECKING:
    from benchmarks.peers.peers import Method


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Args:
        marker: as Matplotlib takes it; each method has its own, so that shape alone tells them apart.
        colour: of marker and intervals.
        size: points.
        filled: else an outline.
        order: larger ones lie on top.
    """

    marker: str | tuple[int, int, int]
    colour: str
    size: float = 7
    filled: bool = True
    order: float = 2


@dataclass(frozen=True)
class Cell:
    """One image of `panels`.

    Args:
        title: of its column.
        image: `(H, W)`, ln units.
        window: (black, white) values.
        below: what stands below it.
    """

    title: str
    image: np.ndarray
    window: tuple[float, float]
    below: str


# Peers in Tol's muted colours, which colour-blind readers tell apart; ours in black, which they tell from any of these.
# The default is the smaller filled star, so that the outline of the refined one is seen around it where the two agree.
OUR_COLOUR = "#000000"
STYLES: Mapping[str, Style] = {
    "none": Style("x", "#AAAAAA", 8),
    "pixel shift": Style("o", "#CC6677"),
    "elastix rigid": Style("v", "#DDCC77"),
    "elastix affine": Style("^", "#999933"),
    "elastix B-spline": Style("D", "#117733"),
    "ANTs SyN": Style("s", "#88CCEE"),
    "symmetric demons": Style("P", "#AA4499", 9),
    "DIS flow": Style("<", "#332288"),
    "TV-L1 flow": Style(">", "#44AA99"),
    "DeepFlow": Style("p", "#882255", 9),
    "U-Net, subtraction": Style("X", "#EEBB00", 9),
    "Reg-VLE": Style("h", "#9900EE", 9),
    "Reg-MinMax": Style("H", "#EE00DD", 9),
    "Reg-MSE": Style("8", "#550055", 9),
    "best warp by truth": Style("+", "#666666", 10),
    "AngioMorph, network alone": Style((4, 1, 0), OUR_COLOUR, 14, filled=False, order=3),
    "AngioMorph, refined": Style((5, 1, 0), OUR_COLOUR, 20, filled=False, order=4),
    "AngioMorph (default)": Style("*", OUR_COLOUR, 12, order=5),
}
HARM_LINEAR = 1.0  # noise energies, up to which the axis of harm is linear
LEFT, HEAD, FOOT, GAP = 64, 60, 56, 6  # pixels of captions and between panels
HEAD_FONT: Mapping[str, Any] = {"fontsize": 13}
FOOT_FONT: Mapping[str, Any] = {"fontsize": 11}
SIDE = 224  # pixels of a picture, cut out where motion artefact and vessels meet
LEAST_DEPTH = 0.1  # ln units of the window's dark end


def choose_runs(paths: Sequence[Path], compared: Mapping[str, Sequence[Score]]) -> dict[Path, dict[str, Score]]:
    """Return the runs to show, each with its score by method: of the moving ones those at 1/6, 1/2 and 5/6 of the order of
    their first method's error, and the middle still one.
    """
    scores = next(iter(compared.values()))
    ranked = sorted(range(len(paths)), key=lambda index: scores[index].rmse_over_floor)
    moving = [index for index in ranked if scores[index].runs == "moving"]
    still = [index for index in ranked if scores[index].runs == "still"]
    shown = dict.fromkeys(moving[int(share * len(moving))] for share in (1 / 6, 1 / 2, 5 / 6) if moving)
    chosen = (*shown, *still[len(still) // 2 : len(still) // 2 + 1])
    return {paths[index]: {method: of[index] for method, of in compared.items()} for index in chosen}


def panels(shown: Mapping[Path, Mapping[str, Score]], methods: Sequence[Method], count: int, path: Path) -> None:
    """Write rows = runs, columns = contrast frame, true vessels, then each method's BSA, an image pixel a screen pixel.

    True vessels and BSAs of a row have one grey window, which stands at its left. Below each BSA stands what the method's warps
    are worth on all registered frames of the run: artefact left, or harm where nothing moved, and contrast kept.

    Args:
        shown: runs, with each method's score.
        methods: columns.
        count: frames registered a run, of which the one with the most iodine is shown.
        path: PNG file.
    """
    samples = [read_sample(run, count) for run in shown]
    rows = [_row(sample, scores, methods) for sample, scores in zip(samples, shown.values(), strict=True)]
    side = rows[0][1][0].image.shape[0]
    width = LEFT + len(rows[0][1]) * (side + GAP)
    height = HEAD + len(rows) * (side + FOOT)
    drawing = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(text: str, across: float, down: float, **how: Any) -> None:
        drawing.text(across / width, 1 - down / height, text, ha="center", va="center", **how)

    for place, (label, cells) in enumerate(rows):
        top = HEAD + place * (side + FOOT)
        write(label, LEFT / 2, top + side / 2, rotation=90, **FOOT_FONT)
        for number, cell in enumerate(cells):
            left = LEFT + number * (side + GAP)
            axes = drawing.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
            low, high = cell.window
            axes.imshow(cell.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            write(cell.below, left + side / 2, top + side + FOOT / 2, **FOOT_FONT)
            if place == 0:
                ours = cell.title.startswith("AngioMorph")
                write(write_heading(cell.title), left + side / 2, HEAD / 2, **HEAD_FONT, weight="bold" if ours else "normal")
    FigureCanvasAgg(drawing).print_png(str(path))


def write_heading(title: str) -> str:
    """Return a title in two lines, the first of one word; without registration it is plain DSA."""
    return ("plain DSA" if title == "none" else title).replace(" ", "\n", 1)


def _row(sample: Sample, scores: Mapping[str, Score], methods: Sequence[Method]) -> tuple[str, list[Cell]]:
    """Return the label of a run and its images."""
    first = len(sample.numbers)  # the truth has the background frames before the registered ones
    shown = int(np.argmin(sample.truth.vessel[first:].sum((1, 2))))
    vessel, inside = sample.truth.vessel[first + shown], sample.truth.anatomy[first + shown]
    frames = to_ln(sample.series.frames, sample.series.relation, sample.truth.stored_per_ln)
    background = frames[[number - 1 for number in sample.numbers]].mean(0)
    frame = frames[sample.frames[shown]]
    artefact = sample.truth.background[:first].mean(0) - sample.truth.background[first + shown]
    where = find_square(artefact, vessel, inside)
    depth = max(-float(np.percentile(vessel[where], 0.5)), LEAST_DEPTH)
    window = (-depth, depth / 2)
    cells = [
        Cell("contrast frame", frame[where], frame_window(frame[where]), ""),
        Cell("true vessels", vessel[where], window, ""),
    ]
    alone = replace(sample, frames=sample.frames[shown : shown + 1], fixed=sample.fixed[shown : shown + 1])
    for method in methods:
        found, _ = method.warps(alone)
        warped = found.ndim == 4
        bsa = frame - warp_frames(background[None].astype(np.float32), found).numpy()[0] if warped else found[0]
        level = np.median((bsa - vessel)[inside])
        cells.append(Cell(method.name, (bsa - level)[where], window, write_figures(scores[method.name])))
    kind = next(iter(scores.values())).runs
    return f"{kind} {sample.name}\ngrey: \N{MINUS SIGN}{depth:.2f} to {depth / 2:.2f} ln", cells


def write_figures(score: Score) -> str:
    """Return what stands below a panel."""
    error = f"harm {score.harm:.3f}" if score.runs == "still" else f"artefact left {score.artefact_left:.3f}"
    return f"{error}\ncontrast kept {score.contrast_kept:.3f}"


def find_square(artefact: np.ndarray, vessel: np.ndarray, inside: np.ndarray) -> tuple[slice, slice]:
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
    drawing = Figure(figsize=(12, 6.5), dpi=DPI, layout="constrained")
    left, right = drawing.subplots(1, 2)
    left.set(title="moving runs", xlabel="artefact left (0: none, 1: as without registration)", xscale="log")
    _scatter(left, lines, "moving", "artefact_left")
    right.set(title="still runs", xlabel="harm: artefact made, in noise energies (linear up to 1)")
    right.set_xscale("symlog", linthresh=HARM_LINEAR)
    _scatter(right, lines, "still", "harm")
    names = {name: mark for axes in (left, right) for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    legend = drawing.legend(names.values(), names, loc="outside lower center", ncols=4, fontsize=11, frameon=False)
    for text in legend.get_texts():
        text.set_fontweight("bold" if text.get_text().startswith("AngioMorph") else "normal")
    FigureCanvasAgg(drawing).print_png(str(path))


def _scatter(axes: Axes, lines: Sequence[Line], runs: Runs, name: str) -> None:
    for line in lines:
        across, up = (getattr(line, runs)[figure] for figure in (name, "contrast_kept"))
        if not (across.count and up.count):
            continue
        style = STYLES[line.method]
        axes.errorbar(
            across.mean,
            up.mean,
            xerr=[[across.mean - across.low], [across.high - across.mean]],
            yerr=[[up.mean - up.low], [up.high - up.mean]],
            linestyle="none",
            marker=style.marker,
            markersize=style.size,
            color=style.colour,
            markerfacecolor=style.colour if style.filled else "none",
            markeredgewidth=1.5,
            elinewidth=1,
            zorder=style.order,
            label=line.method,
        )
    axes.axhline(1, color="0.3", linewidth=1, linestyle="--", zorder=0)
    axes.set_ylabel("contrast kept (1: all)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.08)
    axes.grid(alpha=0.3)
