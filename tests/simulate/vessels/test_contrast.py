import numpy as np
import pytest

from angiomorph.simulate.vessels.cloud import join_vessels, make_bodies
from angiomorph.simulate.vessels.contrast import DISPERSION, Bolus, draw_bolus, share_of_bolus

BOLI = [Bolus(1.0, 2.0, 0.2), Bolus(3.0, 1.5, 0.1, 3.0), draw_bolus(np.random.default_rng(4))]
TIME = np.arange(-2, 40, 0.002)


@pytest.mark.parametrize("bolus", BOLI)
@pytest.mark.parametrize("curve", ["concentration", "within", "behind"])
def test_all_that_is_injected_passes_every_point(bolus, curve):
    part = bolus.after().concentration(TIME) if curve == "behind" else getattr(bolus, curve)(TIME)
    assert part[TIME < 0].max() == 0
    assert 0 <= part.min() <= part.max() <= 1
    assert part.sum() * 0.002 == pytest.approx(bolus.duration, rel=2e-3)


def test_bolus_is_the_injection_smeared_by_the_gamma_variate():
    """Shape 2: g = t exp(-t/s) / s^2, whose integral is 1 - (1 + t/s) exp(-t/s)."""
    part = Bolus(duration=1.0, shape=2.0, scale=0.25).concentration(np.array((0.5, 1.5)))
    passed = [1 - (1 + t / 0.25) * np.exp(-t / 0.25) for t in (0.5, 1.5)]
    np.testing.assert_allclose(part, (passed[0], passed[1] - passed[0]), atol=1e-6)


@pytest.mark.parametrize("bolus", BOLI)
@pytest.mark.parametrize("behind", [False, True])
def test_capillaries_delay_and_disperse_by_what_they_say(bolus, behind):
    """Mean = duration / 2 + shape scale + m; variance = duration^2 / 12 + shape scale^2 + (0.45 m)^2, m = 0 or transit."""
    curve = (bolus.after() if behind else bolus).concentration(TIME)
    mean = (curve * TIME).sum() / curve.sum()
    variance = (curve * (TIME - mean) ** 2).sum() / curve.sum()
    extra = bolus.transit if behind else 0.0
    assert mean == pytest.approx(bolus.duration / 2 + bolus.shape * bolus.scale + extra, abs=0.01)
    expected = bolus.duration**2 / 12 + bolus.shape * bolus.scale**2 + (DISPERSION * extra) ** 2
    assert variance == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("bolus", BOLI)
def test_capillaries_hold_what_has_flowed_in_and_not_out(bolus):
    """At every time, with a trapezoidal sum of its own."""
    came, went = (np.cumsum(part.concentration(TIME)) * 0.002 for part in (bolus, bolus.after()))
    np.testing.assert_allclose(bolus.within(TIME) * bolus.transit, came - went, atol=2e-3)


def test_no_transit_leaves_the_bolus_as_it_comes():
    bolus = Bolus(1.0, 2.0, 0.2, transit=0.0)
    np.testing.assert_array_equal(bolus.within(TIME), bolus.concentration(TIME))


def three():
    """One body of each phase at the same place; the vein's blood is injected to two fifths."""
    place, one = np.zeros((1, 3)), np.ones(1)
    return join_vessels(
        [make_bodies(place, one, 1.0, np.array([0.7]), number, 0.4 if number == 2 else 1.0) for number in range(3)]
    )


@pytest.mark.slow
def test_each_phase_holds_its_share_of_what_was_injected():
    bolus, cloud = Bolus(1.0, 2.0, 0.2, 2.0), three()
    curves = np.array([share_of_bolus(bolus, cloud, time) for time in np.arange(0, 20, 0.01)])
    assert curves.dtype == np.float32
    np.testing.assert_allclose(curves.sum(axis=0) * 0.01, (1.0, 1.0, 0.4), rtol=2e-3)
    peaks = np.argmax(curves, axis=0) * 0.01
    assert 0.7 < peaks[0] < peaks[1] - 0.4 < peaks[2] - 0.8
    assert curves[:70].max() == 0
    assert curves[:, 0].max() > curves[:, 1].max() > curves[:, 2].max() / 0.4


def test_drawn_boli_are_plausible():
    for seed in range(30):
        bolus = draw_bolus(np.random.default_rng(seed))
        assert 0.8 <= bolus.duration <= 3
        assert 1.2 <= bolus.transit <= 3
        assert 0.05 < np.sqrt(bolus.shape) * bolus.scale < 0.45
