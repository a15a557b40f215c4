"""A written result, `_bsa.h5`, back as the run that it was made of and the options that made it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN
from angiomorph.preprocessing.recovery import Recovery
from angiomorph.registration.model_defaults import find_model
from angiomorph.registration.options import ENDINGS, RegistrationOptions
from angiomorph.storage import store
from angiomorph.storage.digest import sha256

TIMES, SHUTTER = "frame_times", "shutter"
ATTRIBUTES = ("units", "relation", "lambda", "intensity", "model_sha256")  # needed; bits_stored has come with version 3
LARGEST = 2**16 - 1
THREADS = 4  # that recover frames: each takes some 40 bytes a pixel


def find_result(source: str | os.PathLike[str]) -> Path | None:
    """Return the result that a path names: itself, or the one beside a subtracted run; None where there is none.

    Args:
        source: path that a user gives.
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

    `moved` is the result's own, or its background moved by its warp.

    Args:
        path: `_bsa.h5`, as `register --save h5` writes it.
        model: model that will register it, see `model_defaults.find_model`; a warning says if it is not the result's.
        options: the user's options, which go before the result's own.

    Raises:
        InputError: the file is no result, or not of whole stored values.
    """
    with store.open_arrays(path) as (arrays, attributes):
        if missing := [name for name in ATTRIBUTES if name not in attributes]:
            raise InputError(
                f"{path}: expected a result of `register --save h5`, found no {missing[0]} in it; give the run itself"
            )
        recovery = Recovery(arrays, os.fspath(path))
        frames = np.empty(recovery.shape, np.uint16)

        def take(index: int) -> None:
            frames[index] = _round_values(path, recovery.values(index), str(attributes["units"]))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(take, range(len(frames))))
        times = np.asarray(arrays.get(TIMES, np.zeros(len(frames))), np.float64)
        shutter = np.asarray(arrays.get(SHUTTER, np.ones(frames.shape[1:], bool)), bool)
        if (times.shape, shutter.shape) != (frames.shape[:1], frames.shape[1:]):
            raise InputError(f"{path}: expected {TIMES} and {SHUTTER} that fit bsa, found others; register the run again")
    series = Series(
        frames=frames,
        relation=str(attributes["relation"]),
        bits_stored=int(attributes.get("bits_stored", max(1, int(frames.max()).bit_length()))),
        frame_times=times,
        background_numbers=recovery.numbers,
        name=Path(path).name.removesuffix(ENDINGS["h5"]),
        shutter=shutter,
        headers=(),
        warnings=_warn_of_model(str(attributes["model_sha256"]), model),
        steps=recovery.steps,
    )
    return series, replace(
        options,
        background="tag" if options.background == "auto" else options.background,
        hyper=float(attributes["lambda"]) if options.hyper is None else options.hyper,
        intensity=options.intensity or str(attributes["intensity"]),
    )


def _round_values(path: str | os.PathLike[str], values: np.ndarray, units: str) -> np.ndarray:
    """Return the stored values of a frame."""
    stored = np.rint(np.exp(values) if units == LN else values)
    if not (np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= LARGEST):
        raise InputError(f"{path}: expected frames of whole numbers from 0 to {LARGEST}, found others; give the run itself")
    return stored.astype(np.uint16)


def _warn_of_model(registered_by: str, model: str | None) -> tuple[str, ...]:
    path = find_model(model)
    if sha256(path) == registered_by:
        return ()
    return (f"registered by another model than {path.name}: warps here are this model's; name the other with `model`",)
