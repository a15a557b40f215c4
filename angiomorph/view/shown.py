"""What the page asks, and what answers it: numbers and arrays of a run, in memory or over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from angiomorph.errors import InputError

LIGHT = ("run", "state", "frame")  # answered at once
HEAVY = ("background", "reference", "warp", "weights")  # answered one after another: each may need the network
SAVE = "save"  # as these, but asked by POST


@dataclass(frozen=True)
class Answer:
    """What the page is told.

    Args:
        info: ready for JSON.
        data: bytes of an array, little endian, rows first; empty where there is none.
    """

    info: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""


class Shown(Protocol):
    """A run that the page can show."""

    def answer(self, kind: str, asked: Mapping[str, str]) -> Answer:
        """Answer one question of the page; may take as long as the network, and may be called from several threads.

        Args:
            kind: one of `LIGHT`, `HEAVY` and `SAVE`:

                * run: shape, times, units, and what the sliders begin with;
                * state: whether the network is there;
                * frame: stored values, `(H, W)` uint16;
                * background: which frames have which background, the level of each frame above its own, and the exposed
                  field, `(H, W)` uint8;
                * reference: one background, `(H, W)` float32, in the unit of the subtraction;
                * warp: of one frame, `(h, w, 2)` float16, pixels of the whole frame, ij order;
                * weights: of all warps of one λ, by the guard; none, and frames that are missing, before all are judged;
                * save: a file of the whole run, and what it is called.
            asked: by name: `frame`, from 1; `background`, "start" or frame numbers; `hyper`, λ; `refine`, 0 or 1;
                `judge`, 0 where the guard may wait; to save also `file`, the kind of it, and `guard`, 0 or 1.

        Raises:
            InputError: a question that has no answer.
        """


def read_number(asked: Mapping[str, str], name: str, low: float, high: float, default: float | None = None) -> float:
    """Return a number that the page asks with.

    Raises:
        InputError: none, or not within its range.
    """
    try:
        value = float(asked[name]) if name in asked or default is None else default
    except (KeyError, ValueError):
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"`{name}` {asked.get(name, '')}: expected a number from {low:g} to {high:g}; load the page again")
    return value
