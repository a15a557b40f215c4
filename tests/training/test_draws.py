"""Which frames and which λ: their distributions by hand, and the values that a seed has always given."""

import numpy as np
import pytest

from angiomorph.training.config import Sampling
from angiomorph.training.draws import Draw, draw_fixed_pairs, draw_hyper, draw_pairs
from angiomorph.training.source import Source


def test_frames_are_drawn_with_replacement_and_uniformly():
    rng = np.random.default_rng(0)
    contrast, background = draw_pairs(rng, 10, (), Sampling(frames_per_series=7000))
    assert set(background) == {0, 1, 2}
    counts = np.bincount(contrast, minlength=10)
    assert counts[:3].sum() == 0
    # 1000 expected in each of seven: five standard deviations of a binomial are 146
    assert np.abs(counts[3:] - 1000).max() < 146


def test_named_background_frames_are_never_contrast():
    contrast, background = draw_pairs(np.random.default_rng(0), 6, (2, 5), Sampling(frames_per_series=200))
    assert set(background) == {1, 4}
    assert set(contrast) == {0, 2, 3, 5}


@pytest.mark.parametrize("frames", [2, 3])
def test_short_runs_keep_a_contrast_frame(frames):
    contrast, background = draw_pairs(np.random.default_rng(0), frames, (), Sampling(frames_per_series=50))
    assert set(contrast) == {frames - 1}
    assert set(background) == set(range(frames - 1))


@pytest.mark.slow
def test_lambda_is_uniform_with_its_ends_oversampled_as_asked():
    rng = np.random.default_rng(0)
    hypers = np.array([draw_hyper(rng, Sampling(oversample_rate=0.2)) for _ in range(10000)])
    # 10 % expected at each end: five standard deviations are 1.5 %
    assert abs((hypers == 0).mean() - 0.1) < 0.015
    assert abs((hypers == 1).mean() - 0.1) < 0.015
    inside = hypers[(hypers > 0) & (hypers < 1)]
    assert np.abs(np.histogram(inside, 10, (0, 1))[0] / inside.size - 0.1).max() < 0.02


@pytest.mark.parametrize("lambda_sampling", ["ends", "uniform", "beta"])
def test_lambda_is_never_an_end_unless_asked(lambda_sampling):
    rng, sampling = np.random.default_rng(0), Sampling(lambda_sampling=lambda_sampling)
    assert not {0.0, 1.0} & {draw_hyper(rng, sampling) for _ in range(1000)}


@pytest.mark.slow
def test_lambda_of_the_beta_distribution_has_its_moments():
    rng = np.random.default_rng(0)
    hypers = np.array([draw_hyper(rng, Sampling(lambda_sampling="beta")) for _ in range(10000)])
    # Beta(2, 2): mean 1/2, variance 1/20, P(λ < 0.1) = 3 * 0.1² - 2 * 0.1³ = 0.028
    assert hypers.mean() == pytest.approx(0.5, abs=0.012)
    assert hypers.var() == pytest.approx(0.05, abs=0.003)
    assert (hypers < 0.1).mean() == pytest.approx(0.028, abs=0.009)


# Of a store of three runs of six frames: step, λ, and of each run its number, background and contrast indices.
KNOWN = [
    ({}, 0, 0.9127555772777217, [(2, [0, 0], [5, 4])]),
    ({}, 7, 0.00030824035715149023, [(2, [0, 2], [5, 4])]),
    ({}, 1000, 0.021030108761989075, [(0, [2, 1], [4, 5])]),
    ({"oversample_rate": 0.5, "seed": 3}, 0, 0.0, [(2, [0, 2], [5, 3])]),
    ({"oversample_rate": 0.5, "seed": 3}, 7, 1.0, [(0, [0, 1], [4, 4])]),
    ({"oversample_rate": 0.5, "seed": 3}, 1000, 0.0, [(2, [1, 0], [3, 5])]),
    ({"lambda_sampling": "beta", "frames_per_series": 5}, 0, 0.40407592023783057, [(2, [0, 0], [5, 4])]),
    ({"lambda_sampling": "beta", "frames_per_series": 5}, 2, 0.611654542982001, [(2, [2], [3])]),
    ({"lambda_sampling": "beta", "frames_per_series": 5}, 7, 0.16240970396479049, [(1, [2, 1], [4, 4])]),
    ({"lambda_sampling": "beta", "frames_per_series": 5}, 1000, 0.5753123439187751, [(1, [1, 2], [3, 3])]),
    ({"lambda_sampling": "uniform", "seed": 7}, 0, 0.30016628491122543, [(0, [1, 2], [5, 4])]),
    ({"lambda_sampling": "uniform", "seed": 7}, 7, 0.5017284715028505, [(0, [0, 0], [5, 3])]),
    ({"lambda_sampling": "uniform", "seed": 7}, 1000, 0.6170472419467586, [(1, [2, 0], [5, 3])]),
    (
        {"batch_size": 4, "series_per_batch": 2, "oversample_rate": 0.3, "seed": 1},
        0,
        0.42332644897257565,
        [(0, [0, 0], [4, 4]), (1, [2, 2], [5, 5])],
    ),
    (
        {"batch_size": 4, "series_per_batch": 2, "oversample_rate": 0.3, "seed": 1},
        7,
        0.0,
        [(0, [0, 0], [5, 4]), (1, [2, 0], [4, 3])],
    ),
    (
        {"batch_size": 4, "series_per_batch": 2, "oversample_rate": 0.3, "seed": 1},
        1000,
        0.0,
        [(2, [0, 1], [5, 3]), (0, [0, 2], [4, 3])],
    ),
]


@pytest.mark.parametrize(("options", "step", "hyper", "draws"), KNOWN)
def test_a_seed_draws_what_it_has_always_drawn(archive, options, step, hyper, draws):
    with Source([archive], Sampling(**{"frames_per_series": 4, "batch_size": 2, "size": 16} | options)) as source:
        found = source.draw_step(step)
        assert source.batch(step).hyper == found.hyper == hyper
    assert [(draw.run, draw.background.tolist(), draw.contrast.tolist()) for draw in found.draws] == draws


def test_the_shares_of_a_draw_are_its_equal_slices():
    draw = Draw(1, np.array([0, 1, 2, 0]), np.array([5, 4, 3, 6]))
    parts = [draw.part(index, 2) for index in range(2)]
    assert [(part.run, part.background.tolist(), part.contrast.tolist()) for part in parts] == [
        (1, [0, 1], [5, 4]),
        (1, [2, 0], [3, 6]),
    ]


@pytest.mark.parametrize("run", [0, 3])
def test_fixed_pairs_depend_on_the_run_and_no_seed(run):
    options = {"frames_per_series": 4, "batch_size": 3}
    one, two = (list(draw_fixed_pairs(run, 9, (), Sampling(**options, seed=seed))) for seed in (0, 9))
    other = list(draw_fixed_pairs(run + 1, 9, (), Sampling(**options)))
    assert [len(draw.contrast) for draw in one] == [3, 1]
    np.testing.assert_array_equal(one[0].contrast, two[0].contrast)
    np.testing.assert_array_equal(one[0].background, two[0].background)
    assert one[0].contrast.tolist() != other[0].contrast.tolist() or one[1].contrast.tolist() != other[1].contrast.tolist()
