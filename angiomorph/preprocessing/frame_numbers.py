"""Frame numbers as users name them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from angiomorph.errors import InputError


def named_frames(wanted: str) -> range | None:
    """Return the frame numbers that "N" or "N-M" names, or None for "auto" and "tag".

    Raises:
        InputError: another word, or numbers that do not ascend from 1.
    """
    if wanted in ("auto", "tag"):
        return None
    named = parse_range(wanted)
    if not named:
        raise InputError(f"`background` {wanted}: expected auto, tag, a frame number N or a range N-M, counted from 1")
    return named


def parse_range(wanted: str) -> range:
    """Return the frame numbers, from 1, that "N" or "N-M" names; none where it is another word, or they do not ascend.

    >>> parse_range("2-4"), parse_range("4-2")
    (range(2, 5), range(0, 0))
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", wanted.strip())
    named = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    return named if named and named.start >= 1 else range(0)


def say_frames(numbers: Sequence[int]) -> str:
    """Return ascending frame numbers as "N-M" where they follow each other, else one by one.

    >>> say_frames([2, 3, 4]), say_frames([2, 4]), say_frames([2])
    ('2-4', '2, 4', '2')
    """
    if numbers[-1] - numbers[0] + 1 != len(numbers):
        return ", ".join(map(str, numbers))
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
