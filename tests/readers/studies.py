"""Small studies: results of nobody, and readers whose preference is known."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from angiomorph.readers.answers import COLUMNS, QUESTIONS
from angiomorph.readers.key import Key
from angiomorph.storage.store import write_arrays

BACKGROUND = [1, 2]


def write_result(path: Path, *, blur: float = 1.0, seed: int = 0, shape: tuple[int, int, int] = (5, 40, 48)) -> np.ndarray:
    """Write a `_bsa.h5` whose moved background is blurred by `blur`, and return the frames `(T, H, W)` that it is of."""
    random = np.random.default_rng(seed)
    tissue = ndimage.gaussian_filter(random.normal(size=shape[1:]), 2)
    frames = np.stack([np.roll(tissue, number // 2, 1) for number in range(shape[0])]).astype(np.float32)
    frames[2:, :, shape[2] // 2] -= 0.5
    moved = np.stack([ndimage.gaussian_filter(frame, blur) for frame in frames])
    arrays = {"bsa": frames - moved, "moved": moved, "warp": np.zeros((*shape, 2), np.float32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, arrays | {"background": np.array(BACKGROUND)}, {"units": "ln(intensity)", "lambda": blur})
    return frames


def make_key(methods: Sequence[str], cases: int, seed: int = 0) -> Key:
    """Return the key of a study without pages."""
    random = np.random.default_rng(seed)
    codes = [f"case-{number:03d}" for number in range(1, cases + 1)]
    panels = {code: dict(zip("ABCDEF", random.permutation(methods).tolist(), strict=False)) for code in codes}
    return Key("0a1b2c3d", seed, tuple(methods), {code: f"run {code}" for code in codes}, panels, "0")


def answer_rows(key: Key, reader: str, liking: Mapping[str, float], random: np.random.Generator) -> list[list[object]]:
    """Return the lines of a reader's CSV file, to whom a method looks as good as its liking and a draw of N(0, 1) make it."""
    rows: list[list[object]] = []
    for code, panels in key.panels.items():
        looks = {letter: liking[method] + random.normal() for letter, method in panels.items()}
        best_first = sorted(looks, key=lambda letter: -looks[letter])
        for letter in panels:
            points = [int(np.clip(round(3 + looks[letter] / 2 + random.normal() / 4), 1, 5)) for _ in QUESTIONS]
            rows.append([key.study, reader, code, letter, best_first.index(letter) + 1, *points, 30.5])
    return rows


def write_answers(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Write rows as a page does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path
