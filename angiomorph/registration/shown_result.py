"""A registered run that answers the page from its arrays: at its own λ and background, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Background, Step
from angiomorph.registration.page_answers import answer_background, answer_frame, answer_warp, describe_run
from angiomorph.view.shown import Answer, read_number


@dataclass(frozen=True, eq=False)
class ShownResult:
    """A registered run as the page shows it; see `Registration` for its parts, and `shown.Shown`."""

    series: Series
    bsa: np.ndarray
    dsa: np.ndarray
    moved: np.ndarray
    warp: np.ndarray
    background: Background
    hyper: float
    field: np.ndarray
    weights: np.ndarray
    model_name: str

    def answer(self, kind: str, asked: Mapping[str, str]) -> Answer:
        """Answer one question, see `shown.Shown`."""
        series = self.series
        if kind == "run":
            own = {"hyper": self.hyper, "fixed": True, "remask": False, "scaled": True, "refine": 0, "guard": True}
            return Answer({**describe_run(series), **own, "model": self.model_name, "saves": []})
        if kind == "state":
            return Answer({"ready": True, "failure": ""})
        if kind == "weights":
            return Answer({"weights": self.weights.tolist(), "missing": []})
        if kind == "background":
            return answer_background(series, self.field, self.background, self._steps, self._reference)
        if kind == "reference":
            return Answer({}, self._reference(self._read_numbers(asked)).astype("<f4").tobytes())
        frame = int(read_number(asked, "frame", 1, len(series.frames)))
        if kind == "frame":
            return answer_frame(series, frame)
        if kind == "warp":
            return answer_warp(self.warp[frame - 1])
        raise InputError(f"`{kind}`: expected a question that a registered run answers; register it anew for others")

    @property
    def _steps(self) -> tuple[Step, ...]:
        return self.background.split(len(self.bsa))

    def _reference(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the background of a step: any of its frames minus its plain DSA."""
        frame = next(step.frames[0] for step in self._steps if step.numbers == numbers) - 1
        return self.bsa[frame] + self.moved[frame] - self.dsa[frame]

    def _read_numbers(self, asked: Mapping[str, str]) -> tuple[int, ...]:
        known = {",".join(map(str, step.numbers)): step.numbers for step in self._steps}
        wanted = asked.get("background", "")
        if wanted not in known:
            raise InputError(f"`background` {wanted}: expected {' or '.join(known)}, with which the run was registered")
        return known[wanted]
