"""Validation: the objective on fixed pairs restated in NumPy, figures of merit, the pictures, and what cannot be done."""

import dataclasses
import json
import math

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.cli import main
from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.find import find_runs, sort_out
from angiomorph.evaluation.score import Score
from angiomorph.networks.losses import MSE, Truth, contrast_error, iodine, local_contrast_error
from angiomorph.networks.warp import warp_frames
from angiomorph.storage import store
from angiomorph.training.config import Augmentation, Sampling
from angiomorph.training.draws import draw_fixed_pairs
from angiomorph.training.held_out import read_held_out
from angiomorph.training.source import Source
from angiomorph.training.validation import FIGURES, LAMBDAS, PAIRS, Measured, Validation
from tests.benchmarks.made import make_run
from tests.runs import SIZE, TINY, phantom

pytestmark = pytest.mark.slow

SAMPLING = Sampling(batch_size=3, size=SIZE)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "held-out.h5"
    with store.create(path) as file:
        for run in range(4):
            store.append(file, f"run-{run}", store.StoredRun(phantom(seed=run), "LIN", 12))
    return path


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(4)
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    networks.initialise(network, flow_sigma=2.0)
    return network


def measured(archive, model, sampling):
    with Source([archive], sampling) as source:
        return Validation(source, {}, model, MSE(image_sigma=0.3), sampling).measure(7)


