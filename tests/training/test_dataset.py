"""The training pipeline: what is drawn, that it is reproducible, and what Keras is given."""

import dataclasses
import gc
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.layers import resize_frames
from angiomorph.preprocessing.intensity import normalisation, normalise, resolve_mode, to_domain
from angiomorph.preprocessing.resizing import fit_frames, fitted_shape, pad
from angiomorph.registration.inputs import prepare_input
from angiomorph.storage import store
from angiomorph.training.augmentation import Augmentation
from angiomorph.training.dataset import Draw, Sampling, Source, dataset, draw_hyper, draw_pairs, steps_per_epoch
from tests.runs import series

SMALL = Sampling(frames_per_series=4, batch_size=2, size=16)


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


def take(paths, sampling, count, first_step=0):
    with Source(paths, sampling) as source:
        return [source.batch(step) for step in range(first_step, first_step + count)]


def spoil(path: Path, key: str, frame: int) -> None:
    """Overwrite a frame's chunk in the file so that its checksum fails."""
    with h5py.File(path) as file:
        chunk = file[key]["frames"].id.get_chunk_info_by_coord((frame, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 8] = b"spoilt!!"
    path.write_bytes(content)


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


def test_an_epoch_visits_every_run_with_its_share_of_frames(archive):
    steps = steps_per_epoch(3, SMALL)
    assert steps == 6
    with Source([archive], SMALL) as source:
        assert source.frame_count() == 18
        assert sorted(source.draws(step)[0].run for step in range(steps)) == [0, 0, 1, 1, 2, 2]
        orders = [[source.draws(step)[0].run for step in range(first, first + steps)] for first in range(0, 60, steps)]
    assert len({tuple(order) for order in orders}) > 1
    drawn = take([archive], SMALL, steps)
    assert all(pairs.moving.shape == pairs.fixed.shape == (2, 16, 16) for pairs in drawn)
    assert all(pairs.moving.dtype == pairs.fixed.dtype == np.float32 for pairs in drawn)


def test_a_last_smaller_batch_keeps_the_count_of_frames(archive):
    sampling = Sampling(frames_per_series=5, batch_size=2, size=16)
    sizes = [len(pairs.moving) for pairs in take([archive], sampling, steps_per_epoch(3, sampling))]
    assert sizes == [2, 2, 1] * 3


def test_background_comes_from_the_first_frames_and_contrast_from_the_others(archive):
    for pairs in take([archive], SMALL, 12):
        # Normalised to the run's own range: frame k of 0..5 is k/5 everywhere, padding included.
        assert set(np.unique(np.round(pairs.moving * 5, 4))) <= {0, 1, 2}
        assert set(np.unique(np.round(pairs.fixed * 5, 4))) <= {3, 4, 5}


def test_draws_are_the_same_for_a_seed_and_other_for_another(archive):
    first, again = take([archive], SMALL, 6), take([archive], SMALL, 6)
    other = take([archive], Sampling(frames_per_series=4, batch_size=2, size=16, seed=1), 6)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.fixed, two.fixed)
        assert one.hyper == two.hyper
    assert [pairs.hyper for pairs in first] != [pairs.hyper for pairs in other]


@pytest.mark.parametrize("first", [1, 5, 6, 9])
def test_a_step_does_not_depend_on_the_ones_before(archive, first):
    whole, resumed = take([archive], SMALL, 12)[first:], take([archive], SMALL, 12 - first, first)
    for one, two in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one.moving, two.moving)
        np.testing.assert_array_equal(one.fixed, two.fixed)
        assert one.hyper == two.hyper


def test_a_step_is_described_by_run_frames_and_lambda(archive):
    with Source([archive], SMALL) as source:
        draw = source.draws(4)[0]
        frames = [", ".join(str(index + 1) for index in part) for part in (draw.background, draw.contrast)]
        expected = f"run run-{draw.run} of archive.h5, background frames {frames[0]}, contrast frames {frames[1]}, λ "
        assert source.describe(4).startswith(expected)


def same(one, two):
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.moving, second.moving)
        np.testing.assert_array_equal(first.fixed, second.fixed)
        assert first.hyper == second.hyper


