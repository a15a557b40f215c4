"""A registered run: its arrays, its figures, its picture and its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from angiomorph.metrics import against_truth
from angiomorph.pictures import Panel, encode_png, frame_window, side_by_side, subtraction_window
from angiomorph.preprocessing.background import Background
from angiomorph.preprocessing.intensity import LN, exposed_range
from angiomorph.registration.kept import choose_frames
from angiomorph.registration.options import ENDINGS, FILES, OutputOptions
from angiomorph.registration.outputs import check_run, write_together
from angiomorph.storage import store
from angiomorph.storage.nifti import write_warp


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
        bsa: `(T, H, W)` float32, frame minus moved, in `units`, iodine negative.
        dsa: `(T, H, W)` float32, frame minus the unregistered background.
        moved: `(T, H, W)` float32, the morphed background of each frame, in `units`.
        warp: `(T, H, W, 2)` float32, pixels, ij order: moved(x) = background(x + warp(x)).
        background: the chosen background frames.
        units: "ln(intensity)" where stored values are proportional to intensity, else "stored value".
        intensity: "log" or "linear", what the network saw.
        hyper: λ.
        levels: of the network, see `Predictor.warps`.
        rounds: further passes of the network, see `Predictor.warps`.
        refine: steps of refinement after the network.
        field: `(H, W)` bool, the exposed field, see `field.find_field`; outside of it the warp is 0.
        weights: `(T,)` in [0, 1], by which the guard scaled each frame's warp: 1 whole, 0 unwarped.
        model_name: of the file of the model.
        model_sha256: of that file.
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

    @property
    def contrast_frames(self) -> np.ndarray:
        """Indices of the frames that are not background, or of all where every one is."""
        indices = np.setdiff1d(np.arange(len(self.bsa)), np.array(self.background.numbers) - 1)
        return indices if indices.size else np.arange(len(self.bsa))

    @property
    def unwarped_frames(self) -> list[int]:
        """Numbers of the frames that are not background and of which the warp is zero."""
        still = np.flatnonzero(~self.warp.any(axis=(1, 2, 3))) + 1
        return [int(number) for number in still if number not in self.background.numbers]

    @property
    def fullest_frame(self) -> int:
        """Number of the frame that shows the most iodine."""
        return self._find_fullest(np.ones(len(self.bsa), bool))

    @property
    def key_frame(self) -> int:
        """Number of the frame with the most iodine among those that were warped, or among all where none was."""
        return self._find_fullest(np.asarray(self.warp.any(axis=(1, 2, 3))))

    @property
    def mean_shifts(self) -> np.ndarray:
        """`(T, 2)` mean of each frame's warp over the exposed field, pixels: of all shifts the nearest to it."""
        return np.asarray(self.warp[:, self.field].mean(axis=1, dtype=np.float64))

    def _find_fullest(self, among: np.ndarray) -> int:
        contrast = self.contrast_frames
        after = contrast[contrast >= self.background.main[-1]]
        if len(after) and self.background.choice != "number":
            contrast = after  # before the background an exposure ramp may look like iodine
        contrast = contrast[among[contrast]] if among[contrast].any() else contrast
        inside = self.bsa[contrast][:, self.field]
        darker = np.minimum(inside - np.median(inside, axis=1, keepdims=True), 0)
        return int(contrast[np.argmin(darker.mean(axis=1))]) + 1

    def summary(self) -> dict[str, Any]:
        """Return the figures of the registration, ready for JSON."""
        frames, rows, columns = self.series.frames.shape
        contrast, unwarped, steps = self.contrast_frames, self.unwarped_frames, self.background.steps
        reach = exposed_range(self.series.frames, self.field, "log" if self.units == LN else "linear")
        residue_dsa, residue_bsa = (against_truth.bright_residue(part[contrast], self.field) for part in (self.dsa, self.bsa))
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
            "largest_shift": against_truth.largest_shift(self.warp),
            "folding": against_truth.folding(self.warp),
            "warnings": [*self.series.warnings, *self.background.warnings],
        }

    def save(
        self, stem: str | os.PathLike[str], kinds: Sequence[str] | None = None, output: OutputOptions = FILES
    ) -> list[Path]:
        """Write the results, all of them or none.

        Args:
            stem: what the files are called before their endings: "out/run" for "out/run_bsa.dcm". A missing folder is made.
            kinds: what is written, of `options.ENDINGS`; None for `output.kinds`.
            output: how it is written.

        Returns:
            the files.

        Raises:
            InputError: a kind that is not known or that the run does not allow, or a folder that cannot be written.
        """
        if kinds is not None:
            output = replace(output, kinds=tuple(kinds))
        if output.anonymize and not self.series.anonymous:
            return replace(self, series=anonymize(self.series)).save(stem, output=output)
        check_run(self.series, output)
        endings = {kind: ENDINGS[kind] for kind in output.kinds}
        with write_together(Path(stem), endings) as paths:
            for kind, path in paths.items():
                self._write(kind, path, output)
        return [Path(f"{os.fspath(stem)}{ending}") for ending in endings.values()]

    def _write(self, kind: str, path: Path, output: OutputOptions) -> None:
        numbers, encoding = self.background.numbers, output.encoding
        if kind == "dicom":
            write_bsa(
                path,
                self.series,
                self.bsa,
                units=self.units,
                model_name=self.model_name,
                model_sha256=self.model_sha256,
                hyper=self.hyper,
                background_numbers=numbers,
                kept=choose_frames(self.series.name, output.keep_frames, len(self.bsa), numbers),
                encoding=encoding,
            )
        elif kind == "dsa":
            write_dsa_run(path, self.series, numbers, steps=self.background.steps, compression=encoding.compress)
        elif kind == "dsa-state":
            write_dsa_state(path, self.series, numbers)
        elif kind == "shift-state":
            write_shift_state(path, self.series, numbers, self.mean_shifts)
        elif kind == "key":
            self._write_key(path, output)
        elif kind == "nifti":
            write_warp(path, self.warp, imager_spacing(self.series.headers[0]) if self.series.headers else None)
        elif kind == "h5":
            self._write_h5(path)
        else:
            side_by_side(self.panels(output.frame), path)

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

    def _write_h5(self, path: Path) -> None:
        arrays = {
            "bsa": self.bsa,
            "moved": self.moved,
            "warp": self.warp,
            "background": np.array(self.background.numbers, np.int64),
        }
        if steps := self.background.steps:
            pairs = [(frame, number) for step in steps for frame in step.frames for number in step.numbers]
            arrays["background_of_frame"] = np.array(sorted(pairs), np.int64)
        attributes = {
            "lambda": self.hyper,
            "model_sha256": self.model_sha256,
            "intensity": self.intensity,
            "relation": self.series.relation,
            "units": self.units,
            "levels": self.levels,
            "rounds": self.rounds,
            "refine": self.refine,
            "version": __version__,
        }
        store.write_arrays(path, arrays, attributes)

    def panels(self, frame: int | None = None) -> tuple[Panel, ...]:
        """Return one frame, its plain DSA and its BSA as panels of a picture.

        Args:
            frame: its number, from 1; None for `fullest_frame`.
        """
        number = self.fullest_frame if frame is None else frame
        index = number - 1
        filled = self.bsa[index] + self.moved[index]
        level = np.median(self.bsa[index][self.field])  # of exposure, which differs from frame to frame
        # Behind a collimator there is nothing to subtract but noise.
        dsa, bsa = (np.where(self.field, part[index] - level, 0) for part in (self.dsa, self.bsa))
        window = subtraction_window(bsa[self.field])
        done = f"registered (λ {self.hyper:.2f})" if self.warp[index].any() else "left unwarped"
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

    def _repr_png_(self) -> bytes:
        """Return the picture of the fullest frame, for notebooks."""
        return encode_png(self.panels())


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