def test_the_losses_are_equation_one_at_each_lambda(archive, model):
    found = measured(archive, model, SAMPLING).history()
    with Source([archive], SAMPLING) as source:
        validation = Validation(source, {}, model, MSE(image_sigma=0.3), SAMPLING)
        pairs = [source.read(draw) for draw in validation.draws]
    moving, fixed = (np.concatenate([getattr(pair, name) for pair in pairs])[..., None] for name in ("moving", "fixed"))
    assert len(moving) == 4 * PAIRS
    expected = []
    for hyper in LAMBDAS:
        moved, flow = model.predict([moving, fixed, np.full((len(moving), 1), hyper)], verbose=0)
        similarity = ((moved - fixed) ** 2).mean() / 0.09
        # voxelmorph's Grad('l2'): mean over the two axes of the mean squared difference, half of their sum
        smoothness = ((np.diff(flow, axis=1) ** 2).mean() + (np.diff(flow, axis=2) ** 2).mean()) / 2
        expected.append((1 - hyper) * similarity + hyper * smoothness)
    np.testing.assert_allclose([found[f"val_loss_{hyper:g}"] for hyper in LAMBDAS], expected, rtol=1e-3)
    assert found["val_loss"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert len(set(found.values())) > len(LAMBDAS)


def test_the_pairs_depend_on_no_option_of_the_training(archive, model):
    first = measured(archive, model, SAMPLING).history()
    varied = Augmentation(flip=1.0, rotate=90.0, noise=0.1)
    other = measured(
        archive, model, Sampling(batch_size=2, size=SIZE, seed=9, frames_per_series=7, augmentation=varied)
    ).history()
    assert first == pytest.approx(other, rel=1e-4)


def test_examples_show_background_contrast_dsa_and_bsa(archive, model):
    with Source([archive], SAMPLING) as source:
        validation = Validation(source, {}, model, MSE(), SAMPLING)
        shown = validation.examples(0.5)
        pairs = source.read(validation.draws[0])
    assert shown.shape == (3, SIZE, 4 * SIZE, 1)
    assert (shown.min(), shown.max()) == (0, 1)
    background, contrast, dsa, bsa = np.split(shown[0, ..., 0], 4, axis=1)
    np.testing.assert_array_equal(background, pairs.moving[0])
    np.testing.assert_array_equal(contrast, pairs.fixed[0])
    inside = (dsa > 0) & (dsa < 1)
    slope, offset = np.polyfit((contrast - background)[inside], dsa[inside], 1)
    assert slope > 0
    moved = model.predict([background[None, ..., None], contrast[None, ..., None], np.array([[0.5]])], verbose=0)[0][0, ..., 0]
    np.testing.assert_allclose(bsa, np.clip(slope * (contrast - moved) + offset, 0, 1), atol=1e-3)


def test_unreadable_runs_are_left_out(archive, model, caplog):
    whole = measured(archive, model, SAMPLING).history()
    with Source([archive], SAMPLING) as source:
        source.runs[2].read = lambda indices: (_ for _ in ()).throw(OSError("filter returned failure"))
        found = Validation(source, {}, model, MSE(image_sigma=0.3), SAMPLING).measure(7).history()
        assert source.left_out == {2}
    assert caplog.text.count("is left out") == 1
    assert found["val_loss"] != whole["val_loss"]


def test_a_warp_that_is_not_a_number_is_told(archive):
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    with pytest.raises(InputError, match="validation at λ 0: expected finite warps"):
        measured(archive, network, SAMPLING)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return a folder with two runs that move, a still one, and one without truth."""
    folder = tmp_path_factory.mktemp("simulated")
    for seed, (name, shift) in enumerate({"a": (3, -2), "b": (2, 1), "still": (0, 0), "real": (1, 1)}.items()):
        make_run(folder / f"{name}.dcm", shift, seed)
    (folder / "real_truth.h5").unlink()
    return folder


def test_figures_are_those_of_evaluate_as_training_goes_on(simulated, tmp_path):
    # A network of another size than the runs', which are registered by a copy of it that has to follow.
    sampling = Sampling(size=96)
    network = networks.AngioMorph((96, 96), **TINY)
    network.metadata.update(size=96, intensity="auto", image_loss="mse")
    networks.initialise(network, flow_sigma=2.0)
    validation = Validation(None, find_runs([str(simulated)]), network, MSE(), sampling)
    assert validation.moving == 2
    before = validation.measure(1).rows()
    network.set_weights([0.9 * weights for weights in network.get_weights()])
    after = validation.measure(2).rows()
    networks.save(network, tmp_path / "model.h5")
    chosen = ["--lambda", *map(str, LAMBDAS), "--refine", "0", "--no-guard", "--quiet", "--out", str(tmp_path)]
    assert main(["evaluate", str(simulated), "--model", str(tmp_path / "model.h5"), *chosen]) == 0
    lines = json.loads((tmp_path / "evaluation.json").read_text())["lines"]
    for row, earlier, line in zip(after, before, lines, strict=True):
        assert line["method"] == f"model, λ {row['lambda']:.2f}"
        for name, (kinds, figure) in FIGURES.items():
            if len(kinds) == 1 and figure != "cost":
                assert row[name] == pytest.approx(line[kinds[0]][figure]["mean"], rel=1e-4, abs=1e-6), name
        folding = [line[kind]["folding"]["mean"] * count for kind, count in (("moving", 2), ("still", 1), ("real", 1))]
        assert row["folding"] == pytest.approx(sum(folding) / 4, abs=1e-6)
        assert row["artefact_left"] != pytest.approx(earlier["artefact_left"], rel=1e-3)


def test_the_cost_is_that_of_the_best_lambda():
    def entry(hyper, *figures):
        names = [part.name for part in dataclasses.fields(Score)]
        unknown = dict.fromkeys(names, math.nan)
        moving = [Score(**unknown | {"rmse": 1.0, "artefact_left": a, "contrast_kept": c}) for a, c in figures]
        still = Score(**unknown | {"rmse": 1.0, "harm": 0.0, "contrast_kept": 0.0})
        return Entry("step 3", "vle", hyper, dict(enumerate([*moving, still])))

    found = Measured(3, (4.0, 2.0), (entry(0.0, (0.1, 0.5), (0.3, 1.0)), entry(0.25, (0.5, 1.2), (0.1, 1.0))))
    # (0.1 + 0.25 + 0.3) / 2 and (0.5 + 0.04 + 0.1) / 2
    assert found.find_cost("artefact") == pytest.approx(0.32)
    assert [row["cost"] for row in found.rows()] == pytest.approx([0.325, 0.32])
    assert [row["edge_left"] for row in found.rows()] == ["", ""]


def test_a_dicom_run_is_judged_like_the_same_run_stored(simulated, model, tmp_path):
    run = read_series(simulated / "real.dcm")
    with store.create(tmp_path / "same.h5") as file:
        store.append(file, "run-1", store.StoredRun(run.frames, "LIN", 12, (1, 2)))
    stores, files = sort_out([simulated / "real.dcm", tmp_path / "same.h5"])
    assert (stores, list(files)) == ([tmp_path / "same.h5"], ["real"])
    model.metadata.update(size=SIZE)
    with Source(stores, SAMPLING) as source:
        stored, both = (Validation(source, part, model, MSE(), SAMPLING) for part in ({}, files))
        first, second = stored.measure(0), both.measure(0)
        assert list(second.entries[0].scores) == ["1: run-1 of same.h5", "real"]
        assert len(both.examples(0.5)) == 2
        np.testing.assert_allclose(*both.examples(0.5), atol=1e-5)
    alone = Validation(None, files, model, MSE(), SAMPLING).measure(0)
    assert first.history() == pytest.approx(alone.history(), rel=1e-5)
    assert first.history() == pytest.approx(second.history(), rel=1e-5)
    for one, other in zip(first.rows(), alone.rows(), strict=True):
        assert one["edge_left"] == pytest.approx(other["edge_left"], rel=1e-5)
        assert one["artefact_left"] == other["artefact_left"] == ""


def test_a_run_that_is_gone_is_named(simulated, model, tmp_path):
    path = tmp_path / "gone.dcm"
    path.write_bytes((simulated / "real.dcm").read_bytes())
    validation = Validation(None, find_runs([str(path)]), model, MSE(), SAMPLING)
    path.unlink()
    with pytest.raises(InputError, match=r"gone\.dcm"):
        validation.measure(1)


def test_no_more_runs_than_stated_are_scored_and_that_is_said(simulated, model, caplog, monkeypatch):
    monkeypatch.setattr("angiomorph.training.validation.SCORED", 1)
    found = Validation(None, find_runs([str(simulated)]), model, MSE(), SAMPLING)
    assert list(found.files) == ["a"]
    assert "validation: of 4 DICOM runs the first 1 are scored" in caplog.text


def test_scalars_and_the_picture_show_what_the_runs_have(simulated, model):
    measured = Validation(None, find_runs([str(simulated / "still.dcm")]), model, MSE(), SAMPLING).measure(500)
    scalars = measured.scalars()
    assert {name for name in scalars if "/" in name} == {
        f"{name}/{hyper:g}" for name in ("harm", "still_contrast_kept", "folding") for hyper in LAMBDAS
    }
    assert scalars["harm/0.5"] == measured.rows()[2]["harm"]
    picture = measured.picture()
    assert (picture.shape[0], picture.shape[3], picture.dtype) == (1, 3, np.uint8)
    green = np.array([0x00, 0x9E, 0x73])
    assert np.sum(np.abs(picture.astype(int) - green).max(-1) < 5) > 100


@pytest.mark.parametrize("contrast_weight", [0.0, 5.0])
def test_truth_is_judged_by_the_clean_frames_moved(simulated, model, contrast_weight):
    similarity = Truth(image_sigma=0.3, contrast_weight=contrast_weight)
    files = find_runs([str(simulated / "a.dcm")])
    found = Validation(None, files, model, similarity, SAMPLING).measure(0).history()
    run, sampling = read_held_out("a", files["a"], "auto"), dataclasses.replace(SAMPLING, frames_per_series=PAIRS)
    draws = draw_fixed_pairs(0, len(run.seen.frames), run.seen.background.numbers, sampling)
    pairs = [run.read(draw, SIZE) for draw in draws]
    moving, fixed = (np.concatenate([getattr(pair, name) for pair in pairs])[..., None] for name in ("moving", "fixed"))
    clean, target = (np.concatenate([pair.clean[which] for pair in pairs]) for which in (0, 1))
    vessel = iodine(target[..., None], fixed).numpy()
    assert (vessel < 0).any()
    for hyper in LAMBDAS:
        flow = model.predict([moving, fixed, np.full((len(moving), 1), hyper)], verbose=0)[1]
        error = warp_frames(clean, flow).numpy() - target
        smoothness = (np.diff(flow, axis=1) ** 2).mean() / 2 + (np.diff(flow, axis=2) ** 2).mean() / 2
        error -= error.mean(axis=(1, 2), keepdims=True)
        lost = sum(each(error[..., None], vessel).numpy() for each in (contrast_error, local_contrast_error))
        expected = (1 - hyper) * ((error**2).mean(axis=(1, 2)) + contrast_weight * lost).mean() / 0.09 + hyper * smoothness
        assert found[f"val_loss_{hyper:g}"] == pytest.approx(expected, rel=1e-3)


def test_truth_needs_runs_with_truth(simulated, model):
    with pytest.raises(InputError, match="real: expected a simulated run"):
        Validation(None, find_runs([str(simulated / "real.dcm")]), model, Truth(), SAMPLING)
