"""A registered run as one page that opens by itself: cine, words, figures over time, λ montage, parameters, model.

Nothing of the patient is in it: no name of the run, no path, no date, and of the source's headers only its frame times.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from angiomorph import __version__
from angiomorph.dicom import Series
from angiomorph.pages.cine import CineFrame, make_cine, read_script
from angiomorph.pages.curves import Curve, draw_curves
from angiomorph.pages.page import (
    Markup,
    embed_png,
    escape,
    make_figure,
    make_gallery,
    make_paragraph,
    make_section,
    make_table,
    write_page,
)
from angiomorph.preprocessing.frame_numbers import say_frames
from angiomorph.preprocessing.spacing import spread_indices
from angiomorph.registration.cine import Registered, draw_pairs, draw_subtracted, say_warp
from angiomorph.registration.figures import FrameFigures
from angiomorph.registration.model_card import read_excerpt
from angiomorph.registration.options import OPENVINO, TENSORFLOW

CINE_SIZE = 512  # longer side at most of each panel, pixels
MOST_FRAMES = 120  # of the cine, so that a long run's page stays below some 20 MB
CHOICES = {
    "number": "named by the user",
    "tag": "named by the run's own file",
    "arrival": "the last ones before iodine arrives",
    "first": "the first ones, as no arrival of iodine was found",
}
STILL = "no sure sign that something moves, so the guard left plain DSA"
NOTHING = "the warp found is zero"
LIBRARIES = {TENSORFLOW: ("tensorflow", "voxelmorph", "numpy", "scipy"), OPENVINO: ("openvino", "numpy", "scipy")}


class Reported(Registered, Protocol):
    """What a report says of a `Registration`."""

    @property
    def series(self) -> Series:
        """The run."""

    @property
    def frame_figures(self) -> tuple[FrameFigures, ...]:
        """What is said of each frame."""

    @property
    def contrast_frames(self) -> np.ndarray:
        """Indices of the frames that are not background."""

    @property
    def montage(self) -> Mapping[float, np.ndarray]:
        """By λ, the BSA of the key frame."""

    @property
    def guard(self) -> bool:
        """Whether warps were weighed."""

    @property
    def batch_size(self) -> int:
        """Frames at a time."""

    @property
    def model_name(self) -> str:
        """Of the model's file."""

    @property
    def model_sha256(self) -> str:
        """Of the model's file."""

    @property
    def model_facts(self) -> Mapping[str, Any]:
        """What the model's file says of its training."""

    def summary(self) -> dict[str, Any]:
        """Return the figures of the registration."""


def write_report(path: str | os.PathLike[str], result: Reported, durations: Sequence[float]) -> None:
    """Write the report of a registered run, a frame at a time; whole or not at all.

    Args:
        path: HTML file.
        result: the registered run.
        durations: time of each frame, ms.

    Raises:
        OSError: the disk fails.
    """
    write_page(path, "Registered run", _write_parts(result, durations), [read_script()])


def _write_parts(result: Reported, durations: Sequence[float]) -> Iterator[Markup]:
    given = result.summary()
    count, shown = len(result.bsa), len(_choose_indices(len(result.bsa)))
    title = "Plain DSA beside BSA" if shown == count else f"Plain DSA beside BSA: {shown} of {count} frames, evenly spaced"
    yield from make_cine(title, ("plain DSA", "BSA"), _draw_frames(result, durations))
    yield make_section("Summary", *_summarise(result, given))
    yield make_section("Frames that were not warped whole", *_list_frames(result))
    yield make_section("Figures over time, without truth", *_draw_figures(result, given), wide=True)
    yield make_section(_name_key_frame(result), _show_key_frame(result), wide=True)
    yield make_section("The same frame at other λ", *_show_montage(result), wide=True)
    yield make_section("Parameters", make_table([], _name_parameters(result, given)))
    yield make_section("Model", *_quote_card(result), make_table([], _describe_model(result)))


def _choose_indices(count: int) -> list[int]:
    return spread_indices(count, MOST_FRAMES).tolist()


def _draw_frames(result: Reported, durations: Sequence[float]) -> Iterator[CineFrame]:
    indices = _choose_indices(len(result.bsa))
    until = [*indices[1:], len(result.bsa)]
    for index, after, pair in zip(indices, until, draw_pairs(result, indices, CINE_SIZE), strict=True):
        background = ", background" if index + 1 in result.background.numbers else ""
        time = _say_time(result, index)
        captions = (f"plain DSA{background}{time}", f"{say_warp(result, index)}{time}")
        yield CineFrame(index + 1, sum(durations[index:after]), captions, pair)


def _say_time(result: Reported, index: int) -> str:
    """Return when a frame was seen, in seconds since the first; nothing of a run without times."""
    times = result.series.frame_times
    return f" at {times[index] / 1e3:.2f} s" if times[-1] > 0 else ""


