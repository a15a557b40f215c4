"""A registered run: its arrays, its figures, its picture and its files."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph import __version__
from angiomorph.dicom import (
    Series,
    anonymize,
    imager_spacing,
    write_bsa,
    write_dsa_run,
    write_dsa_state,
    write_key_frame,
    write_shift_state,
)
from angiomorph.pictures import Panel, encode_png, frame_window, grid, side_by_side, subtraction_window
from angiomorph.preprocessing.background import Background, Step
from angiomorph.preprocessing.intensity import LN, exposed_range, to_domain
from angiomorph.preprocessing.lazy_frames import LazyFrames
from angiomorph.preprocessing.recovery import read_steps
from angiomorph.registration.cine import draw_cine, draw_sheet
from angiomorph.registration.figures import FrameFigures, describe_frames, root_mean
from angiomorph.registration.inputs import average_frames
from angiomorph.registration.kept_frames import choose_frames
from angiomorph.registration.options import BY_TENSORFLOW, FILES, USUAL, EngineOptions, OutputOptions, list_endings
from angiomorph.registration.outputs import check_run, write_together
from angiomorph.registration.report import write_report
from angiomorph.registration.shown_result import ShownResult
from angiomorph.storage import store
from angiomorph.storage.nifti import write_bsa_image, write_warp
from angiomorph.videos import frame_durations, write_gif, write_mp4

GIF_SIZE = 320  # longer side at most of each of the two pictures, pixels
H5_VERSION = 3  # of the files of `--save h5`; 2 had no background image; 1 had no such attribute, and always `moved`


@dataclass(frozen=True, eq=False)
class Registration:
    """A registered run; every frame of it, in order.

        >>> result.bsa.shape, result.moved.shape, result.warp.shape
        ((8, 512, 512), (8, 512, 512), (8, 512, 512, 2))
        >>> result.background.choice, result.hyper == model.defaults.hyper
        ('tag', True)
        >>> result.summary()["frames"]
        8

    Args:
        series: the run.
        bsa: `(T, H, W)` float32, frame minus moved, in `units`, iodine negative. Of a registration with `Spooling`, this array
            and the next three are `LazyFrames` instead.
        dsa: `(T, H, W)` float32, frame minus the unregistered background.
        moved: `(T, H, W)` float32, the morphed background of each frame, in `units`.
        warp: `(T, H, W, 2)` float32, pixels, ij order: moved(x) = background(x + warp(x)).
        background: the chosen background frames.
        units: "ln(intensity)" where stored values are proportional to intensity, else "stored value".
        intensity: "log" or "linear", what the network saw.
        hyper: λ.
        levels: number of the network's levels, see `Predictor.warps`.
        rounds: further passes of the network, see `Predictor.warps`.
        refine: steps of refinement after the network.
        field: `(H, W)` bool, the exposed field, see `field.find_field`; outside of it the warp is 0.
        weights: `(T,)` in [0, 1], by which the guard scaled each frame's warp: 1 whole, 0 unwarped.
        model_name: name of the model's file.
        model_sha256: SHA-256 of that file.
        model_facts: that file's description of the model's training.
        figures: figures of each frame; none where they are found from the arrays when they are asked for.
        seconds: time of each stage, in threads of their own, s: read, network, subtract, write.
        guard: whether frames' warps were weighed.
        batch_size: frames at a time.
        engine: engine that computed the network.
        montage: by λ, the BSA of the key frame `(H, W)` registered at it, for the report; none where nobody asked for it.
    """

    series: Series
    bsa: np.ndarray
    dsa: np.ndarray
    moved: np.ndarray
    warp: np.ndarray
    background: Background
    units: str
    intensity: str
    hyper: float
    levels: int
    rounds: int
    refine: int
    field: np.ndarray
    weights: np.ndarray
    model_name: str = ""
    model_sha256: str = ""
    model_facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    figures: tuple[FrameFigures, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    guard: bool = USUAL.guard
    batch_size: int = USUAL.batch_size
    engine: EngineOptions = BY_TENSORFLOW
    montage: Mapping[float, np.ndarray] = dataclasses.field(default_factory=dict)

    @cached_property
    def frame_figures(self) -> tuple[FrameFigures, ...]:
        """What is said of each frame."""
        return self.figures or describe_frames(self.bsa, self.dsa, self.warp, self.field)

    @property
    def _warped(self) -> np.ndarray:
        """Whether each frame's warp is anything but zero, `(T,)` bool."""
        return np.array([frame.warped for frame in self.frame_figures])

    @property
    def contrast_frames(self) -> np.ndarray:
        """Indices of the frames that are not background, or of all where every one is."""
        indices = np.setdiff1d(np.arange(len(self.bsa)), np.array(self.background.numbers) - 1)
        return indices if indices.size else np.arange(len(self.bsa))

    @property
    def unwarped_frames(self) -> list[int]:
        """Numbers of the frames that are not background and of which the warp is zero."""
        still = np.flatnonzero(~self._warped) + 1
        return [int(number) for number in still if number not in self.background.numbers]

    @property
    def fullest_frame(self) -> int:
        """Number of the frame that shows the most iodine."""
        return self._find_fullest(np.ones(len(self.bsa), bool))

    @property
    def key_frame(self) -> int:
        """Number of the frame with the most iodine among those that were warped, or among all where none was."""
        return self._find_fullest(self._warped)

    @property
    def mean_shifts(self) -> np.ndarray:
        """`(T, 2)` mean of each frame's warp over the exposed field, pixels: of all shifts the nearest to it."""
        return np.array([frame.mean_shift for frame in self.frame_figures])

    def _find_fullest(self, among: np.ndarray) -> int:
        contrast = self.contrast_frames
        after = contrast[contrast >= self.background.main[-1]]
        if len(after) and self.background.choice != "number":
            contrast = after  # before the background an exposure ramp may look like iodine
        contrast = contrast[among[contrast]] if among[contrast].any() else contrast
        return min((self.frame_figures[index].darkness, int(index)) for index in contrast)[1] + 1

    @property
    def _mode(self) -> str:
        return "log" if self.units == LN else "linear"

    def summary(self) -> dict[str, Any]:
        """Return the figures of the registration, ready for JSON."""
        frames, rows, columns = self.series.frames.shape
        contrast, unwarped, steps = self.contrast_frames, self.unwarped_frames, self.background.steps
        reach = exposed_range(self.series.frames, self.field, self._mode)
        residue_dsa = root_mean([self.frame_figures[index].residue_dsa for index in contrast])
        residue_bsa = root_mean([self.frame_figures[index].residue_bsa for index in contrast])
        return {
            "name": self.series.name,
            "frames": frames,
            "rows": rows,
            "columns": columns,
            "background": list(self.background.numbers),
            "background_steps": [{"background": list(step.numbers), "frames": list(step.frames)} for step in steps],
            "background_choice": self.background.choice,
            "background_sure": self.background.sure,
            "background_shows_iodine": self.background.shows_iodine,
            "iodine_from": self.background.iodine_from,
            "lambda": self.hyper,
            "levels": self.levels,
            "rounds": self.rounds,
            "refine": self.refine,
            **dataclasses.asdict(self.engine),
            "unwarped": len(unwarped),
            "partly_warped": int(np.sum((self.weights[contrast] > 0) & (self.weights[contrast] < 1))),
            "unwarped_frames": unwarped,
            "intensity": self.intensity,
            "units": self.units,
            "exposed_range": reach,
            "residue_dsa": residue_dsa,
            "residue_bsa": residue_bsa,
            "residue_dsa_percent": _percent(residue_dsa, reach),
            "residue_bsa_percent": _percent(residue_bsa, reach),
            "largest_shift": max(frame.largest_shift for frame in self.frame_figures),
            "folding": float(np.mean([frame.folding for frame in self.frame_figures])),
            "warnings": [*self.series.warnings, *self.background.warnings],
        }

    def save(
        self, stem: str | os.PathLike[str], kinds: str | Sequence[str] | None = None, output: OutputOptions = FILES
    ) -> list[Path]:
        """Write the results, all of them or none.

        Args:
            stem: the files' names before their endings: "out/run" for "out/run_bsa.dcm". A missing folder is made.
            kinds: kinds of file to write, one or several of `options.ENDINGS`; None for `output.kinds`.
            output: how it is written.

        Returns:
            the files.

        Raises:
            InputError: a kind that is not known or that the run does not allow, or a folder that cannot be written.
        """
        if kinds is not None:
            output = replace(output, kinds=(kinds,) if isinstance(kinds, str) else tuple(kinds))
        if output.anonymize and not self.series.anonymous:
            return replace(self, series=anonymize(self.series)).save(stem, output=output)
        check_run(self.series, output)
        endings = list_endings(output.kinds)
        with write_together(Path(stem), endings) as paths:
            for kind, path in paths.items():
                self._write(kind, path, output)
        return [Path(f"{os.fspath(stem)}{ending}") for ending in endings.values()]

    def _write(self, kind: str, path: Path, output: OutputOptions) -> None:
        numbers, durations = self.background.numbers, frame_durations(self.series.frame_times)
        spacing = imager_spacing(self.series.headers[0]) if self.series.headers else None
        compression = output.encoding.compress
        writers: dict[str, Callable[[], None]] = {
            "dicom": lambda: self._write_dicom(path, output),
            "dsa": lambda: write_dsa_run(path, self.series, numbers, steps=self.background.steps, compression=compression),
            "dsa-state": lambda: write_dsa_state(path, self.series, numbers),
            "shift-state": lambda: write_shift_state(path, self.series, numbers, self.mean_shifts),
            "key": lambda: self._write_key(path, output),
            "nifti": lambda: write_bsa_image(path, self.bsa, spacing, self.units),
            "nifti-warp": lambda: write_warp(path, self.warp, spacing),
            "h5": lambda: self._write_h5(path, with_moved=output.save_moved),
            "png": lambda: side_by_side(self.panels(output.frame), path),
            "sheet": lambda: grid(draw_sheet(self), path),
            "mp4": lambda: self.write_video(path),
            "gif": lambda: self.write_video(path),
            "html": lambda: write_report(path, self, durations),
        }
        writers[kind]()

    def write_video(self, path: str | os.PathLike[str], window: tuple[float, float] | None = None) -> None:
        """Write plain DSA beside BSA as moving pictures, at the run's frame times.

        Args:
            path: the file, ending in .mp4, or in .gif for a small one.
            window: (black, white), subtracted values; black above white shows iodine bright. None for that of the key frame.

        Raises:
            InputError: PyAV, which writes MP4, is not installed.
        """
        durations = frame_durations(self.series.frame_times)
        if Path(path).suffix == ".gif":
            write_gif(path, draw_cine(self, GIF_SIZE, window), durations)
        else:
            write_mp4(path, draw_cine(self, None, window), durations)

    def _write_dicom(self, path: Path, output: OutputOptions) -> None:
        write_bsa(
            path,
            self.series,
            self.bsa,
            units=self.units,
            model_name=self.model_name,
            model_sha256=self.model_sha256,
            hyper=self.hyper,
            background_numbers=self.background.numbers,
            kept=choose_frames(self.series.name, output.keep_frames, len(self.bsa), self.background.numbers),
            encoding=output.encoding,
        )

    def _write_key(self, path: Path, output: OutputOptions) -> None:
        number = self.key_frame if output.frame is None else output.frame
        write_key_frame(
            path,
            self.series,
            self.bsa[number - 1],
            number=number,
            units=self.units,
            hyper=self.hyper,
            encoding=output.encoding,
        )

    def _write_h5(self, path: Path, *, with_moved: bool) -> None:
        arrays = {"bsa": self.bsa, "warp": self.warp}
        if with_moved:
            arrays["moved"] = self.moved
        arrays["background"] = np.array(self.background.numbers, np.int64)
        steps: Sequence[Step] = self.background.split(len(self.bsa))
        if self.background.steps:
            pairs = [(frame, number) for step in steps for frame in step.frames for number in step.numbers]
            arrays["background_of_frame"] = np.array(sorted(pairs), np.int64)
            steps = read_steps(arrays["background_of_frame"])  # by which a reader finds each frame's image
        values = LazyFrames(
            self.series.frames.shape, np.float32, lambda index: to_domain(self.series.frames[index], self._mode)
        )
        arrays["background_image"] = np.stack([average_frames(values, step.numbers) for step in steps])
        arrays["frame_times"] = np.asarray(self.series.frame_times, np.float64)
        if not self.series.shutter.all():
            arrays["shutter"] = self.series.shutter
        attributes = {
            "lambda": self.hyper,
            "model_sha256": self.model_sha256,
            "intensity": self.intensity,
            "relation": self.series.relation,
            "bits_stored": self.series.bits_stored,
            "units": self.units,
            "levels": self.levels,
            "rounds": self.rounds,
            "refine": self.refine,
            **dataclasses.asdict(self.engine),
            "version": __version__,
            "format_version": H5_VERSION,
        }
        store.write_arrays(path, arrays, attributes, "lzf")

    def panels(self, frame: int | None = None) -> tuple[Panel, ...]:
        """Return one frame, its plain DSA and its BSA as panels of a picture.

        Args:
            frame: its number, from 1; None for `key_frame`.
        """
        number = self.key_frame if frame is None else frame
        index = number - 1
        filled = to_domain(self.series.frames[index], self._mode)
        level = np.median(self.bsa[index][self.field])  # of exposure, which differs from frame to frame
        # Behind a collimator there is nothing to subtract but noise.
        dsa, bsa = (np.where(self.field, part[index] - level, 0) for part in (self.dsa, self.bsa))
        window = subtraction_window(bsa[self.field])
        done = f"registered (λ {self.hyper:.2f})" if self.frame_figures[index].warped else "left unwarped"
        return (
            Panel(self._title(number), filled, frame_window(filled[self.field])),
            Panel("plain DSA", dsa, window),
            Panel(f"BSA, {done}", bsa, window),
        )

    def _title(self, number: int) -> str:
        if number in self.background.numbers:
            return f"background frame {number}"
        after = number > self.background.main[-1]  # before it there may be no iodine
        return f"contrast frame {number}" if after else f"frame {number}"

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """Return the run as a widget, for notebooks that have anywidget; the picture comes beside it."""
        if importlib.util.find_spec("anywidget") is None:
            return {}
        from angiomorph.view.widget import RunWidget

        shown = ShownResult(**{part.name: getattr(self, part.name) for part in fields(ShownResult)})
        return RunWidget(shown)._repr_mimebundle_(**given)

    def _repr_png_(self) -> bytes:
        """Return the picture of the key frame, for notebooks."""
        return encode_png(self.panels())


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
