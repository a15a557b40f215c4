from functools import cache

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.simulate.xray.spectrum import emit, find_coefficients, make_beam

# J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (NIST Standard Reference Database 126): keV, cm^2/g.
NIST = {
    "water": {20: 0.8096, 30: 0.3756, 40: 0.2683, 60: 0.2059, 80: 0.1837, 100: 0.1707},
    "bone": {20: 4.001, 30: 1.331, 40: 0.6655, 60: 0.3148, 80: 0.2229, 100: 0.1855},
    "iodine": {20: 25.43, 33.16: 6.55, 33.18: 35.8, 40: 22.10, 60: 7.579, 80: 3.510, 100: 1.942},
    "metal": {20: 25.68, 40: 3.629, 60: 1.205, 80: 0.5952, 100: 0.3717},
    "aluminium": {20: 3.441, 40: 0.5685, 60: 0.2778, 100: 0.1704},
    "anode": {20: 65.73, 40: 10.67, 60: 3.713, 100: 4.438},
    "copper": {20: 33.79, 40: 4.862, 60: 1.593, 100: 0.4584},
}
AIR = np.array(  # NIST: keV and mass energy-absorption coefficient of dry air, cm^2/g
    [(10, 4.742), (15, 1.334), (20, 0.5389), (30, 0.1537), (40, 0.06833), (50, 0.04098), (60, 0.03041), (80, 0.02407),
     (100, 0.02325), (150, 0.02496)]
)  # fmt: skip
BEAMS = [(60, 0.0), (60, 0.6), (70, 0.2), (80, 0.1), (100, 0.3), (125, 0.0), (125, 0.6)]
GRID = np.arange(8.025, 126, 0.1)


@cache
def tabulated(material):
    return np.log(find_coefficients(material, GRID))


def fine(material, energies):
    return np.exp(np.interp(energies, GRID, tabulated(material)))


def photons(energies, kv, copper):
    """Kramers behind 10 um of tungsten, 2.5 mm of aluminium and the copper, restated."""
    layers = {"anode": 0.0193, "aluminium": 0.67475, "copper": 0.896 * copper}
    return (kv / energies - 1) * np.exp(-sum(layer * fine(name, energies) for name, layer in layers.items()))


def transmission(kv, copper, paths):
    tube = make_beam(kv, copper)
    return np.sum(tube.weights * np.exp(-np.asarray(paths) @ tube.coefficients))


@pytest.mark.slow
@pytest.mark.parametrize("material", NIST)
def test_coefficients_are_those_of_nist(material):
    energies = np.array(list(NIST[material]), float)
    np.testing.assert_allclose(find_coefficients(material, energies), list(NIST[material].values()), rtol=0.02)
    at_60 = find_coefficients(material, np.array([60.0]))
    np.testing.assert_allclose(at_60, NIST[material][60], rtol=5e-3)


@pytest.mark.parametrize(("kv", "copper"), BEAMS)
def test_a_beam_is_a_distribution_below_its_voltage(kv, copper):
    tube = make_beam(kv, copper)
    assert tube.weights.sum() == pytest.approx(1)
    assert tube.weights.min() > 0
    assert np.all(np.diff(tube.energies) > 0)
    assert tube.energies[0] > 12
    assert tube.energies[-1] < kv == tube.kv
    assert tube.coefficients.shape == (4, len(tube.energies)) == (4, 12)
    with pytest.raises(ValueError, match="read-only"):
        tube.weights *= 2


@pytest.mark.parametrize(("kv", "copper"), BEAMS)
@pytest.mark.parametrize(
    "paths",
    [(0, 0, 0, 0), (5, 0, 0, 0), (20, 0, 0, 0), (20, 1.92, 0, 0), (20, 1.92, 0.05, 0), (20, 1.92, 0.2, 0), (15, 4, 0.1, 0.3),
     (30, 5, 0.02, 0)],
)  # fmt: skip
def test_few_energies_transmit_what_a_fine_grid_does(kv, copper, paths):
    """The grid of 0.1 keV stands for the integral; one of 1 keV is off by up to 0.8 % itself at iodine's edge."""
    energies = GRID[kv > GRID]
    signal = photons(energies, kv, copper) * energies * (1 - np.exp(-4.51 * 0.06 * fine("scintillator", energies)))
    depth = sum(path * fine(name, energies) for path, name in zip(paths, ("water", "bone", "iodine", "metal"), strict=True))
    exact = np.sum(signal * np.exp(-depth)) / np.sum(signal)
    assert transmission(kv, copper, paths) == pytest.approx(exact, rel=3e-3)


def test_photons_are_those_of_kramers_behind_filters():
    energies = GRID[::200]
    expected = np.where(energies < 80, photons(energies, 80, 0.2), 0)
    np.testing.assert_allclose(emit(energies, 80, 0.2), expected, rtol=1e-12)


def half_value_layer(kv, copper):
    energies = np.arange(10.25, kv, 0.5)
    absorbed = np.exp(np.interp(np.log(energies), np.log(AIR[:, 0]), np.log(AIR[:, 1])))
    kerma = photons(energies, kv, copper) * energies * absorbed
    thickness = np.arange(0, 15, 0.01)
    behind = np.exp(-0.2699 * thickness[:, None] * fine("aluminium", energies)) @ kerma
    return np.interp(0.5, (behind / behind[0])[::-1], thickness[::-1])


def test_half_value_layers_in_aluminium_are_those_of_such_tubes():
    """2.5 mm of aluminium leave 2.9 mm at 80 kV, which is also IEC 60601-1-3's least; copper hardens the beam."""
    layers = [half_value_layer(80, copper) for copper in (0.0, 0.1, 0.3)]
    assert layers[0] == pytest.approx(2.9, abs=0.2)
    assert 4 < layers[1] < 5
    assert 5.5 < layers[2] < 6.5
    assert half_value_layer(60, 0.0) < layers[0] < half_value_layer(120, 0.0)


def test_iodine_attenuates_less_at_higher_voltage():
    effective = [-np.log(transmission(kv, 0.2, (15, 2, 0.02, 0)) / transmission(kv, 0.2, (15, 2, 0, 0))) / 0.02 for kv in
                 (65, 75, 90, 110, 125)]  # fmt: skip
    assert np.all(np.diff(effective) < 0)
    assert effective[0] > 1.5 * effective[-1] > 7.5


def test_water_hardens_the_beam():
    """The effective attenuation of the next centimetre falls, towards that of the spectrum's hard end."""
    depths = np.arange(0, 31)
    layers = -np.diff(np.log([transmission(80, 0.0, (depth, 0, 0, 0)) for depth in depths]))
    assert np.all(np.diff(layers) < 0)
    assert layers[0] == pytest.approx(0.3, abs=0.06)
    assert layers[-1] > find_coefficients("water", np.array([80.0]))[0]


@pytest.mark.parametrize(("kv", "copper"), [(50, 0.1), (140, 0.1), (80, -0.1), (80, 0.9)])
def test_other_beams_are_refused(kv, copper):
    with pytest.raises(InputError, match="kV"):
        make_beam(kv, copper)
