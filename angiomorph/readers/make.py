"""A study's pages: one a case, its methods side by side without names, in an order that the key alone tells."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from angiomorph import __version__
from angiomorph.errors import InputError
from angiomorph.readers.key import Key, write_key
from angiomorph.readers.options import PLAIN, StudyOptions
from angiomorph.readers.panels import encode_panels, read_case, read_rate
from angiomorph.readers.score import ANSWERS
from angiomorph.storage.atomic import make_folder

PAGES = "pages"  # all that readers get
ENDING = "_bsa.h5"
LEAST, MOST = 2, 6  # panels
TEMPLATE = Path(__file__).with_name("page.html")
USUAL = StudyOptions()


def make_study(
    methods: Mapping[str, Path],
    out: Path,
    options: StudyOptions = USUAL,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Key:
    """Write the pages of a study, its key and a folder for the answers, whole or not at all.

    Args:
        methods: by name, the folder of results of `register`; runs of one name in all of them form a case.
        out: the study's folder, which must not be there yet.
        options: of the study.
        progress: called with (done, total) cases.

    Returns:
        the key.

    Raises:
        InputError: fewer than two or more than six panels, no run that all folders have, or results that do not fit.
    """
    names = (*methods, *([PLAIN] if options.plain else []))
    if len(set(names)) != len(names) or not LEAST <= len(names) <= MOST:
        raise InputError(
            f"`methods` {', '.join(names)}: expected {LEAST} to {MOST} different names, found {len(names)}; "
            "give each folder a name of its own, as in NAME=FOLDER"
        )
    runs = find_cases(methods)
    key = draw_key(names, runs, secrets.randbelow(2**32) if options.seed is None else options.seed)
    with make_folder(out) as partial:
        (partial / ANSWERS).mkdir()
        (partial / PAGES).mkdir()
        for number, (code, run) in enumerate(key.cases.items(), start=1):
            paths = [folder / f"{run}{ENDING}" for folder in methods.values()]
            frames = encode_panels(*read_case(paths, options), len(methods), run)
            rate = read_rate(paths[0], options.frames) if options.rate is None else options.rate
            text = make_page(key, number, dict(zip(names, frames, strict=True)), rate)
            (partial / PAGES / f"{code}.html").write_text(text, encoding="utf-8")
            progress(number, len(key.cases))
        write_key(key, partial)
    return key


def draw_key(methods: Sequence[str], runs: Sequence[str], seed: int) -> Key:
    """Return the key of a new study: its cases, and the methods in each, in random order.

    Args:
        methods: their names.
        runs: their names.
        seed: of the order; the study's own name is new each time.
    """
    random = np.random.default_rng(seed)
    order = [runs[index] for index in random.permutation(len(runs))]
    cases = {f"case-{number:03d}": run for number, run in enumerate(order, start=1)}
    drawn = {code: [methods[index] for index in random.permutation(len(methods))] for code in cases}
    panels = {code: dict(zip(ascii_uppercase, hidden, strict=False)) for code, hidden in drawn.items()}
    return Key(secrets.token_hex(4), seed, tuple(methods), cases, panels, __version__)


def find_cases(methods: Mapping[str, Path]) -> list[str]:
    """Return the names of the runs of which every method has a result.

    Args:
        methods: by name, a folder.

    Raises:
        InputError: a folder is absent, or there is no such run; a run that some methods lack.
    """
    found: dict[str, set[str]] = {}
    for name, folder in methods.items():
        if not folder.is_dir():
            raise InputError(f"{folder}: expected the folder of results of {name!r}, found none; check its name")
        found[name] = {str(path.relative_to(folder))[: -len(ENDING)] for path in folder.rglob(f"*{ENDING}")}
    every = set.union(*found.values())
    for name, runs in found.items():
        if lacking := sorted(every - runs):
            raise InputError(
                f"{methods[name]}: expected {lacking[0]}{ENDING}, which another method has, found none; "
                f"register that run with {name!r} too, or take it out of the others ({len(lacking)} such runs)"
            )
    if not every:
        raise InputError(
            f"{next(iter(methods.values()))}: expected results *{ENDING}, found none; make them with `register --save h5`"
        )
    return sorted(every)


def make_page(key: Key, number: int, frames: Mapping[str, Sequence[bytes]], rate: float) -> str:
    """Return the page of a case, which needs no other file and names neither run nor method.

    Args:
        key: of the study.
        number: of the case, from 1.
        frames: by method, JPEG of each frame.
        rate: frames a second at first.
    """
    codes = list(key.cases)
    code = codes[number - 1]
    panels = {
        letter: [base64.b64encode(frame).decode() for frame in frames[method]] for letter, method in key.panels[code].items()
    }
    data = {
        "study": key.study,
        "case": code,
        "number": number,
        "count": len(codes),
        "next": f"{codes[number]}.html" if number < len(codes) else None,
        "frames": len(next(iter(panels.values()))),
        "rate": rate,
        "panels": panels,
    }
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", json.dumps(data))