def test_the_next_readable_frames_of_their_kind_stand_in_for_unreadable_ones(archive, checked, caplog):
    spoil(checked, "run-1", 2)
    spoil(checked, "run-1", 3)
    spoil(checked, "run-1", 4)
    stand_ins = {2: 0, 3: 5, 4: 5}
    with Source([checked], SMALL) as source, Source([archive], SMALL) as whole:
        drawn = [source.batch(step) for step in range(12)]
        for step, pairs in enumerate(drawn):
            draw, expected = source.draws(step)[0], whole.draws(step)[0]
            for found, index in zip((draw.background, draw.contrast), (expected.background, expected.contrast), strict=True):
                if draw.run == 1:
                    index = np.array([stand_ins.get(number, number) for number in index])
                np.testing.assert_array_equal(found, index)
            assert draw.hyper == expected.hyper == pairs.hyper
            # Frame k of 0..5 is k/5 everywhere: the scale is of the readable frames, here the first and the last among them.
            np.testing.assert_allclose(pairs.moving[:, 0, 0], draw.background / 5, atol=1e-6)
            np.testing.assert_allclose(pairs.fixed[:, 0, 0], draw.contrast / 5, atol=1e-6)
    found = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert found == ["run run-1 of checked.h5: HDF5 cannot read frames 3"]
    assert "cannot read frames 3, 4, 5, others stand in for them" in caplog.text
    same(drawn[5:], take([checked], SMALL, 7, 5))


def test_the_scale_is_of_the_readable_frames(checked):
    spoil(checked, "run-0", 5)
    with Source([checked], SMALL) as source:
        draw = Draw(0, np.array([1]), np.array([5]), 0.5)
        pairs = source.read(draw)
    np.testing.assert_allclose([pairs.moving[0, 0, 0], pairs.fixed[0, 0, 0]], [1 / 4, 3 / 4], atol=1e-6)


def test_a_frame_that_fails_later_is_replaced_too(checked, caplog):
    with Source([checked], SMALL) as source:
        source.read(Draw(0, np.array([0]), np.array([3]), 0.5))
        spoil(checked, "run-0", 4)
        pairs = source.read(Draw(0, np.array([0]), np.array([4]), 0.5))
        assert pairs.fixed[0, 0, 0] == 1
    assert "run run-0 of checked.h5: HDF5 cannot read frames 5, others stand in for them" in caplog.text


@pytest.mark.parametrize("kind", [(0, 1, 2), (3, 4, 5)])
def test_a_run_without_readable_frames_of_a_kind_is_reported_once_and_others_take_its_place(checked, caplog, kind):
    for frame in kind:
        spoil(checked, "run-1", frame)
    drawn = take([checked], SMALL, 12)
    assert len(drawn) == 12
    assert [record.getMessage().partition(": HDF5")[0] for record in caplog.records] == ["run run-1 of checked.h5 is left out"]
    assert f"(frames: {', '.join(str(frame + 1) for frame in kind)})" in caplog.text
    # Begun in the middle, where the run may not have been visited yet, the steps are the same.
    same(drawn[5:], take([checked], SMALL, 7, 5))


def test_a_run_that_cannot_be_opened_is_left_out(archive, caplog):
    with h5py.File(archive, "r+") as file:
        del file["run-1"].attrs["background"]
    drawn = take([archive], SMALL, 6)
    assert len(drawn) == 6
    assert [record.getMessage().partition(": HDF5")[0] for record in caplog.records] == ["run run-1 of archive.h5 is left out"]


def test_more_than_half_of_the_runs_unreadable_stops(checked):
    for frame in (3, 4, 5):
        spoil(checked, "run-1", frame)
        spoil(checked, "run-2", frame - 3)
    with pytest.raises(InputError, match=r"expected at least half of the 3 runs to be readable, found 2 that are not"):
        take([checked], SMALL, 6)
    with Source([checked], SMALL) as source:
        with suppress(tf.errors.OpError):
            list(dataset(source, (8, 8, 2)).take(6))
        assert "found 2" in str(source.error)