def _summarise(result: Reported, given: dict[str, Any]) -> Iterator[Markup]:
    seconds = float(result.series.frame_times[-1]) / 1e3
    lasts = f" over {seconds:.1f} s. Times count from the first frame" if seconds > 0 else ""
    yield make_paragraph(escape(f"{given['frames']} frames of {given['columns']} by {given['rows']} pixels{lasts}."))
    yield make_paragraph(escape(_say_model(result, given)))
    yield make_paragraph(escape(_say_background(given)))
    for warning in result.background.warnings:
        yield make_paragraph(escape(warning.replace("`", "")), warns=True)
    yield make_paragraph(escape(_say_residue(given)))
    yield make_paragraph(escape(_say_guard(result, given)))
    yield make_paragraph(
        escape(
            f"The largest shift is {given['largest_shift']:.1f} pixels. "
            f"The warp folds, so that it is not one to one, at {given['folding']:.3%} of all pixels."
        )
    )
    if count := len(result.series.warnings):
        yield make_paragraph(
            escape(
                f"Reading the run gave {count} warning{'s' * (count > 1)}. They may name files, so they are not repeated here."
            ),
            warns=True,
        )
    yield make_paragraph(escape("Research use only; not a medical device."), warns=True)


def _say_model(result: Reported, given: dict[str, Any]) -> str:
    by = f" by the model {result.model_name}" if result.model_name else ""
    refined = f", and refined by {given['refine']} steps" if given["refine"] else ""
    return (
        f"Registered at λ {result.hyper:.2f}{by}{refined}. λ weighs the warp's smoothness: "
        "near 0 the warp follows each frame closely, and near 1 it stays smooth."
    )


def _say_background(given: dict[str, Any]) -> str:
    chosen = CHOICES[given["background_choice"]]
    if steps := given["background_steps"]:
        each = "; ".join(f"{say_frames(step['background'])} for {say_frames(step['frames'])}" for step in steps)
        begins = f"Background frames: {each} ({chosen})."
    else:
        several = len(given["background"]) > 1
        begins = (
            f"Background: {'the mean of frames' if several else 'frame'} {say_frames(given['background'])} ({chosen}). "
            "It was warped onto each frame and subtracted."
        )
    iodine = "No iodine was seen." if given["iodine_from"] is None else f"Iodine is seen from frame {given['iodine_from']} on."
    sure = "" if given["background_sure"] else " That is not sure: iodine may have been there from the first frame on."
    return f"{begins} {iodine}{sure}"


def _say_residue(given: dict[str, Any]) -> str:
    before, after = given["residue_dsa_percent"], given["residue_bsa_percent"]
    gain = 1 - after / before if before else 0.0
    change = f"{abs(gain):.0%} {'less' if gain >= 0 else 'more'}"
    return (
        "Bright residue is motion and noise, but no iodine. "
        f"It is {before:.2f}% of the run's range in plain DSA, and {after:.2f}% in BSA: {change}. "
        "Less of it does not mean that vessels kept their contrast."
    )


def _say_guard(result: Reported, given: dict[str, Any]) -> str:
    count, unwarped, partly = len(result.contrast_frames), given["unwarped"], given["partly_warped"]
    whole = count - unwarped - partly
    told = (
        f"Of {count} frames beside the background, {whole} were warped whole, {partly} in part, and {unwarped} left unwarped."
    )
    return told if result.guard else f"{told} The guard was off."


def _draw_figures(result: Reported, given: dict[str, Any]) -> Iterator[Markup]:
    figures, weights = result.frame_figures, 100 * np.asarray(result.weights, float)
    numbers = range(1, len(figures) + 1)
    scale = 100 / given["exposed_range"] if given["exposed_range"] else 0.0
    marks = [] if given["iodine_from"] is None else [float(given["iodine_from"])]

    def draw(title: str, **curves: Sequence[float]) -> Markup:
        drawn = [Curve(name.replace("_", " "), values) for name, values in curves.items()]
        return make_figure(draw_curves(title, numbers, drawn, "frame", marks=marks, follows=True), title)

    before = [scale * figure.residue_dsa**0.5 for figure in figures]
    after = [scale * figure.residue_bsa**0.5 for figure in figures]
    shifts = [float(np.hypot(*figure.mean_shift)) for figure in figures]
    curves = [
        draw("Bright residue, % of the run's range", plain_DSA=before, BSA=after),
        draw("Shift, pixels", largest=[figure.largest_shift for figure in figures], of_the_mean_warp=shifts),
        draw("Folding, % of the pixels", folding=[100 * figure.folding for figure in figures]),
        draw("Weight that the guard gave the warp, %", weight=weights.tolist()),
    ]
    yield make_gallery(curves, "curves")
    iodine = " The dashed line is where iodine begins." if marks else ""
    yield make_paragraph(
        escape(
            f"The upright line is the frame shown; click on a curve to go there.{iodine} "
            "A background frame has little residue in plain DSA, as it is subtracted from itself."
        )
    )


