"""A run at many λ: each as a registration there, and its files."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from angiomorph.errors import InputError
from angiomorph.metrics.against_truth import bright_residue
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions, SweepOptions
from angiomorph.registration.sweep import sweep
from angiomorph.registration.sweep_files import draw_montage, write_sweep
from tests.runs import phantom, save_tiny_model, series

pytestmark = pytest.mark.slow
ALONE = RegistrationOptions(background="1-2", refine=0)
MANY = SweepOptions(hypers=(1, 0, 0.5), frames=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.fixture(scope="module")
def run():
    frames = phantom((8, 64, 64))
    frames[5] = (frames[5] * 0.8).astype(frames.dtype)  # exposure is no iodine
    frames[6, :, 10:20] //= 2
    return series(frames)


@pytest.fixture(scope="module")
def swept(model, run):
    return sweep(run, model, ALONE, MANY)


def test_each_lambda_is_what_a_registration_there_gives(swept, model, run):
    assert swept.hypers == (0, 0.5, 1)
    assert (swept.key_frame, swept.frames) == (7, (3, 7))  # the fullest takes the place of the last
    for hyper, bsa in zip(swept.hypers, swept.bsa, strict=True):
        whole = model.register(run, replace(ALONE, hyper=hyper, guard=False))
        np.testing.assert_allclose(bsa, whole.bsa[6], atol=1e-5)
        np.testing.assert_array_equal(swept.dsa, whole.dsa[6])
        figures = next(each for each in swept.figures if (each.hyper, each.frame) == (hyper, 7))
        assert figures.residue == pytest.approx(bright_residue(whole.bsa[6:7], whole.field), rel=1e-3)
        assert figures.residue_left == pytest.approx(figures.residue / figures.residue_dsa)
        assert figures.largest_shift == pytest.approx(whole.frame_figures[6].largest_shift, rel=1e-4)
        assert figures.folding == pytest.approx(whole.frame_figures[6].folding, abs=1e-3)
    assert np.abs(swept.bsa[0] - swept.bsa[2]).max() > 0.01


def test_figures_come_by_lambda_and_frame(swept):
    table = swept.table("residue")
    assert table.shape == (3, 2)
    assert [(each.hyper, each.frame) for each in swept.figures] == [(h, f) for h in (0, 0.5, 1) for f in (3, 7)]
    np.testing.assert_allclose(swept.medians("residue"), table.mean(1))
    unknown = replace(swept, figures=tuple(replace(each, edge_left=math.nan) for each in swept.figures))
    assert np.isnan(unknown.medians("edge_left")).all()
    assert swept.suggestion.hyper in (*swept.hypers, swept.own)


def test_progress_and_frames_evenly_behind_the_background(model, run):
    told = []
    found = sweep(run, model, ALONE, SweepOptions(hypers=(0.5,), frames=99), lambda *given: told.append(given))
    assert found.frames == (3, 4, 5, 6, 7, 8)
    assert told == [(count, 6) for count in range(1, 7)]


def test_files_say_what_the_sweep_says(swept, tmp_path):
    paths = write_sweep(tmp_path / "new" / "run", swept)
    assert [path.name for path in paths] == ["run_sweep.png", "run_sweep_curves.png", "run_sweep.csv"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    with paths[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["residue_left"]) for row in rows] == [each.residue_left for each in swept.figures]
    assert [(float(row["hyper"]), int(row["frame"])) for row in rows][:2] == [(0, 3), (0, 7)]
    assert imread(paths[0]).shape[:2] == (64 + 36, 4 * 64 + 3 * 4)  # a row of four, a caption above it
    assert imread(paths[1]).std() > 0


def test_the_montage_has_one_window_and_says_lambda(swept):
    ((*panels,),) = draw_montage(swept)
    assert len({panel.window for panel in panels}) == 1
    assert panels[0].title == "plain DSA, frame 7"
    assert [panel.title.split(",")[0] for panel in panels[1:]] == ["λ 0", "λ 0.5", "λ 1"]
    np.testing.assert_allclose(panels[2].image, swept.bsa[1] - np.median(swept.bsa[1]), atol=1e-6)
    own = draw_montage(replace(swept, own=0.5))[0][2].title
    assert "the model's own" in own


def test_a_baked_model_is_refused(model, run, monkeypatch):
    monkeypatch.setattr(model, "defaults", replace(model.defaults, baked=True))
    with pytest.raises(InputError, match=r"expected a model for all λ, found one that was baked at 0\.6"):
        sweep(run, model, ALONE, MANY)
