"""Which frames of a run are written as its subtracted run: `--keep-frames`."""

from __future__ import annotations

from collections.abc import Sequence

from angiomorph.errors import InputError
from angiomorph.preprocessing.frame_numbers import parse_range

ALL, CONTRAST = "all", "contrast"


def named_range(wanted: str) -> range | None:
    """Return the frame numbers that "N" or "N-M" names, or None for "all" and "contrast".

    Raises:
        InputError: another word, or numbers that do not ascend from 1.
    """
    if wanted in (ALL, CONTRAST):
        return None
    named = parse_range(wanted)
    if not named:
        raise InputError(f"`keep_frames` {wanted}: expected {ALL}, {CONTRAST}, a frame number N or a range N-M, counted from 1")
    return named


def check_frames(name: str, wanted: str, count: int) -> None:
    """Raise where a run does not have the frames that are wanted.

    Args:
        name: the run's name.
        wanted: see `choose_frames`.
        count: T.

    Raises:
        InputError: numbers beyond the run's last.
    """
    named = named_range(wanted)
    if named is not None and named[-1] > count:
        raise InputError(
            f"{name}: `keep_frames` {wanted}: expected frame numbers from 1 to {count}, the run's last; name fewer"
        )


def choose_frames(name: str, wanted: str, count: int, background: Sequence[int]) -> list[int]:
    """Return the numbers of the frames to write, rising.

    Args:
        name: the run's name.
        wanted: "all"; "contrast", the frames behind the last background frame, or all others where none is behind it; "N" or
            "N-M".
        count: T.
        background: frame numbers of the background, rising.

    Raises:
        InputError: frames that the run does not have, or no frame beside the background.
    """
    check_frames(name, wanted, count)
    if named := named_range(wanted):
        return list(named)
    if wanted == ALL:
        return list(range(1, count + 1))
    others = [frame for frame in range(1, count + 1) if frame not in background]
    behind = [frame for frame in others if frame > background[-1]]
    if not others:
        raise InputError(
            f"{name}: `keep_frames` {CONTRAST}: expected a frame beside the background, found none; "
            "name fewer frames with `background`"
        )
    return behind or others
