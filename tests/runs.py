"""Small runs and a small network that several test modules register: no skill, but every part of the real thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from scipy import ndimage

from angiomorph.dicom import Series
from angiomorph.storage import store

TINY = {"nb_unet_features": [[4, 4], [4, 4]], "hyp_units": [4, 8]}
SIZE = 64
PASSED_OVER = ("DA", "DT", "TM", "SQ")  # times; and sequences, whose elements come one by one


def moving_frames(shape: tuple[int, int, int] = (4, 16, 12), bits: int = 12, seed: int = 0) -> np.ndarray:
    """Return `(T, H, W)` stored values in the upper half of the range, so that ln is harmless."""
    rng = np.random.default_rng(seed)
    return rng.integers(1 << (bits - 1), 1 << bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


def phantom(shape: tuple[int, int, int] = (5, 64, 64), *, filled: int = 2, bits: int = 12, seed: int = 0) -> np.ndarray:
    """Return `(T, H, W)` stored values: textured tissue that sways by a pixel and, from frame index `filled`, a dark vessel."""
    frames, rows, columns = shape
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(rows, columns)), 2.5)
    tissue = 0.6 + 0.15 * texture / texture.std()
    vessel = np.zeros((rows, columns))
    vessel[:, columns // 2 : columns // 2 + 3] = 0.5
    run = [ndimage.shift(tissue, (np.sin(t), np.cos(t)), mode="nearest", order=1) for t in range(frames)]
    for t in range(filled, frames):
        run[t] = run[t] * np.exp(-vessel)
    stored = np.clip(np.rint(np.stack(run) * (1 << bits)), 1, (1 << bits) - 1)
    return stored.astype(np.uint8 if bits == 8 else np.uint16)


def series(frames: np.ndarray, relation: str = "LIN", **changed: Any) -> Series:
    """Return a run as `read_series` would, without headers."""
    given: dict[str, Any] = {
        "frames": frames,
        "relation": relation,
        "bits_stored": 8 if frames.dtype == np.uint8 else 12,
        "frame_times": np.arange(len(frames)) * 100.0,
        "background_numbers": (),
        "name": "run",
        "shutter": np.ones(frames.shape[1:], bool),
        "headers": (),
    }
    return Series(**(given | changed))


def read_result(path: Path) -> Any:
    """Return all that a result or a truth file holds, to the last bit, but for when it was written and where HDF5 put it."""
    if path.suffix == ".h5":
        arrays, attributes = store.read_arrays(path)
        return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()}, str(attributes)
    if path.suffix != ".dcm":
        return path.read_bytes()
    kept = (element for element in pydicom.dcmread(path).iterall() if element.VR not in PASSED_OVER)
    return [f"{element.tag} {element.value}" for element in kept]


def save_tiny_model(path: Path, flow_sigma: float = 2.0, **metadata: Any) -> Path:
    """Write an AngioMorph of a few hundred parameters whose warps are a few pixels and differ from place to place."""
    from angiomorph import networks
    from angiomorph.backend import tf

    tf.keras.utils.set_random_seed(4)
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    networks.initialise(network, flow_sigma=flow_sigma)
    network.metadata.update({"size": SIZE, "intensity": "auto", "lambda": 0.6} | metadata)
    networks.save(network, path)
    return path
