"""A run that answers the page: frames at once, and warps as soon as the network is there; TensorFlow comes with it."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError, say_failure
from angiomorph.pictures import frame_window, subtraction_window
from angiomorph.preprocessing.background import Background, Step
from angiomorph.preprocessing.intensity import LN, STORED, to_domain
from angiomorph.preprocessing.resizing import average_areas, fitted_shape
from angiomorph.registration.evidence import weigh_warps
from angiomorph.registration.model_defaults import find_model, read_model_defaults
from angiomorph.registration.options import USUAL, RegistrationOptions
from angiomorph.view.shown import Answer, read_number

if TYPE_CHECKING:
    from angiomorph.registration.one_by_one import OneByOne

WARP_SIZE = 512  # longer side at most of a warp as the page gets it, pixels: that of the shipped network's finest level
KEPT_BYTES = 256 * 2**20  # of warps
SAMPLES = 20_000  # pixels by which frames' levels are found
START = "start"  # the background with which the run was opened


class LiveRegistration:
    """A run that is registered as the page asks for it; see `view.Shown`.

    Args:
        series: the run.
        model: model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how the page begins.
        gpu: see `backend.configure_gpu`.

    Raises:
        InputError: a model that is none, or options that it cannot take.
    """

    def __init__(
        self,
        series: Series,
        model: str | None = None,
        options: RegistrationOptions = USUAL,
        gpu: str | None = None,
    ) -> None:
        self._series, self._model, self._gpu = series, model, gpu
        self._defaults = read_model_defaults(model)
        self._how = self._defaults.complete(options)
        self._network = threading.Lock()  # TensorFlow is asked by one thread at a time
        self._run: OneByOne | None = None
        self._warps: OrderedDict[tuple[Any, ...], Answer] = OrderedDict()
        self._evidence: dict[tuple[Any, ...], float] = {}
        self._failure = ""
        self._loader: threading.Thread | None = None

    def start(self) -> None:
        """Load the network, behind what the page does first."""
        self._loader = threading.Thread(target=self._load, daemon=True)
        self._loader.start()

    @property
    def loading(self) -> bool:
        """Whether the network is still being loaded."""
        return self._loader is not None and self._loader.is_alive()

    def answer(self, kind: str, asked: Mapping[str, str]) -> Answer:
        """Answer one question, see `view.Shown`."""
        if kind == "run":
            return Answer(self._describe())
        if kind == "state":
            return Answer({"ready": self._run is not None, "failure": self._failure})
        if kind == "frame":
            frame = self._read_frame(asked)
            return Answer({}, np.ascontiguousarray(self._series.frames[frame - 1], "<u2").tobytes())
        with self._network:
            return self._ask_network(kind, asked)

    def _ask_network(self, kind: str, asked: Mapping[str, str]) -> Answer:
        run = self._loaded()
        if kind == "reference":
            numbers = self._read_numbers(asked.get("background", ""))
            return Answer({}, run.reference(numbers).astype("<f4").tobytes())
        steps = self._split(asked)
        if kind == "background":
            return Answer(self._describe_background(run, steps, asked), run.seen.field.astype(np.uint8).tobytes())
        hyper = self._how.hyper if self._defaults.baked else read_number(asked, "hyper", 0, 1, self._how.hyper)
        refine = self._how.refine if asked.get("refine", "1") == "1" else 0
        if kind == "warp":
            return self._find_warp(run, steps, self._read_frame(asked), hyper, refine)
        if kind == "weights":
            return self._weigh(steps, hyper, refine)
        raise InputError(f"`{kind}`: expected a question that the page has; load the page again")

    def _load(self) -> None:
        with self._network:
            self._loaded_or_failed()

    def _loaded(self) -> OneByOne:
        run = self._loaded_or_failed()
        if run is None:
            raise InputError(self._failure)
        return run

    def _loaded_or_failed(self) -> OneByOne | None:
        if self._run is None and not self._failure:
            try:
                from angiomorph.backend import configure_gpu
                from angiomorph.registration.model import Model
                from angiomorph.registration.one_by_one import OneByOne

                configure_gpu(self._gpu)
                self._run = OneByOne(self._series, Model(self._model), self._how)
            except Exception as error:  # the page says it, and shows the run without subtraction
                self._failure = say_failure("this run", error)
        return self._run

    def _describe(self) -> dict[str, Any]:
        series = self._series
        frames, rows, columns = series.frames.shape
        logarithmic = series.relation == "LIN"
        middle = to_domain(series.frames[frames // 2], "log" if logarithmic else "linear")
        exposed = middle[series.shutter] if series.shutter.any() else middle
        return {
            "key": hashlib.sha256(series.frames[0].tobytes() + series.frames[-1].tobytes()).hexdigest()[:16],
            "frames": frames,
            "rows": rows,
            "columns": columns,
            "times": series.frame_times.tolist(),
            "logarithmic": logarithmic,
            "units": LN if logarithmic else STORED,
            "window": frame_window(exposed),
            "hyper": self._how.hyper,
            "fixed": self._defaults.baked,
            "refine": self._how.refine,
            "guard": self._how.guard,
            "model": find_model(self._model).stem,
            "warnings": list(series.warnings),
        }

    def _describe_background(self, run: OneByOne, steps: tuple[Step, ...], asked: Mapping[str, str]) -> dict[str, Any]:
        started = asked.get("background", START) == START
        chosen = run.background if started else Background(steps[0].numbers, "number")
        levels, window, fullest = _look_at_subtracted(run, steps)
        return {
            "steps": [{"numbers": step.numbers, "frames": step.frames} for step in steps],
            "choice": chosen.choice,
            "iodine_from": run.background.iodine_from,
            "warnings": list(chosen.warnings),
            "levels": levels,
            "window": window,
            "fullest": fullest,
        }

    def _find_warp(self, run: OneByOne, steps: tuple[Step, ...], frame: int, hyper: float, refine: int) -> Answer:
        numbers = next(step.numbers for step in steps if frame in step.frames)
        key = (numbers, hyper, refine, frame)
        if key not in self._warps:
            found = run.register(frame, numbers, hyper, refine)
            self._evidence[key] = found.evidence
            small = shrink_warp(found.warp, WARP_SIZE)
            info = {"rows": small.shape[0], "columns": small.shape[1], "evidence": found.evidence, "window": found.window}
            self._warps[key] = Answer(info, small.astype("<f2").tobytes())
        self._warps.move_to_end(key)
        while len(self._warps) > max(1, KEPT_BYTES // len(self._warps[key].data)):
            self._warps.popitem(last=False)
        return self._warps[key]

    def _weigh(self, steps: tuple[Step, ...], hyper: float, refine: int) -> Answer:
        keys = {frame: (step.numbers, hyper, refine, frame) for step in steps for frame in step.frames}
        missing = [frame for frame, key in keys.items() if key not in self._evidence]
        if missing:
            return Answer({"weights": None, "missing": len(missing)})
        weights = np.ones(len(keys))
        for step in steps:
            weights[np.array(step.frames) - 1] = weigh_warps(np.array([self._evidence[keys[frame]] for frame in step.frames]))
        return Answer({"weights": weights.tolist(), "missing": 0})

    def _split(self, asked: Mapping[str, str]) -> tuple[Step, ...]:
        """Return which frames have which background, of "start" or of frame numbers that serve the whole run."""
        wanted, count = asked.get("background", START), len(self._series.frames)
        if wanted == START:
            return self._loaded().background.split(count)
        return (Step(self._read_numbers(wanted), tuple(range(1, count + 1))),)

    def _read_numbers(self, wanted: str) -> tuple[int, ...]:
        count = len(self._series.frames)
        numbers = tuple(map(int, wanted.split(","))) if re.fullmatch(r"\d{1,6}(,\d{1,6})*", wanted) else ()
        if not numbers or min(numbers) < 1 or max(numbers) > count:
            raise InputError(f"`background` {wanted}: expected frame numbers from 1 to {count}; load the page again")
        return numbers

    def _read_frame(self, asked: Mapping[str, str]) -> int:
        return int(read_number(asked, "frame", 1, len(self._series.frames)))


def shrink_warp(warp: np.ndarray, size: int) -> np.ndarray:
    """Return a warp of which the longer side is at most `size`, each the mean over its area; displacements stay the same.

    Args:
        warp: `(H, W, 2)` float32, pixels.
        size: pixels.

    Returns:
        `(h, w, 2)` float32, pixels of the frame before.
    """
    shape = fitted_shape(warp.shape[:2], size)
    if shape == warp.shape[:2]:
        return warp
    return np.moveaxis(average_areas(np.ascontiguousarray(np.moveaxis(warp, -1, 0)), shape), 0, -1)


def _look_at_subtracted(run: OneByOne, steps: tuple[Step, ...]) -> tuple[list[float], tuple[float, float], int]:
    """Return of plain DSA each frame's level, a grey window about it, and the number of the frame of most iodine."""
    inside = np.flatnonzero(run.seen.field)
    inside = inside[:: max(1, len(inside) // SAMPLES)]
    values = run.values(run.series.frames.reshape(len(run.series.frames), -1)[:, inside])
    levels, darkness = np.zeros(len(values)), np.zeros(len(values))
    subtracted = np.empty_like(values)
    for step in steps:
        own = np.array(step.frames) - 1
        subtracted[own] = values[own] - run.reference(step.numbers).ravel()[inside]
        levels[own] = np.median(subtracted[own], axis=1)
        later = own[own >= step.numbers[-1]]
        darkness[later] = np.minimum(subtracted[later] - levels[later, None], 0).mean(1)
    fullest = int(np.argmin(darkness))
    return levels.tolist(), subtraction_window(subtracted[fullest] - levels[fullest]), fullest + 1