def _list_frames(result: Reported) -> Iterator[Markup]:
    reasons: dict[str, list[int]] = {}
    for index in map(int, result.contrast_frames):
        if reason := _say_reason(result, index):
            reasons.setdefault(reason, []).append(index + 1)
    if not reasons:
        yield make_paragraph(escape("None: every frame beside the background was warped whole."))
        return
    yield make_table(["frames", "why"], [(escape(_say_ranges(numbers)), escape(why)) for why, numbers in reasons.items()])
    yield make_paragraph(
        escape(
            "The guard weighs what a warp removes at the background's edges against the noise there. "
            "Register without the guard to warp every frame."
        )
    )


def _say_reason(result: Reported, index: int) -> str:
    weight = float(result.weights[index])
    if weight == 0:
        return STILL
    if weight < 1:
        return f"warped by {weight:.0%}: the signs of motion are weak here, or fade towards frames without"
    return "" if result.frame_figures[index].warped else NOTHING


def _say_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with each stretch of them as N-M."""
    breaks = np.flatnonzero(np.diff(numbers) > 1) + 1
    return ", ".join(say_frames(part.tolist()) for part in np.split(np.array(numbers), breaks))


def _show_montage(result: Reported) -> Iterator[Markup]:
    if not result.montage:
        yield make_paragraph(
            escape(
                "Not made: a baked model has one λ alone, and in Python Model.register makes others for `hypers`. "
                "`angiomorph sweep RUN` shows a run at many λ."
            )
        )
        return
    index = result.key_frame - 1
    shown = [("plain DSA", result.dsa[index])]
    shown += [
        (f"BSA, λ {hyper:.2f}{', as registered' * (hyper == result.hyper)}", bsa) for hyper, bsa in result.montage.items()
    ]
    yield make_gallery(_show(draw_subtracted(result, frame, CINE_SIZE), name) for name, frame in shown)
    yield make_paragraph(
        escape(
            f"Frame {result.key_frame} in one grey window, each warp whole, whatever the guard says of it. "
            "Near 0 the warp follows the frame closely, and may eat vessels; near 1 it stays smooth, and may leave motion."
        )
    )


def _name_key_frame(result: Reported) -> str:
    return f"Frame {result.key_frame}{_say_time(result, result.key_frame - 1)}, the most iodine"


def _show_key_frame(result: Reported) -> Markup:
    index = result.key_frame - 1
    (pair,) = draw_pairs(result, [index])
    names = ("plain DSA", say_warp(result, index))
    return make_gallery([_show(picture, name) for picture, name in zip(pair, names, strict=True)], "pair")


def _show(picture: np.ndarray, name: str) -> Markup:
    return make_figure(embed_png(picture, name), name)


def _name_parameters(result: Reported, given: dict[str, Any]) -> list[tuple[Markup, Markup]]:
    values = {
        "λ": f"{result.hyper:g}",
        "levels": given["levels"],
        "further rounds": given["rounds"],
        "steps of refinement": given["refine"],
        "frames at a time": result.batch_size,
        "guard": "on" if result.guard else "off",
        "the network computed in": "half precision" if given["mixed_precision"] else "float32",
        "the network saw": f"{given['intensity']} intensity",
        "subtracted in": given["units"],
        "AngioMorph": __version__,
        "Python": platform.python_version(),
    }
    return _make_rows(values | {name: importlib.metadata.version(name) for name in LIBRARIES[given["engine"]]})


def _quote_card(result: Reported) -> Iterator[Markup]:
    excerpt, baked_from = read_excerpt(result.model_sha256), str(result.model_facts.get("source_sha256"))
    if excerpt:
        yield make_paragraph(escape("The model's card, angiomorph/models/MODEL_CARD.md, says in short:"))
    elif excerpt := read_excerpt(baked_from):
        yield make_paragraph(
            escape("It was baked at one λ from a model whose card, angiomorph/models/MODEL_CARD.md, says in short:")
        )
    else:
        yield make_paragraph(
            escape(
                "AngioMorph has no card of this model: the table is all that its file says. What it leaves of the artefact and "
                "keeps of the contrast is not known here; on simulated runs `angiomorph evaluate` measures it."
            ),
            warns=True,
        )
    yield from map(make_paragraph, map(escape, excerpt))


def _describe_model(result: Reported) -> list[tuple[Markup, Markup]]:
    facts = result.model_facts
    data, versions = facts.get("data") or {}, facts.get("versions") or {}
    values = {
        "name": result.model_name,
        "SHA-256 of the file": result.model_sha256,
        "loss": facts.get("image_loss"),
        "scale of the loss": facts.get("image_sigma"),
        "side of its frames, pixels": facts.get("size"),
        "levels": facts.get("levels"),
        "its own λ": facts.get("lambda"),
        "trained on": f"{data['runs']} runs, {data['frames']} frames" if {"runs", "frames"} <= data.keys() else None,
        "steps of the last training": facts.get("steps"),
        "trained by AngioMorph": versions.get("angiomorph"),
    }
    return _make_rows({name: value for name, value in values.items() if value not in (None, "")})


def _make_rows(values: Mapping[str, Any]) -> list[tuple[Markup, Markup]]:
    return [(escape(name), escape(value)) for name, value in values.items()]