@pytest.mark.parametrize("shape", [(7, 16, 12), (7, 40, 30), (40, 9, 16)], ids=["padded", "shrunk", "many"])
@pytest.mark.parametrize(("relation", "kind"), [("LIN", np.uint16), ("LIN", np.uint8), ("LOG", np.uint16)])
def test_pixels_are_those_of_the_plain_computation(tmp_path, shape, relation, kind):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256 if kind is np.uint8 else 65536, shape).astype(kind)
    with store.create(tmp_path / "one.h5") as file:
        store.append(file, "run", store.StoredRun(frames, relation, 16))
    mode = resolve_mode(relation, "auto")
    values = to_domain(frames, mode)
    plain = normalise(values, normalisation(values, None, mode))
    expected = pad(resize_frames(tf.constant(plain), fitted_shape(shape[1:], 16)).numpy(), 16)
    for sampling in (SMALL, Sampling(frames_per_series=50, batch_size=8, size=16)):
        with Source([tmp_path / "one.h5"], sampling) as source:
            for step in range(9):
                draw, pairs = source.draws(step)[0], source.batch(step)
                np.testing.assert_allclose(pairs.moving, expected[draw.background], atol=1e-6)
                np.testing.assert_allclose(pairs.fixed, expected[draw.contrast], atol=1e-6)


def test_a_visit_decodes_each_frame_once(archive, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "angiomorph.training.dataset.fit_frames", lambda frames, size: decoded.append(1) or fit_frames(frames, size)
    )
    sampling = Sampling(frames_per_series=50, batch_size=1, size=16)
    take([archive], sampling, steps_per_epoch(3, sampling))
    assert len(decoded) == 3 * 6  # 50 of three and 50 of three frames: each at least once


def test_neither_frames_nor_open_runs_pile_up(tmp_path):
    frames = np.random.default_rng(0).integers(0, 4096, (4, 64, 64)).astype(np.uint16)
    with store.create(tmp_path / "many.h5") as file:
        for run in range(80):
            store.append(file, f"run-{run:03d}", store.StoredRun(frames, "DISP", 12))
    sampling = Sampling(frames_per_series=8, batch_size=8, size=64)
    with Source([tmp_path / "many.h5"], sampling) as source:
        source.batch(0)
        tracemalloc.start()
        try:
            for step in range(1, 160):
                source.batch(step)
            source._ahead.shutdown()  # what its threads hold while they decode does not count
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        opened = h5py.h5f.get_obj_count(source.runs._files[0].id, h5py.h5f.OBJ_DATASET)
    # A run's four frames are 65 kB as float32; those of all runs would be 5.2 MB.
    assert held < 10 * frames.size * 4
    assert opened == 0


def test_a_closed_source_ends_its_pipeline_without_a_word(archive, caplog):
    with Source([archive], Sampling(frames_per_series=50, batch_size=1, size=16)) as source:
        batches = iter(dataset(source, (8, 8, 2)))
        next(batches)
    with pytest.raises(tf.errors.OpError):
        list(batches)
    with pytest.raises(InputError, match="expected open stores to read from, found them closed"):
        source.batch(0)
    assert not caplog.records
    assert not source.left_out


def test_intensity_that_does_not_suit_a_run_is_refused_at_the_start(tmp_path):
    with store.create(tmp_path / "log.h5") as file:
        store.append(file, "run", store.StoredRun(np.zeros((2, 4, 4), np.uint8), "LOG", 8))
    for intensity in ("log", "logarithmic"):
        with pytest.raises(InputError, match="intensity: expected"):
            Source([tmp_path / "log.h5"], Sampling(intensity=intensity))


def test_runs_of_several_stores_are_numbered_through(archive, checked):
    with Source([archive, checked], SMALL) as source:
        names = [source.runs.name(number) for number in range(len(source.runs))]
        assert [source.runs[number].name for number in range(6)] == names
    assert names == [f"run-{run} of {path.name}" for path in (archive, checked) for run in range(3)]


