"""A run registered a frame at a time is the run registered as a whole, and the page is told all of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.registration.live_registration import LiveRegistration
from angiomorph.registration.model import Model
from angiomorph.registration.notebook import show
from angiomorph.registration.options import RegistrationOptions
from angiomorph.registration.page_answers import shrink_warp
from angiomorph.storage.store import read_arrays
from tests.runs import phantom, save_tiny_model, series

OPTIONS = RegistrationOptions(refine=0, background="1")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.fixture(scope="module")
def live(model_path):
    return LiveRegistration(series(phantom()), model_path, OPTIONS)


@pytest.fixture(scope="module")
def result(model_path):
    return Model(model_path).register(series(phantom()), replace(OPTIONS, hyper=0.3, guard=False))


def ask(live, kind, **asked):
    return live.answer(kind, {name: str(value) for name, value in asked.items()})


def read_warp(answer):
    return np.frombuffer(answer.data, "<f2").reshape(answer.info["rows"], answer.info["columns"], 2)


def test_the_run_is_described(live, model_path):
    info = ask(live, "run").info
    assert (info["frames"], info["rows"], info["columns"]) == (5, 64, 64)
    assert info["times"] == [0, 100, 200, 300, 400]
    assert (info["logarithmic"], info["units"]) == (True, "ln(intensity)")
    assert (info["hyper"], info["fixed"], info["refine"], info["guard"], info["model"]) == (0.6, False, 0, True, "tiny")
    low, high = info["window"]
    inside = np.log(phantom()[2])
    assert (low, high) == pytest.approx(np.percentile(inside, [1, 99.5]), rel=1e-5)


def test_frames_are_stored_values(live):
    assert np.array_equal(np.frombuffer(ask(live, "frame", frame=3).data, "<u2").reshape(64, 64), phantom()[2])


def test_narrow_frames_are_widened(model_path):
    live = LiveRegistration(series(phantom(bits=8)), model_path, OPTIONS)
    assert np.array_equal(np.frombuffer(ask(live, "frame", frame=2).data, "<u2").reshape(64, 64), phantom(bits=8)[1])


@pytest.mark.slow
def test_warps_are_those_of_the_whole_run(live, result):
    for frame in range(1, 6):
        warp = read_warp(ask(live, "warp", frame=frame, hyper=0.3))
        assert np.abs(warp - result.warp[frame - 1]).max() < 0.01  # a half float of a few pixels
    assert np.abs(result.warp).max() > 1


@pytest.mark.slow
def test_what_was_forgotten_is_found_again(live, monkeypatch):
    frames = (2, 3, 4, 2)
    expected = [ask(live, "warp", frame=frame, hyper=0.2).data for frame in frames]
    monkeypatch.setattr("angiomorph.registration.live_registration.KEPT_BYTES", 1)  # so that one warp is kept
    assert [ask(live, "warp", frame=frame, hyper=0.2).data for frame in frames] == expected


@pytest.mark.slow
def test_refined_warps_are_those_of_the_whole_run(model_path):
    how = replace(OPTIONS, hyper=0.3, guard=False, refine=2)
    whole, live = Model(model_path).register(series(phantom()), how), LiveRegistration(series(phantom()), model_path, how)
    refined, plain = (read_warp(ask(live, "warp", frame=3, hyper=0.3, refine=refine)) for refine in (1, 0))
    assert np.abs(refined - whole.warp[2]).max() < 0.01
    assert np.abs(refined - plain).max() > 0.05


def test_more_backgrounds_than_are_kept_stay_right(live):
    asked = ("1", "2", "3", "4", "5", "1,3", "1")  # more than are kept, and the first once more
    for background in asked:
        found = np.frombuffer(ask(live, "reference", background=background).data, "<f4").reshape(64, 64)
        chosen = [int(number) - 1 for number in background.split(",")]
        np.testing.assert_allclose(found, np.log(phantom()[chosen].astype(float)).mean(0), atol=1e-5)


def test_the_reference_is_the_background(live):
    reference = np.frombuffer(ask(live, "reference", background="1,2").data, "<f4").reshape(64, 64)
    assert np.allclose(reference, np.log(phantom()[:2].astype(float)).mean(0), atol=1e-5)


def test_levels_are_medians_of_plain_dsa(live):
    info = ask(live, "background").info
    logs = np.log(phantom().astype(float))
    assert info["levels"] == pytest.approx(np.median((logs - logs[0]).reshape(5, -1), axis=1), abs=1e-4)
    assert info["levels"][0] == 0
    assert (info["choice"], info["fullest"] > 2) == ("number", True)
    assert [dict(step) for step in info["steps"]] == [{"numbers": (1,), "frames": (1, 2, 3, 4, 5)}]


@pytest.mark.slow
def test_another_background_takes_its_place(live, model_path):
    info = ask(live, "background", background="2").info
    other = Model(model_path).register(series(phantom()), replace(OPTIONS, background="2", hyper=0.3, guard=False))
    warp = read_warp(ask(live, "warp", frame=4, hyper=0.3, background="2"))
    assert info["steps"][0]["numbers"] == (2,)
    assert np.abs(warp - other.warp[3]).max() < 0.01


@pytest.mark.slow
def test_weights_are_those_of_the_guard(model_path):
    """A run that sways keeps its warps, one that is still loses them; frames of other λ count for nothing."""
    frames = np.repeat(phantom()[:1], 5, 0)
    rng = np.random.default_rng(0)
    still = np.clip(frames + rng.normal(0, 8, frames.shape), 1, 4095).astype(np.uint16)
    live = LiveRegistration(series(still), model_path, OPTIONS)
    whole = Model(model_path).register(series(still), replace(OPTIONS, hyper=0.3))
    for frame in range(1, 5):
        ask(live, "warp", frame=frame, hyper=0.3)
    ask(live, "warp", frame=5, hyper=0.4)
    assert ask(live, "weights", hyper=0.3).info == {"weights": None, "missing": [5]}
    ask(live, "warp", frame=5, hyper=0.3)
    assert ask(live, "weights", hyper=0.3).info["weights"] == pytest.approx(whole.weights)


@pytest.mark.slow
def test_several_backgrounds_each_serve_their_frames(model_path):
    steps = (Step((1,), (1, 2)), Step((3,), (3, 4, 5)))
    run = series(phantom(), background_numbers=(1,), steps=steps)
    live = LiveRegistration(run, model_path, replace(OPTIONS, background="auto"))
    whole = Model(model_path).register(run, replace(OPTIONS, background="auto", hyper=0.3, guard=False))
    info = ask(live, "background").info
    assert [(step["numbers"], step["frames"]) for step in info["steps"]] == [((1,), (1, 2)), ((3,), (3, 4, 5))]
    assert np.abs(read_warp(ask(live, "warp", frame=5, hyper=0.3)) - whole.warp[4]).max() < 0.01


@pytest.mark.slow
def test_the_whole_run_is_saved_as_it_is_shown(live, model_path, tmp_path):
    answer = ask(live, "save", file="h5", hyper=0.3, background="2", guard=0)
    (tmp_path / "saved.h5").write_bytes(answer.data)
    arrays, attributes = read_arrays(tmp_path / "saved.h5")
    whole = Model(model_path).register(series(phantom()), replace(OPTIONS, background="2", hyper=0.3, guard=False))
    assert answer.info == {"name": "angiomorph_bsa.h5"}
    assert attributes["lambda"] == 0.3
    assert np.allclose(arrays["bsa"], whole.bsa, atol=1e-4)


def test_the_guard_may_wait(model_path):
    """A warp that was not judged is the same, and is judged when it is asked for again."""
    live = LiveRegistration(series(phantom()), model_path, OPTIONS)
    first = ask(live, "warp", frame=3, judge=0)
    assert 3 in ask(live, "weights").info["missing"]
    second = ask(live, "warp", frame=3)
    assert first.data == second.data
    assert 3 not in ask(live, "weights").info["missing"]


@pytest.mark.slow
@pytest.mark.parametrize("load", [str, Model], ids=["a path", "a model"])
def test_a_notebook_shows_a_run_live(model_path, monkeypatch, load):
    widget, sent = show(series(phantom()), load(model_path), OPTIONS), []
    monkeypatch.setattr(widget, "send", lambda message, buffers: sent.append((message, buffers)))
    widget._handle_custom_msg({"id": 1, "kind": "warp", "asked": {"frame": 2, "hyper": 0.5}}, [])
    ((message, (data,)),) = sent
    assert (message["info"], len(data)) == ({"rows": 64, "columns": 64}, 4 * 64 * 64)


def test_without_anywidget_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'angiomorph\[notebook\]'"):
        show(series(phantom()))


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("frame", {"frame": "6"}, r"`frame` 6: expected a number from 1 to 5"),
        ("frame", {}, r"`frame` : expected a number"),
        ("warp", {"frame": "1", "hyper": "2"}, r"`hyper` 2: expected a number from 0 to 1"),
        ("warp", {"frame": "1", "background": "6"}, r"`background` 6: expected frame numbers from 1 to 5"),
        ("reference", {"background": "../etc"}, r"`background` \.\./etc: expected frame numbers"),
        ("reference", {"background": "0"}, r"`background` 0: expected"),
        ("save", {"file": "dicom"}, r"`file` dicom: expected one of h5"),
        ("patient", {}, r"`patient`: expected a question"),
    ],
)
def test_questions_without_an_answer(live, kind, asked, said):
    with pytest.raises(InputError, match=said):
        live.answer(kind, asked)


def test_a_run_that_cannot_be_registered_is_still_shown(model_path):
    live = LiveRegistration(series(phantom()), model_path, RegistrationOptions(refine=0, background="9"))
    with pytest.raises(InputError, match=r"background"):
        ask(live, "background")
    state = ask(live, "state").info
    assert (state["ready"], "background" in state["failure"]) == (False, True)
    assert len(ask(live, "frame", frame=1).data) == 2 * 64 * 64


def test_the_network_comes_behind_the_page(model_path):
    live = LiveRegistration(series(phantom()), model_path, OPTIONS)
    assert not live.loading
    live.start()
    assert len(ask(live, "warp", frame=2).data) == 4 * 64 * 64
    assert ask(live, "state").info == {"ready": True, "failure": ""}


def test_a_shrunk_warp_is_the_mean_of_its_area():
    warp = np.random.default_rng(1).normal(size=(8, 12, 2)).astype(np.float32)
    assert np.allclose(shrink_warp(warp, 6), ndimage.uniform_filter(warp, (2, 2, 0), origin=(-1, -1, 0))[::2, ::2], atol=1e-6)
    assert shrink_warp(warp, 12) is warp
