"""A registered run is shown by its own arrays."""

from dataclasses import fields, replace

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Background, Step
from angiomorph.registration.result import Registration
from angiomorph.registration.shown_result import ShownResult
from tests.runs import phantom, series


@pytest.fixture
def result():
    run = series(phantom((4, 16, 24)))
    logs = np.log(run.frames.astype(np.float32))
    rng = np.random.default_rng(0)
    moved = logs[:1] + rng.normal(0, 0.01, logs.shape).astype(np.float32)
    return Registration(
        series=run,
        bsa=logs - moved,
        dsa=logs - logs[:1],
        moved=moved,
        warp=rng.normal(size=(4, 16, 24, 2)).astype(np.float32),
        background=Background((1,), "number"),
        units="ln(intensity)",
        intensity="log",
        hyper=0.3,
        levels=1,
        rounds=0,
        refine=0,
        field=np.ones((16, 24), bool),
        weights=np.array([1, 1, 0.5, 0]),
        model_name="tiny",
    )


def show(result):
    return ShownResult(**{part.name: getattr(result, part.name) for part in fields(ShownResult)})


def test_all_questions_are_answered(result):
    shown = show(result)
    info = shown.answer("run", {}).info
    assert (info["hyper"], info["fixed"], info["remask"], info["scaled"], info["saves"]) == (0.3, True, False, True, [])
    assert np.array_equal(np.frombuffer(shown.answer("frame", {"frame": "2"}).data, "<u2"), result.series.frames[1].ravel())
    assert np.allclose(np.frombuffer(shown.answer("warp", {"frame": "4"}).data, "<f2"), result.warp[3].ravel(), atol=0.002)
    assert shown.answer("weights", {}).info["weights"] == [1, 1, 0.5, 0]
    assert shown.answer("state", {}).info["ready"]
    background = shown.answer("background", {})
    assert (background.info["choice"], background.info["levels"][0], len(background.data)) == ("number", 0, 16 * 24)
    assert background.info["levels"] == pytest.approx(np.median(result.dsa.reshape(4, -1), axis=1), abs=1e-5)


def test_each_background_is_the_one_that_was_subtracted(result):
    steps = (Step((1,), (1, 2)), Step((3,), (3, 4)))
    logs = result.bsa + result.moved
    dsa = logs - logs[[0, 0, 2, 2]]
    shown = show(replace(result, dsa=dsa, background=Background((1, 3), "tag", steps=steps)))
    reference = np.frombuffer(shown.answer("reference", {"background": "3"}).data, "<f4")
    assert np.allclose(reference, logs[2].ravel(), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "asked"), [("reference", {"background": "2"}), ("save", {"frame": "1"}), ("frame", {"frame": "5"})]
)
def test_what_it_does_not_have_is_refused(result, kind, asked):
    with pytest.raises(InputError, match=r"^`\w+`"):
        show(result).answer(kind, asked)


def test_a_notebook_gets_the_widget(result):
    bundle = result._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in (bundle[0] if isinstance(bundle, tuple) else bundle)


def test_without_anywidget_a_notebook_gets_the_picture_alone(result, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert result._repr_mimebundle_() == {}
    assert result._repr_png_().startswith(b"\x89PNG")
