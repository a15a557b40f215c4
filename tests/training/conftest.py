"""Training stores whose frames tell run and frame, stores to learn from, and simulated runs."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from angiomorph.storage import store
from tests.benchmarks.made import make_run


@pytest.fixture
def archive(tmp_path) -> Path:
    """Three runs whose frames are constant and tell run and frame: 1000 * (run + 1) + frame."""
    path = tmp_path / "archive.h5"
    with store.create(path) as file:
        for run in range(3):
            values = 1000 * (run + 1) + np.arange(6)
            frames = np.broadcast_to(values[:, None, None], (6, 16, 12)).astype(np.uint16)
            store.append(file, f"run-{run}", store.StoredRun(frames, "DISP", 12))
    return path


@pytest.fixture
def checked(tmp_path, archive) -> Path:
    """The same runs, each frame with a checksum."""
    path = tmp_path / "checked.h5"
    with h5py.File(archive) as source, store.create(path) as file:
        for key, group in source.items():
            copy = file.create_group(key)
            copy.create_dataset("frames", data=group["frames"][()], chunks=(1, 16, 12), fletcher32=True)
            copy.attrs.update(group.attrs)
    return path


@pytest.fixture
def simulated(tmp_path) -> Path:
    """Two runs of random frames, the clean ones a fixed factor below the others."""
    path = tmp_path / "simulated.h5"
    rng = np.random.default_rng(0)
    with store.create(path) as file:
        for run in range(2):
            frames = rng.integers(1000, 4000, (5, 16, 16)).astype(np.uint16)
            store.append(file, f"run-{run}", store.StoredRun(frames, "LIN", 12, clean=(frames // 2).astype(np.uint16)))
    return path


@pytest.fixture(scope="session")
def moving_archive(tmp_path_factory):
    """Two runs of a shifting smooth background in which a dark bar appears."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("archive") / "archive.h5"
    with store.create(path) as file:
        for run in range(2):
            wide = 2000 + 800 * np.sin(np.arange(48) / 4 + rng.random())[None, :] * np.cos(np.arange(32) / 5)[:, None]
            frames = np.stack([np.roll(wide, shift, axis=1)[:, :32] for shift in (0, 0, 0, 1, 2, 3)])
            frames[3:, 10:14] *= 0.6
            store.append(file, f"run-{run}", store.StoredRun(frames.astype(np.uint16), "LIN", 12))
    return path


@pytest.fixture(scope="session")
def simulated_folder(tmp_path_factory):
    """A folder with a run that moves, a still one, and one without truth."""
    folder = tmp_path_factory.mktemp("simulated")
    for seed, (name, shift) in enumerate({"moving": (3, -2), "still": (0, 0), "real": (1, 1)}.items()):
        make_run(folder / f"{name}.dcm", shift, seed)
    (folder / "real_truth.h5").unlink()
    return folder


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """The runs of `moving_archive`, and what they would be without the dark bar."""
    path = tmp_path_factory.mktemp("known") / "known.h5"
    with store.create(path) as file:
        for run in range(2):
            wide = 2000 + 800 * np.sin(np.arange(48) / 4 + run)[None, :] * np.cos(np.arange(32) / 5)[:, None]
            clean = np.stack([np.roll(wide, shift, axis=1)[:, :32] for shift in (0, 0, 0, 1, 2, 3)]).astype(np.uint16)
            frames = clean.copy()
            frames[3:, 10:14] = 0.6 * clean[3:, 10:14]
            store.append(file, f"run-{run}", store.StoredRun(frames, "LIN", 12, clean=clean))
    return path
