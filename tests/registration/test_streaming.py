"""A run registered on the disk is, to the last bit, the one registered in memory, whichever frames had to wait."""

from dataclasses import replace

import numpy as np
import pytest

from angiomorph.dicom import open_series, read_series
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.registration.evidence import weigh_warps
from angiomorph.registration.model import Model
from angiomorph.registration.options import OutputOptions, RegistrationOptions
from angiomorph.registration.outputs import Spooling
from angiomorph.registration.series import OF_FRAMES
from angiomorph.registration.streaming import RunStream
from tests.runs import phantom, save_tiny_model, series

pytestmark = pytest.mark.slow
ARRAYS = tuple(name for name in OF_FRAMES if name != "weights")
TOLD = ("residue_bsa", "residue_dsa", "largest_shift", "folding", "unwarped_frames", "exposed_range", "background", "frames")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


def judged(monkeypatch, evidence):
    """Let the frames of a run have some evidence, in order."""
    left = iter(evidence)
    monkeypatch.setattr(
        "angiomorph.registration.streaming.evidence_finder", lambda background: lambda dsa, bsa, known: float(next(left))
    )


def check_equal(one, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert (one.key_frame, one.fullest_frame) == (other.key_frame, other.fullest_frame)
    np.testing.assert_array_equal(one.mean_shifts, other.mean_shifts)
    ours, theirs = one.summary(), other.summary()
    assert [ours[name] for name in TOLD] == [theirs[name] for name in TOLD]


@pytest.mark.parametrize(
    "evidence", [[0, 5, 5, 5, 5, 5, 5, 5, 5], [0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.5, 1.5, 0, 0]]
)
def test_frames_that_wait_come_out_as_the_whole_run_is_judged(model, tmp_path, monkeypatch, evidence):
    run = series(phantom((11, 48, 40)))
    options = RegistrationOptions(background="1-2", refine=0)
    judged(monkeypatch, evidence)
    read = model.register(run, options)
    judged(monkeypatch, evidence)
    done = []
    spooled = model.register(run, options, Spooling(tmp_path, tell=lambda *told: done.append(told)))
    check_equal(read, spooled)
    assert done == [(count, 11) for count in range(1, 12)]
    weights = weigh_warps(np.array([0, 0, *evidence]))
    np.testing.assert_array_equal(spooled.weights, weights)
    free = model.register(run, replace(options, guard=False))
    np.testing.assert_array_equal(read.warp, free.warp * weights[:, None, None, None].astype(np.float32))
    np.testing.assert_array_equal(read.bsa, np.log(run.frames.astype(np.float32)) - read.moved)
    np.testing.assert_array_equal(
        read.moved[weights == 0], np.broadcast_to(read.moved[weights == 0][:1], read.moved[weights == 0].shape)
    )


def test_a_frame_is_final_as_soon_as_no_later_one_can_change_it(model, monkeypatch):
    """Of 12 frames in batches of 2 the first four wait for the evidence of the fifth; then none waits any more."""
    judged(monkeypatch, [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])
    options = model.defaults.complete(RegistrationOptions(background="1", refine=0, batch_size=2))
    stream = RunStream(series(phantom((12, 48, 40))), model.predictor, model.refine, options)
    held = {}
    frames = [(frame.index, frame.weights, sorted(held)) for frame in stream.frames(held)]
    assert frames == [(index, 1, [0, 1, 2, 3]) for index in range(12)]


@pytest.mark.parametrize("background", ["tag", "3"])
def test_several_backgrounds_and_files_on_disk(model, tmp_path, xa_file, background):
    frames = phantom((7, 48, 40), filled=3)
    steps = (Step((1, 2), (1, 2, 4)), Step((5,), (3, 5, 6, 7)))
    path = xa_file(frames=frames)
    options = RegistrationOptions(background=background, refine=2, batch_size=3, levels=2, rounds=1)
    read, opened = (replace(read(path), steps=steps, background_numbers=(1, 2)) for read in (read_series, open_series))
    check_equal(model.register(read, options), model.register(opened, options, Spooling(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["run.dcm"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_batches_of_any_size_agree(model, tmp_path, size):
    run = series(phantom((7, 64, 64)))
    options = RegistrationOptions(background="1", refine=0, batch_size=size)
    read = model.register(run, options)
    check_equal(read, model.register(run, options, Spooling(tmp_path)))
    alone = model.register(run, replace(options, batch_size=1))
    assert np.abs(read.bsa - alone.bsa).max() < 1e-5 * alone.summary()["exposed_range"]
    unguarded = model.defaults.complete(replace(options, guard=False))
    stream = RunStream(run, model.predictor, model.refine, unguarded)
    assert [frame.index for frame in stream.frames({})] == list(range(7))


def test_every_kind_of_file_is_the_same(model, tmp_path, xa_file):
    path = xa_file(frames=phantom((4, 64, 64)))
    output = OutputOptions(kinds=("dicom", "h5", "png", "dsa", "key", "nifti"), save_moved=True, anonymize=True)
    options = RegistrationOptions(background="1", refine=0)
    one = model.register(read_series(path), options).save(tmp_path / "read", output=output)
    other = model.register(open_series(path), options, Spooling(tmp_path)).save(tmp_path / "opened", output=output)
    for first, second in zip(one, other, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_what_is_lost_in_the_middle_is_named(model, tmp_path, xa_file):
    path = xa_file(frames=phantom((9, 48, 40)))
    opened = open_series(path)
    spooling = Spooling(tmp_path, tell=lambda done, count: path.unlink(missing_ok=True))
    with pytest.raises(InputError, match=rf"{path}: frame \d: expected to read it, but: No such file or directory"):
        model.register(opened, RegistrationOptions(background="1", refine=0, batch_size=1, guard=False), spooling)
    assert list(tmp_path.iterdir()) == []


def test_the_key_frame_at_other_lambda_is_as_registered_there(model, tmp_path):
    run = series(phantom((5, 48, 40)))
    options = RegistrationOptions(background="1-2", refine=0, guard=False)
    read, spooled = (model.register(run, options, spooling, (0.0, 0.9)) for spooling in (None, Spooling(tmp_path)))
    assert list(read.montage) == [0.0, model.defaults.hyper, 0.9]
    for hyper, bsa in read.montage.items():
        there = model.register(run, replace(options, hyper=hyper))
        np.testing.assert_allclose(bsa, there.bsa[read.key_frame - 1], atol=1e-5)
        np.testing.assert_array_equal(spooled.montage[hyper], bsa)
    assert np.abs(read.montage[0.0] - read.montage[0.9]).max() > 0.01
    assert model.register(run, options).montage == {}
