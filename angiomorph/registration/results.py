"""A written result, `_bsa.h5`, back as the run that it was made of and the options that made it."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.intensity import LN
from angiomorph.registration.model_defaults import find_model
from angiomorph.registration.options import ENDINGS, RegistrationOptions
from angiomorph.storage import store
from angiomorph.storage.digest import sha256

NEEDED = {"bsa", "moved", "background"}
LARGEST = 2**16 - 1


def find_result(source: str | os.PathLike[str]) -> Path | None:
    """Return the result that a path names: itself, or the one beside a subtracted run; None where there is none.

    Args:
        source: what a user gives.
    """
    path = Path(source)
    subtracted = path.name.endswith(ENDINGS["dicom"])
    beside = path.with_name(path.name.removesuffix(ENDINGS["dicom"]) + ENDINGS["h5"]) if subtracted else path
    return next((each for each in (path, beside) if store.is_hdf5(each)), None)


def read_result(
    path: str | os.PathLike[str], model: str | None, options: RegistrationOptions
) -> tuple[Series, RegistrationOptions]:
    """Return the run that a result was made of, and how it was registered.

        frame = bsa + moved, or exp(bsa + moved) of a run that was subtracted in ln; what was 0 is 1 there

    Args:
        path: `_bsa.h5`, as `register --save h5 --save-moved` writes it.
        model: that will register it, see `model_defaults.find_model`; another one than the result's is warned of.
        options: of the user, which go before the result's own.

    Raises:
        InputError: the file is no result, or not of whole stored values.
    """
    arrays, attributes = store.read_arrays(path)
    if missing := sorted(NEEDED - arrays.keys()):
        raise InputError(
            f"{path}: expected a result of `register --save h5 --save-moved`, found no {missing[0]} in it; give the run that "
            "it was made of, or register it again with --save-moved"
        )
    values = arrays["bsa"].astype(np.float64) + arrays["moved"]
    stored = np.rint(np.exp(values) if attributes["units"] == LN else values)
    if not (np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= LARGEST):
        raise InputError(f"{path}: expected frames of whole numbers from 0 to {LARGEST}, found others; give the run itself")
    numbers = tuple(int(number) for number in arrays["background"])
    series = Series(
        frames=stored.astype(np.uint16),
        relation=str(attributes["relation"]),
        bits_stored=max(1, int(stored.max()).bit_length()),
        frame_times=np.zeros(len(stored)),
        background_numbers=numbers,
        name=Path(path).name.removesuffix(ENDINGS["h5"]),
        shutter=np.ones(stored.shape[1:], bool),
        headers=(),
        warnings=_warn_of_model(str(attributes["model_sha256"]), model),
        steps=_read_steps(arrays.get("background_of_frame")),
    )
    return series, replace(
        options,
        background="tag" if options.background == "auto" else options.background,
        hyper=float(attributes["lambda"]) if options.hyper is None else options.hyper,
        intensity=options.intensity or str(attributes["intensity"]),
    )


def _read_steps(pairs: np.ndarray | None) -> tuple[Step, ...]:
    """Return which frames have which background, of pairs (frame, background frame)."""
    if pairs is None:
        return ()
    of_frame = defaultdict(list)
    for frame, number in pairs.tolist():
        of_frame[frame].append(number)
    frames = defaultdict(list)
    for frame in sorted(of_frame):
        frames[tuple(sorted(of_frame[frame]))].append(frame)
    return tuple(Step(numbers, tuple(each)) for numbers, each in frames.items())


def _warn_of_model(registered_by: str, model: str | None) -> tuple[str, ...]:
    path = find_model(model)
    if sha256(path) == registered_by:
        return ()
    return (f"registered by another model than {path.name}: warps here are this model's; name the other with --model",)