def test_fit_takes_batches_prefetched_to_another_device(archive):
    # Two CPUs in place of CPU and GPU, which needs a process of its own.
    program = f"""
from pathlib import Path
from angiomorph.training.augmentation import Augmentation
from angiomorph.backend import tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from angiomorph.training.dataset import Sampling, Source, dataset, prefetched
from angiomorph.networks.model import AngioMorph
from angiomorph.training.train import TrainingConfig, compile_model
from tests.runs import TINY
model = AngioMorph((16, 16), **TINY)
compile_model(model, TrainingConfig())
with Source([Path({str(archive)!r})], Sampling(frames_per_series=4, batch_size=2, size=16)) as source:
    batches = prefetched(dataset(source, model.output_shape[1][1:]), "/cpu:1")
    (moving, fixed, hyper), _, _ = next(iter(batches))
    assert moving.device.endswith("CPU:1"), moving.device
    assert (fixed.numpy()[..., 0] == source.batch(0).fixed).all()
    losses = model.fit(batches, steps_per_epoch=6, epochs=2, verbose=0).history["loss"]
print(len(losses))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.stdout.split() == ["2"], found.stderr


def test_frames_are_drawn_with_replacement_and_uniformly():
    rng = np.random.default_rng(0)
    contrast, background = draw_pairs(rng, 10, (), Sampling(frames_per_series=7000))
    assert set(background) == {0, 1, 2}
    counts = np.bincount(contrast, minlength=10)
    assert counts[:3].sum() == 0
    # 1000 expected in each of seven: five standard deviations of a binomial are 146
    assert np.abs(counts[3:] - 1000).max() < 146


def test_named_background_frames_are_used_and_never_taken_as_contrast():
    contrast, background = draw_pairs(np.random.default_rng(0), 6, (2, 5), Sampling(frames_per_series=200))
    assert set(background) == {1, 4}
    assert set(contrast) == {0, 2, 3, 5}


@pytest.mark.parametrize("frames", [2, 3])
def test_short_runs_keep_a_contrast_frame(frames):
    contrast, background = draw_pairs(np.random.default_rng(0), frames, (), Sampling(frames_per_series=50))
    assert set(contrast) == {frames - 1}
    assert set(background) == set(range(frames - 1))


def test_lambda_is_uniform_with_its_ends_oversampled_as_asked():
    rng = np.random.default_rng(0)
    hypers = np.array([draw_hyper(rng, Sampling(oversample_rate=0.2)) for _ in range(10000)])
    # 10 % expected at each end: five standard deviations are 1.5 %
    assert abs((hypers == 0).mean() - 0.1) < 0.015
    assert abs((hypers == 1).mean() - 0.1) < 0.015
    inside = hypers[(hypers > 0) & (hypers < 1)]
    assert np.abs(np.histogram(inside, 10, (0, 1))[0] / inside.size - 0.1).max() < 0.02
    for sampling in (Sampling(), Sampling(lambda_sampling="uniform", oversample_rate=1.0)):
        assert not {0.0, 1.0} & {draw_hyper(rng, sampling) for _ in range(1000)}


def test_lambda_of_the_beta_distribution_has_its_moments():
    rng = np.random.default_rng(0)
    hypers = np.array([draw_hyper(rng, Sampling(lambda_sampling="beta")) for _ in range(10000)])
    # Beta(2, 2): mean 1/2, variance 1/20, P(λ < 0.1) = 3 * 0.1² - 2 * 0.1³ = 0.028
    assert hypers.mean() == pytest.approx(0.5, abs=0.012)
    assert hypers.var() == pytest.approx(0.05, abs=0.003)
    assert (hypers < 0.1).mean() == pytest.approx(0.028, abs=0.009)


def test_keras_is_given_inputs_targets_and_sample_weights(archive):
    with Source([archive], SMALL) as source:
        (moving, fixed, hyper), (target, zero_flow), weights = next(iter(dataset(source, (8, 8, 2), 3)))
        np.testing.assert_array_equal(fixed[..., 0], source.batch(3).fixed)
    assert moving.shape == fixed.shape == target.shape == (2, 16, 16, 1)
    np.testing.assert_array_equal(fixed, target)
    assert hyper.shape == (2, 1)
    assert hyper[0, 0] == hyper[1, 0]
    assert zero_flow.shape == (2, 8, 8, 2)
    assert not zero_flow.numpy().any()
    np.testing.assert_allclose(weights[0], 1 - hyper[:, 0])
    np.testing.assert_allclose(weights[1], hyper[:, 0])


def test_a_store_without_runs_is_refused(tmp_path):
    store.create(tmp_path / "empty.h5").close()
    with pytest.raises(InputError, match="expected at least one run to train on, found none"):
        Source([tmp_path / "empty.h5"], SMALL)


def test_parts_of_a_source_make_the_whole_batch_augmented_alike(archive):
    varied = dataclasses.replace(SMALL, augmentation=Augmentation(flip=0.5, rotate=20.0, noise=0.01, gamma=0.2))
    with Source([archive], varied) as whole, Source([archive], varied, (0, 2)) as one, Source([archive], varied, (1, 2)) as two:
        for step in range(8):
            expected, found = whole.batch(step), [one.batch(step), two.batch(step)]
            np.testing.assert_array_equal(np.concatenate([pairs.moving for pairs in found]), expected.moving)
            np.testing.assert_array_equal(np.concatenate([pairs.fixed for pairs in found]), expected.fixed)
            assert {pairs.hyper for pairs in found} == {expected.hyper}


def test_slices_of_a_pipeline_are_those_of_its_batches_in_turn(archive):
    with Source([archive], SMALL) as source:
        batches = list(dataset(source, (8, 8, 2), 1).take(3))
        slices = list(dataset(source, (8, 8, 2), 1, slices=2).take(6))
    for number, batch in enumerate(batches):
        for one, two, whole in zip(
            *(tf.nest.flatten(part) for part in (*slices[2 * number : 2 * number + 2], batch)), strict=True
        ):
            np.testing.assert_array_equal(np.concatenate([one, two]), whole)


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


def test_clean_frames_are_those_of_the_pair_on_its_scale(simulated):
    with Source([simulated], SMALL, clean=True) as source, store.reading(simulated) as file:
        for step in range(4):
            draw, pairs = source.draws(step)[0], source.batch(step)
            run = store.read(file, f"run-{draw.run}")
            scale = normalisation(to_domain(run.frames, "log"), None, "log")
            for clean, indices in zip(pairs.clean, (draw.background, draw.contrast), strict=True):
                np.testing.assert_allclose(clean, normalise(to_domain(run.clean[indices], "log"), scale), atol=1e-6)


@pytest.mark.parametrize("clean", [False, True])
def test_a_network_is_given_the_same_behind_blades_in_training_as_in_registration(tmp_path, clean):
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
        draw, pairs = source.draws(0)[0], source.batch(0)
    for given in (pairs.fixed, *pairs.clean[1:]):
        np.testing.assert_allclose(given, seen.frames[draw.contrast], atol=1e-6)


def test_what_keras_is_given_of_clean_frames(simulated):
    with Source([simulated], SMALL, clean=True) as source, Source([simulated], SMALL) as plain:
        inputs, targets, weights = next(iter(dataset(source, (16, 16, 2))))
        pairs = source.batch(0)
        usual = next(iter(dataset(plain, (16, 16, 2))))
    assert len(usual[0]) == 3
    for one, other in zip([*inputs[:3], targets[1], *weights], [*usual[0], usual[1][1], *usual[2]], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(inputs[3][..., 0], pairs.clean[0])
    np.testing.assert_array_equal(targets[0][..., 0], pairs.clean[1])
    np.testing.assert_array_equal(targets[0][..., 1], pairs.fixed)


def test_a_store_without_clean_frames_is_refused_where_they_are_asked_for(archive, simulated):
    with pytest.raises(InputError, match=r"run-0 of archive\.h5: expected clean frames.*--image-loss"):
        Source([simulated, archive], SMALL, clean=True)


def test_a_batch_of_several_runs_has_an_equal_share_of_each_and_one_lambda(archive):
    mixed = dataclasses.replace(SMALL, batch_size=6, series_per_batch=3)
    assert (steps_per_epoch(3, mixed), steps_per_epoch(4, mixed)) == (2, 4)
    with Source([archive], mixed) as source, Source([archive], SMALL) as plain:
        for step in range(6):
            draws, pairs = source.draws(step), source.batch(step)
            assert sorted(draw.run for draw in draws) == [0, 1, 2]
            assert {draw.hyper for draw in draws} == {pairs.hyper}
            assert pairs.moving.shape == (6, 16, 16)
            # The same visits in the same order as of batches of one run each: two steps a visit, three visits an epoch.
            alone = [plain.batch(6 * (step // 2) + 2 * place + step % 2) for place in range(3)]
            for name in ("moving", "fixed"):
                np.testing.assert_array_equal(getattr(pairs, name), np.concatenate([getattr(each, name) for each in alone]))
            assert pairs.hyper == alone[0].hyper


def test_a_mixed_batch_in_parts_is_the_whole_one(archive):
    mixed = dataclasses.replace(SMALL, batch_size=6, series_per_batch=3, augmentation=Augmentation(flip=0.5))
    with Source([archive], mixed) as whole, Source([archive], mixed, (0, 2)) as one, Source([archive], mixed, (1, 2)) as two:
        for step in range(4):
            parts = np.stack([one.batch(step).fixed, two.batch(step).fixed], axis=1)
            np.testing.assert_array_equal(parts.reshape(6, 16, 16), whole.batch(step).fixed)


def test_runs_that_cannot_share_a_batch_equally_are_refused():
    with pytest.raises(InputError, match="--series-per-batch 4: expected a divisor of --batch-size 6"):
        Sampling(batch_size=6, series_per_batch=4)


FINER = Sampling(frames_per_series=4, batch_size=2, size=8, finer=True)


@pytest.mark.parametrize("clean", [False, True])
def test_what_keras_is_given_at_two_sizes(simulated, clean):
    with Source([simulated], FINER, clean=clean) as source, Source([simulated], SMALL, clean=clean) as whole:
        corners = []
        for step, (inputs, targets, weights) in zip(range(8), dataset(source, (8, 8, 2)), strict=False):
            pairs = whole.batch(step)
            target = np.stack([pairs.clean[1], pairs.fixed], axis=-1) if clean else pairs.fixed[..., None]
            np.testing.assert_array_equal(inputs[0][..., 0], pairs.moving)
            np.testing.assert_array_equal(inputs[1][..., 0], pairs.fixed)
            assert len(inputs) == (5 if clean else 4)
            np.testing.assert_allclose(targets[0], target.reshape(2, 8, 2, 8, 2, -1).mean((2, 4)), atol=1e-6)
            for each, (row, column), cut in zip(target, inputs[-1].numpy(), targets[2].numpy(), strict=True):
                np.testing.assert_array_equal(cut, each[row : row + 8, column : column + 8])
                corners.append((int(row), int(column)))
            np.testing.assert_array_equal(targets[1], np.zeros((2, 8, 8, 2)))
            np.testing.assert_array_equal(targets[3], targets[1])
            expected = np.float32([1 - pairs.hyper, pairs.hyper] * 2)[:, None].repeat(2, 1)
            np.testing.assert_allclose(np.stack(weights), expected, atol=1e-6)
        np.testing.assert_array_equal(source.batch(3).corner, np.int32(corners[6:8]))
    assert len(set(corners)) > 10
    assert 0 <= min(map(min, corners)) <= max(map(max, corners)) <= 8


def test_the_windows_of_parts_are_those_of_the_whole_batch(archive):
    finer = dataclasses.replace(FINER, size=4, batch_size=6, series_per_batch=3)
    with Source([archive], finer) as whole, Source([archive], finer, (0, 2)) as one, Source([archive], finer, (1, 2)) as two:
        for step in range(3):
            parts = np.stack([one.batch(step).corner, two.batch(step).corner], axis=1)
            np.testing.assert_array_equal(parts.reshape(6, 2), whole.batch(step).corner)


def test_frames_too_small_for_two_sizes_are_refused(archive):
    with pytest.raises(InputError, match=r"run-0 of archive\.h5: expected frames of at least 32 pixels.*found 16 x 12"):
        Source([archive], dataclasses.replace(FINER, size=16))


def test_a_run_that_cannot_be_opened_is_left_out_where_clean_or_larger_frames_are_asked_for(simulated, caplog):
    with h5py.File(simulated, "r+") as file:
        del file["run-1"]["frames"], file["run-1"]["clean"]
    with Source([simulated], FINER, clean=True) as source:
        assert {source.draws(step)[0].run for step in range(4)} == {0}
        assert source.left_out == {1}
    assert "run run-1 of simulated.h5 is left out" in caplog.text
