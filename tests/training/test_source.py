"""What each step is trained on: reproducible, in parts as as a whole, and whatever HDF5 cannot read."""

import dataclasses
from contextlib import suppress

import h5py
import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import normalisation, normalise, to_domain
from angiomorph.storage import store
from angiomorph.training.config import Augmentation, Sampling
from angiomorph.training.draws import Draw
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.source import Source
from tests.training.stores import FINER, SMALL, same, spoil, take


def test_an_epoch_visits_every_run_with_its_share_of_frames(archive):
    steps = SMALL.count_steps(3)
    assert steps == 6
    with Source([archive], SMALL) as source:
        assert source.frame_count() == 18
        assert sorted(source.draw_step(step).draws[0].run for step in range(steps)) == [0, 0, 1, 1, 2, 2]
        orders = [
            [source.draw_step(step).draws[0].run for step in range(first, first + steps)] for first in range(0, 60, steps)
        ]
    assert len({tuple(order) for order in orders}) > 1
    drawn = take([archive], SMALL, steps)
    assert all(pairs.moving.shape == pairs.fixed.shape == (2, 16, 16) for pairs in drawn)
    assert all(pairs.moving.dtype == pairs.fixed.dtype == np.float32 for pairs in drawn)


def test_a_last_smaller_batch_keeps_the_count_of_frames(archive):
    sampling = Sampling(frames_per_series=5, batch_size=2, size=16)
    sizes = [len(pairs.moving) for pairs in take([archive], sampling, sampling.count_steps(3))]
    assert sizes == [2, 2, 1] * 3


def test_background_frames_are_first_and_contrast_the_others(archive):
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
        draw = source.draw_step(4).draws[0]
        frames = [", ".join(str(index + 1) for index in part) for part in (draw.background, draw.contrast)]
        expected = f"run run-{draw.run} of archive.h5, background frames {frames[0]}, contrast frames {frames[1]}, λ "
        assert source.describe(4).startswith(expected)


def test_the_next_readable_frames_replace_unreadable_ones(archive, checked, caplog):
    spoil(checked, "run-1", 2)
    spoil(checked, "run-1", 3)
    spoil(checked, "run-1", 4)
    stand_ins = {2: 0, 3: 5, 4: 5}
    with Source([checked], SMALL) as source, Source([archive], SMALL) as whole:
        drawn = [source.batch(step) for step in range(12)]
        for step, pairs in enumerate(drawn):
            hypers = source.draw_step(step).hyper, whole.draw_step(step).hyper
            assert hypers == (pairs.hyper, pairs.hyper)
            draw, expected = source.draw_step(step).draws[0], whole.draw_step(step).draws[0]
            for found, index in zip((draw.background, draw.contrast), (expected.background, expected.contrast), strict=True):
                if draw.run == 1:
                    index = np.array([stand_ins.get(number, number) for number in index])
                np.testing.assert_array_equal(found, index)
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
        draw = Draw(0, np.array([1]), np.array([5]))
        pairs = source.read(draw)
    np.testing.assert_allclose([pairs.moving[0, 0, 0], pairs.fixed[0, 0, 0]], [1 / 4, 3 / 4], atol=1e-6)


def test_a_frame_that_fails_later_is_replaced_too(checked, caplog):
    with Source([checked], SMALL) as source:
        source.read(Draw(0, np.array([0]), np.array([3])))
        spoil(checked, "run-0", 4)
        pairs = source.read(Draw(0, np.array([0]), np.array([4])))
        assert pairs.fixed[0, 0, 0] == 1
    assert "run run-0 of checked.h5: HDF5 cannot read frames 5, others stand in for them" in caplog.text


@pytest.mark.parametrize("kind", [(0, 1, 2), (3, 4, 5)])
def test_a_run_without_readable_frames_of_a_kind_is_left_out(checked, caplog, kind):
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
            list(make_dataset(source, (8, 8, 2)).take(6))
        assert "found 2" in str(source.error)


