"""A run that answers the page: frames at once, and warps as soon as the network is there; TensorFlow comes with it."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError, say_failure
from angiomorph.preprocessing.background import Step
from angiomorph.registration.evidence import weigh_warps
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import BY_TENSORFLOW, ENDINGS, USUAL, EngineOptions, RegistrationOptions
from angiomorph.registration.page_answers import answer_background, answer_frame, answer_warp, describe_run
from angiomorph.view.shown import Answer, read_number

if TYPE_CHECKING:
    from angiomorph.registration.model import Model
    from angiomorph.registration.one_by_one import OneByOne

KEPT_BYTES = 256 * 2**20  # of warps
START = "start"  # the background with which the run was opened
LARGEST = 2.0**16  # of subtracted values
SAVED = ("dicom", "h5", "mp4", "gif", "html")  # kinds of files that the page offers, as far as there are
OF_HEADERS = ("dicom",)  # of which a run without headers has none


class LiveRegistration:
    """A run that is registered as the page asks for it; see `shown.Shown`.

    Args:
        series: the run.
        model: model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how the page begins.
        gpu: see `backend.configure_gpu`.
        engine: engine that computes the network.
        loaded: a model that is in memory already, instead of `model`.

    Raises:
        InputError: a model that is none, or options that it cannot take.
    """

    def __init__(
        self,
        series: Series,
        model: str | None = None,
        options: RegistrationOptions = USUAL,
        gpu: str | None = None,
        engine: EngineOptions = BY_TENSORFLOW,
        loaded: Model | None = None,
    ) -> None:
        self._series, self._model, self._loaded_model = series, model, loaded
        self._gpu, self._engine = gpu, engine
        self._defaults = read_model_defaults(model) if loaded is None else loaded.defaults
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
        """Answer one question, see `shown.Shown`."""
        if kind == "run":
            return Answer(self._describe())
        if kind == "state":
            return Answer({"ready": self._run is not None, "failure": self._failure})
        if kind == "frame":
            return answer_frame(self._series, self._read_frame(asked))
        with self._network:
            return self._ask_network(kind, asked)

    def _ask_network(self, kind: str, asked: Mapping[str, str]) -> Answer:
        run = self._require_run()
        if kind == "reference":
            numbers = self._read_numbers(asked.get("background", ""))
            return Answer({}, run.reference(numbers).astype("<f4").tobytes())
        steps = self._split(asked)
        if kind == "background":
            started = asked.get("background", START) == START
            chosen = run.background if started else replace(run.background, numbers=steps[0].numbers, choice="number", steps=())
            return answer_background(self._series, run.seen.field, chosen, steps, run.reference)
        hyper = self._how.hyper if self._defaults.baked else read_number(asked, "hyper", 0, 1, self._how.hyper)
        refine = self._how.refine if asked.get("refine", "1") == "1" else 0
        if kind == "warp":
            return self._find_warp(run, steps, self._read_frame(asked), hyper, refine, judge=asked.get("judge", "1") == "1")
        if kind == "weights":
            return self._weigh(steps, hyper, refine)
        if kind == "save":
            return self._save(run, asked, hyper, refine)
        raise InputError(f"`{kind}`: expected a question that the page has; load the page again")

    def _load(self) -> None:
        with self._network:
            self._try_to_load()

    def _require_run(self) -> OneByOne:
        run = self._try_to_load()
        if run is None:
            raise InputError(self._failure)
        return run

    def _try_to_load(self) -> OneByOne | None:
        if self._run is None and not self._failure:
            try:
                from angiomorph.registration.engines import configure_engine
                from angiomorph.registration.model import Model
                from angiomorph.registration.one_by_one import OneByOne

                if self._loaded_model is None:
                    configure_engine(self._engine, self._gpu)
                    self._loaded_model = Model(self._model, self._engine)
                self._run = OneByOne(self._series, self._loaded_model, self._how)
            except Exception as error:  # the page says it, and shows the run without subtraction
                self._failure = say_failure("this run", error)
        return self._run

    def _describe(self) -> dict[str, Any]:
        saves = [kind for kind in SAVED if kind in ENDINGS and (self._series.headers or kind not in OF_HEADERS)]
        return {
            **describe_run(self._series),
            "hyper": self._how.hyper,
            "fixed": self._defaults.baked,
            "remask": True,
            "scaled": False,
            "refine": self._how.refine,
            "guard": self._how.guard,
            "model": self._defaults.path.stem,
            "saves": saves,
        }

    def _find_warp(
        self, run: OneByOne, steps: tuple[Step, ...], frame: int, hyper: float, refine: int, *, judge: bool
    ) -> Answer:
        numbers = next(step.numbers for step in steps if frame in step.frames)
        key = (numbers, hyper, refine, frame)
        if key not in self._warps or (judge and key not in self._evidence):
            found = run.register(frame, numbers, hyper, refine, judge=judge)
            if found.evidence is not None:
                self._evidence[key] = found.evidence
            self._warps[key] = answer_warp(found.warp)
        self._warps.move_to_end(key)
        while len(self._warps) > max(1, KEPT_BYTES // len(self._warps[key].data)):
            self._warps.popitem(last=False)
        return self._warps[key]

    def _weigh(self, steps: tuple[Step, ...], hyper: float, refine: int) -> Answer:
        keys = {frame: (step.numbers, hyper, refine, frame) for step in steps for frame in step.frames}
        missing = [frame for frame, key in keys.items() if key not in self._evidence]
        if missing:
            return Answer({"weights": None, "missing": missing})
        weights = np.ones(len(keys))
        for step in steps:
            weights[np.array(step.frames) - 1] = weigh_warps(np.array([self._evidence[keys[frame]] for frame in step.frames]))
        return Answer({"weights": weights.tolist(), "missing": []})

    def _save(self, run: OneByOne, asked: Mapping[str, str], hyper: float, refine: int) -> Answer:
        kind, wanted = asked.get("file", ""), asked.get("background", START)
        if kind not in self._describe()["saves"]:
            raise InputError(f"`file` {kind}: expected one of {', '.join(self._describe()['saves'])}, as this run can be saved")
        background = self._how.background if wanted == START else str(self._read_numbers(wanted)[0])
        black, white = (read_number(asked, name, -LARGEST, LARGEST, 0) for name in ("black", "white"))
        window = None if black == white else (black, white)
        saved = run.save(kind, background, hyper, refine, guard=asked.get("guard", "1") == "1", window=window)
        return Answer({"name": f"angiomorph{ENDINGS[kind]}"}, saved)

    def _split(self, asked: Mapping[str, str]) -> tuple[Step, ...]:
        """Return which frames have which background, of "start" or of frame numbers that serve the whole run."""
        wanted, count = asked.get("background", START), len(self._series.frames)
        if wanted == START:
            return self._require_run().background.split(count)
        return (Step(self._read_numbers(wanted), tuple(range(1, count + 1))),)

    def _read_numbers(self, wanted: str) -> tuple[int, ...]:
        count = len(self._series.frames)
        numbers = tuple(map(int, wanted.split(","))) if re.fullmatch(r"\d{1,6}(,\d{1,6})*", wanted) else ()
        if not numbers or min(numbers) < 1 or max(numbers) > count:
            raise InputError(f"`background` {wanted}: expected frame numbers from 1 to {count}; load the page again")
        return numbers

    def _read_frame(self, asked: Mapping[str, str]) -> int:
        return int(read_number(asked, "frame", 1, len(self._series.frames)))
