"""Frames that arrive one by one are registered as a whole run is, as far as the frames so far tell."""

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.registration.evidence import weigh_warps
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions
from angiomorph.registration.registrar import Registrar
from tests.runs import phantom, save_tiny_model, series
from tests.tools import REPOSITORY


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


def same_scale(frames):
    """Return frames whose first two hold the run's least and greatest value, so that they tell its linear scale."""
    frames[0, 0, :2] = frames.min(), frames.max()
    return frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("relation", "options"),
    [
        ("DISP", {}),
        ("LOG", {"rounds": 1, "hyper": 0.1}),
        ("DISP", {"refine": 3}),
        ("LIN", {"intensity": "linear"}),
    ],
)
def test_with_the_runs_scale_frames_are_the_whole_runs(model, relation, options):
    frames = same_scale(phantom((6, 50, 70)))
    how = RegistrationOptions(**{"guard": False, "refine": 0, "background": "1-2", "batch_size": 1} | options)
    whole = model.register(series(frames, relation), how)
    live = Registrar(model, frames[:2], relation, how)
    assert np.abs(whole.warp[2:]).max() > 0.5
    for index in range(2, 6):
        arrived = live.push(frames[index])
        np.testing.assert_allclose(arrived.warp, whole.warp[index], atol=1e-4)
        np.testing.assert_allclose(arrived.dsa, whole.dsa[index], atol=1e-6 * np.abs(whole.dsa).max())
        np.testing.assert_allclose(arrived.bsa, whole.bsa[index], atol=1e-3 * np.abs(whole.dsa).max())


def test_the_guard_weighs_by_the_frames_so_far(model, monkeypatch):
    evidence = [0.0, 1.5, 1.9, 5.0, 0.1, 0.0]
    left = iter([9.0, *evidence])  # the first is forgotten: it warms
    monkeypatch.setattr("angiomorph.registration.registrar.evidence_finder", lambda _: lambda *_: next(left))
    frames = phantom((8, 50, 70))
    live = Registrar(model, frames[:2], options=RegistrationOptions(refine=0))
    whole = Registrar(model, frames[:2], options=RegistrationOptions(refine=0, guard=False))
    weights = []
    for count, frame in enumerate(frames[2:], start=1):
        arrived, full = live.push(frame), whole.push(frame)
        weights.append(arrived.weight)
        assert arrived.weight == weigh_warps(np.array(evidence[:count]))[-1]
        np.testing.assert_allclose(arrived.warp, full.warp * np.float32(arrived.weight), atol=1e-6)
        if arrived.weight == 0:
            np.testing.assert_array_equal(arrived.bsa, arrived.dsa)
    assert weights[0] == 0
    assert 0 < weights[1] < 1
    assert weights[3] == 1


def test_numbers_choose_among_the_given_frames(model):
    frames = phantom((5, 50, 70))
    live = Registrar(model, frames[:4], options=RegistrationOptions(background="2-3", guard=False, refine=0))
    background = np.log(frames[1:3].astype(np.float64)).mean(0)
    np.testing.assert_allclose(live.push(frames[4]).dsa, np.log(frames[4]) - background, atol=1e-5)


def test_headroom_widens_the_scale(model):
    """Half as much again at each end is half the contrast for the network, and nothing else."""
    frames = phantom((4, 50, 70))
    how = RegistrationOptions(guard=False, refine=0)
    close, wide = (Registrar(model, frames[:2], options=how, headroom=share).push(frames[3]) for share in (0.0, 0.5))
    np.testing.assert_array_equal(close.dsa, wide.dsa)
    assert np.abs(close.warp - wide.warp).max() > 0.01


FRAMES = phantom((3, 50, 70))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"background": FRAMES[0]}, r"`background`: expected frames \(N, H, W\)"),
        ({"background": FRAMES.astype(float)}, "of unsigned integers, got .* float64"),
        ({"relation": "log"}, "`relation` log: expected one of LIN, LOG, DISP"),
        ({"shutter": np.ones((5, 5), bool)}, r"`shutter`: expected \(50, 70\)"),
        ({"headroom": 2.0}, "`headroom` 2.0: expected 0 to 1"),
        ({"options": RegistrationOptions(background="4")}, "`background` 4: expected auto, or frames of the 3 given"),
        ({"options": RegistrationOptions(background="tag")}, "`background` tag: expected auto"),
        ({"options": RegistrationOptions(require_clean=True)}, "`require_clean` True: expected False"),
    ],
)
def test_what_does_not_fit_is_refused(model, given, expected):
    with pytest.raises(InputError, match=expected):
        Registrar(model, **{"background": FRAMES} | given)


@pytest.mark.parametrize("frame", [FRAMES[0, :40], FRAMES[0].astype(np.uint8)], ids=["size", "type"])
def test_frames_unlike_the_background_are_refused(model, frame):
    live = Registrar(model, FRAMES, options=RegistrationOptions(refine=0))
    with pytest.raises(InputError, match=r"`frame`: expected \(50, 70\) uint16"):
        live.push(frame)


@pytest.mark.slow
def test_a_network_of_no_numbers_is_told(tmp_path):
    network = networks.AngioMorph.load(save_tiny_model(tmp_path / "tiny.h5"))
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    networks.save(network, tmp_path / "broken.h5")
    with pytest.raises(InputError, match="`frame`: expected a finite warp, but the network's is not; check the frame"):
        Registrar(Model(tmp_path / "broken.h5"), FRAMES, options=RegistrationOptions(refine=0, guard=False)).push(FRAMES[0])


@pytest.mark.slow
def test_on_the_example_run_both_ways_differ_little():
    run, model = read_series(REPOSITORY / "data" / "example_run.dcm"), Model()
    how = RegistrationOptions(levels=1, background="3")
    whole = model.register(run, how)
    live = Registrar(model, run.frames[:3], run.relation, how, bits_stored=run.bits_stored, shutter=run.shutter)
    for index in range(3, 8):
        arrived = live.push(run.frames[index])
        apart, changed = (np.abs(whole.bsa[index] - other)[whole.field].mean() for other in (arrived.bsa, whole.dsa[index]))
        assert arrived.weight == whole.weights[index] == 1
        assert apart < 0.05 * changed
