"""Runs as the network sees them: pixels by the plain computation, each decoded once, none kept for long."""

import dataclasses
import gc
import time
import tracemalloc

import h5py
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.backend import tf
from angiomorph.networks.warp import resize_frames
from angiomorph.preprocessing.intensity import normalisation, normalise, resolve_mode, to_domain
from angiomorph.preprocessing.resizing import fit_frames, fitted_shape, pad
from angiomorph.registration.inputs import prepare_input
from angiomorph.storage import store
from angiomorph.training.config import Sampling
from angiomorph.training.source import Source
from tests.runs import series
from tests.training.stores import SMALL, take


@pytest.mark.parametrize("shape", [(7, 16, 12), (7, 40, 30), (40, 9, 16)], ids=["padded", "shrunk", "many"])
@pytest.mark.parametrize(("relation", "kind"), [("LIN", np.uint16), ("LIN", np.uint8), ("LOG", np.uint16)])
@pytest.mark.parametrize("sampling", [SMALL, Sampling(frames_per_series=50, batch_size=8, size=16)], ids=["few", "all"])
def test_pixels_are_those_of_the_plain_computation(tmp_path, shape, relation, kind, sampling):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256 if kind is np.uint8 else 65536, shape).astype(kind)
    with store.create(tmp_path / "one.h5") as file:
        store.append(file, "run", store.StoredRun(frames, relation, 16))
    mode = resolve_mode(relation, "auto")
    values = to_domain(frames, mode)
    plain = normalise(values, normalisation(values, None, mode))
    expected = pad(resize_frames(tf.constant(plain), fitted_shape(shape[1:], 16)).numpy(), 16)
    with Source([tmp_path / "one.h5"], sampling) as source:
        for step in range(9):
            draw, batch = source.draw_step(step).draws[0], source.batch(step)
            np.testing.assert_allclose(batch.moving, expected[draw.background], atol=1e-6)
            np.testing.assert_allclose(batch.fixed, expected[draw.contrast], atol=1e-6)


def test_a_visit_decodes_each_frame_once(archive, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "angiomorph.training.reader.fit_frames", lambda frames, size: decoded.append(1) or fit_frames(frames, size)
    )
    sampling = Sampling(frames_per_series=50, batch_size=1, size=16)
    take([archive], sampling, sampling.count_steps(3))
    assert len(decoded) == 3 * 6  # 50 of three and 50 of three frames: each at least once


def settle(holds):
    """Return whether something holds, as soon as threads that decode have let go of what they decoded."""
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    return holds()


@pytest.mark.slow
def test_neither_frames_nor_open_runs_pile_up(tmp_path):
    frames = np.random.default_rng(0).integers(0, 4096, (4, 64, 64)).astype(np.uint16)
    with store.create(tmp_path / "many.h5") as file:
        for run in range(80):
            store.append(file, f"run-{run:03d}", store.StoredRun(frames, "DISP", 12))
    sampling = Sampling(frames_per_series=8, batch_size=8, size=64)
    gc.collect()
    opened = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_DATASET)
    with Source([tmp_path / "many.h5"], sampling) as source:
        source.batch(0)
        tracemalloc.start()
        try:
            for step in range(1, 160):
                source.batch(step)
            # A run's four frames are 65 kB as float32; those of all runs would be 5.2 MB.
            assert settle(lambda: tracemalloc.get_traced_memory()[0] < 10 * frames.size * 4)
        finally:
            tracemalloc.stop()
        assert settle(lambda: h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_DATASET) == opened)


@pytest.mark.parametrize("clean", [False, True])
def test_training_sees_behind_blades_what_registration_sees(tmp_path, clean):
    rng = np.random.default_rng(0)
    shades = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 4)
    frames = 1500 + 300 * shades / shades.std() + rng.normal(0, 20, (5, 128, 128))
    frames[:, :, 100:] = 20  # blades
    frames = np.clip(frames, 1, 4095).astype(np.uint16)
    with store.create(tmp_path / "blades.h5") as file:
        store.append(file, "run-0", store.StoredRun(frames, "LIN", 12, clean=frames))
    found = series(frames)
    seen = prepare_input(found, "auto", background="1")
    assert not seen.field[:, 101:].any()
    with Source([tmp_path / "blades.h5"], dataclasses.replace(SMALL, size=128), clean=clean) as source:
        draw, pairs = source.draw_step(0).draws[0], source.batch(0)
    for given in (pairs.fixed, *pairs.clean[1:]):
        np.testing.assert_allclose(given, seen.frames[draw.contrast], atol=1e-6)
