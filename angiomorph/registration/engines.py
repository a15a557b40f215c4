"""Models loaded by what computes them; TensorFlow is imported only where it does."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from angiomorph.errors import InputError
from angiomorph.registration.model_defaults import SHIPPED
from angiomorph.registration.options import OPENVINO, EngineOptions
from angiomorph.registration.pyramid import Predictor


def check_engine(how: EngineOptions, gpu: str | None = None) -> None:
    """Raise where a network cannot be computed as is wanted; nothing is imported.

    Args:
        how: engine that computes it, and its options.
        gpu: see `backend.configure_gpu`.

    Raises:
        InputError: OpenVINO is wanted and not installed, or is to use a GPU.
    """
    if how.engine != OPENVINO:
        return
    if importlib.util.find_spec(OPENVINO) is None:
        raise InputError(
            "`engine` openvino: expected the package openvino, found it missing; pip install 'angiomorph[openvino]'"
        )
    if gpu not in (None, "-1"):
        raise InputError(f"`gpu` {gpu}: expected none with engine openvino, which computes on the CPU; leave one of them out")


def configure_engine(how: EngineOptions, gpu: str | None = None) -> None:
    """Choose what computes networks in this process, before any does.

    Args:
        how: engine that computes them, and its options.
        gpu: see `backend.configure_gpu`.

    Raises:
        InputError: as `check_engine` and `backend.configure_gpu`.
    """
    check_engine(how, gpu)
    if how.engine != OPENVINO:
        from angiomorph.backend import configure_gpu

        configure_gpu(gpu)


def load_predictor(path: Path, how: EngineOptions) -> Predictor:
    """Return what finds the warps of a model.

    Args:
        path: model `.h5`.
        how: engine that computes it, and its options.

    Raises:
        InputError: the model cannot be rebuilt or computed so, or what computes it is not there.
    """
    if path == SHIPPED:
        return load_shipped(how)
    return _load(path, how)


@lru_cache(maxsize=2)
def load_shipped(how: EngineOptions) -> Predictor:
    """Return what finds the warps of the shipped default model, loaded once; see `load_predictor`."""
    return _load(SHIPPED, how)


def find_searcher(how: EngineOptions) -> Predictor:
    """Return what finds iodine: the shipped model in full precision, so that all models see the same background."""
    return load_shipped(replace(how, mixed_precision=False))


def _load(path: Path, how: EngineOptions) -> Predictor:
    check_engine(how)
    if how.engine == OPENVINO:
        from angiomorph.inference.engine import OpenVinoEngine

        return Predictor(OpenVinoEngine(path, mixed_precision=how.mixed_precision), how)
    from angiomorph.networks.baked import load_any
    from angiomorph.networks.model import mix_precision
    from angiomorph.networks.precision import choose_type
    from angiomorph.registration.tensorflow_engine import TensorFlowEngine

    try:
        network = load_any(path)
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected a whole model (.h5), but it cannot be rebuilt: {reason}; copy or train it again"
        ) from error
    if how.mixed_precision:
        mix_precision(network, choose_type())
    return Predictor(TensorFlowEngine(network), how)