def test_a_source_without_any_readable_run_says_so_each_time(tmp_path, checked):
    for run in range(3):
        for frame in range(6):
            spoil(checked, f"run-{run}", frame)
    with Source([checked], SMALL) as source:
        for _ in range(4):
            with pytest.raises(
                InputError, match=r"expected (at least half of the 3 runs to be readable|a run that can be read), found"
            ):
                source.batch(0)


def test_a_whole_run_with_an_unreadable_frame_is_none(checked, caplog):
    spoil(checked, "run-1", 5)
    with Source([checked], SMALL) as source:
        assert source.read_stored(0).frames[5, 0, 0] == 1005
        assert source.read_stored(1) is None
    assert "run run-1 of checked.h5: expected all of its frames, HDF5 cannot read one" in caplog.text


def test_an_intensity_that_does_not_suit_a_run_is_refused(tmp_path):
    with store.create(tmp_path / "log.h5") as file:
        store.append(file, "run", store.StoredRun(np.zeros((2, 4, 4), np.uint8), "LOG", 8))
    with pytest.raises(InputError, match="`intensity` log: expected"):
        Source([tmp_path / "log.h5"], Sampling(intensity="log"))


def test_runs_of_several_stores_are_numbered_through(archive, checked):
    with Source([archive, checked], SMALL) as source:
        names = [source.runs.name(number) for number in range(len(source.runs))]
        assert [source.runs[number].name for number in range(6)] == names
    assert names == [f"run-{run} of {path.name}" for path in (archive, checked) for run in range(3)]


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


def test_clean_frames_are_those_of_the_pair_on_its_scale(simulated):
    with Source([simulated], SMALL, clean=True) as source, store.open_store(simulated) as file:
        for step in range(4):
            draw, pairs = source.draw_step(step).draws[0], source.batch(step)
            run = store.read(file, f"run-{draw.run}")
            scale = normalisation(to_domain(run.frames, "log"), None, "log")
            for clean, indices in zip(pairs.clean, (draw.background, draw.contrast), strict=True):
                np.testing.assert_allclose(clean, normalise(to_domain(run.clean[indices], "log"), scale), atol=1e-6)


def test_a_store_without_wanted_clean_frames_is_refused(archive, simulated):
    with pytest.raises(InputError, match=r"run-0 of archive\.h5: expected clean frames.*`image_loss`"):
        Source([simulated, archive], SMALL, clean=True)


def test_runs_share_a_batch_equally_and_have_one_lambda(archive):
    mixed = dataclasses.replace(SMALL, batch_size=6, series_per_batch=3)
    assert (mixed.count_steps(3), mixed.count_steps(4)) == (2, 4)
    with Source([archive], mixed) as source, Source([archive], SMALL) as plain:
        for step in range(6):
            draws, pairs = source.draw_step(step).draws, source.batch(step)
            assert sorted(draw.run for draw in draws) == [0, 1, 2]
            assert source.draw_step(step).hyper == pairs.hyper
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


def test_the_windows_of_parts_are_those_of_the_whole_batch(archive):
    finer = dataclasses.replace(FINER, size=4, batch_size=6, series_per_batch=3)
    with Source([archive], finer) as whole, Source([archive], finer, (0, 2)) as one, Source([archive], finer, (1, 2)) as two:
        for step in range(3):
            parts = np.stack([one.batch(step).corner, two.batch(step).corner], axis=1)
            np.testing.assert_array_equal(parts.reshape(6, 2), whole.batch(step).corner)


def test_frames_too_small_for_two_sizes_are_refused(archive):
    with pytest.raises(InputError, match=r"run-0 of archive\.h5: expected frames of at least 32 pixels.*found 16 x 12"):
        Source([archive], dataclasses.replace(FINER, size=16))


def test_a_run_that_cannot_be_checked_is_left_out(simulated, caplog):
    with h5py.File(simulated, "r+") as file:
        del file["run-1"]["frames"], file["run-1"]["clean"]
    with Source([simulated], FINER, clean=True) as source:
        assert {source.draw_step(step).draws[0].run for step in range(4)} == {0}
        assert source.left_out == {1}
    assert "run run-1 of simulated.h5 is left out" in caplog.text
