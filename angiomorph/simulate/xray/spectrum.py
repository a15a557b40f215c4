"""The X-ray beam: a tungsten tube's spectrum as the detector weighs it, and what attenuates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from angiomorph.errors import InputError
from angiomorph.simulate.extra import import_extra

MATERIALS = ("water", "bone", "iodine", "metal")  # order of `Beam.coefficients` and of every stack of paths
KV = (60.0, 125.0)  # tube voltages of angiography; the quadrature is exact enough between them
COPPER = (0.0, 0.6)  # mm

COMPOSITION: Mapping[str, Mapping[str, float]] = {  # mass fractions
    "water": {"H": 0.1119, "O": 0.8881},
    "bone": {
        "H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103, "S": 0.003, "Ca": 0.225,
    },
    "iodine": {"I": 1.0},
    "metal": {"Fe": 1.0},
    "anode": {"W": 1.0},
    "aluminium": {"Al": 1.0},
    "copper": {"Cu": 1.0},
    "scintillator": {"Cs": 0.5115, "I": 0.4885},
}  # fmt: skip
ANODE = 0.001 * 19.3  # g/cm^2 of 10 um of tungsten on the way out of the anode; gives half-value layers of real tubes
ALUMINIUM = 0.25 * 2.699  # g/cm^2 of the tube's own 2.5 mm
COPPER_DENSITY = 8.96  # g/cm^3
SCINTILLATOR = 0.06 * 4.51  # g/cm^2 of 0.6 mm caesium iodide

LOWEST = 12.0  # keV; the filter leaves nothing below
EDGES = 33.169, 35.985, 69.525  # keV, K edges of iodine, caesium and tungsten, where the integrand jumps
NODES = 4, 1, 4, 3  # Gauss-Legendre, below, between and above them


@dataclass(frozen=True, eq=False)
class Beam:
    """A beam as the detector weighs it: `transmission = sum_E weights[E] exp(-sum_m coefficients[m, E] path[m])`.

    Args:
        kv: KVP, peak tube voltage, kV.
        energies: `(E,)` keV, increasing.
        weights: `(E,)` share of the open beam's signal, sum 1.
        coefficients: `(4, E)` mass attenuation coefficients of water, bone, iodine and metal, cm^2/g.
    """

    kv: float
    energies: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray


@cache
def make_beam(kv: float, copper_mm: float) -> Beam:
    """Return a beam as 12 energies, by Gauss-Legendre quadrature between the K edges of iodine, caesium and tungsten.

    With the photons N(E) of `emit` the signal is that of a caesium iodide screen of 0.6 mm that integrates energy:
    `weights(E) ~ N(E) E (1 - exp(-mu_CsI(E) d))`. The error is below 0.3 % of any transmission of a patient.

    Args:
        kv: peak tube voltage, 60..125 kV.
        copper_mm: of added filtration, 0..0.6 mm.

    Returns:
        the beam, attenuated by liquid water, cortical bone (ICRU-44), iodine, and iron for metal (stainless steel).

    Raises:
        InputError: a voltage or filter outside these ranges.

    Source: coefficients with coherent scattering after W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63
    (2002) 121-128, from the package xraydb.
    """
    if not (KV[0] <= kv <= KV[1] and COPPER[0] <= copper_mm <= COPPER[1]):
        raise InputError(
            f"`kv`, `copper_mm`: expected {KV[0]:g}..{KV[1]:g} kV behind {COPPER[0]:g}..{COPPER[1]:g} mm of copper, "
            f"found {kv:g} kV, {copper_mm:g} mm; choose values of an angiography suite"
        )
    energies, lengths = _nodes(kv)
    stopped = 1 - np.exp(-SCINTILLATOR * find_coefficients("scintillator", energies))
    weights = lengths * emit(energies, kv, copper_mm) * energies * stopped
    coefficients = np.stack([find_coefficients(material, energies) for material in MATERIALS])
    weights /= weights.sum()
    for array in (energies, weights, coefficients):
        array.flags.writeable = False  # every caller is given the same beam
    return Beam(kv, energies, weights, coefficients)


def emit(energies: np.ndarray, kv: float, copper_mm: float) -> np.ndarray:
    """Photons per keV by Kramers' law behind 10 um of anode and the filters: `(kv / E - 1) exp(-sum_f mu_f(E) d_f)`.

    Args:
        energies: `(E,)` keV, 1..150.
        kv: peak tube voltage, kV.
        copper_mm: of filtration added to 2.5 mm of aluminium, mm.

    Returns:
        `(E,)`, in one arbitrary unit; 0 from kv on.

    Source: H. A. Kramers, Phil. Mag. 46 (1923) 836-871; the characteristic lines are left out.
    """
    thickness = {"anode": ANODE, "aluminium": ALUMINIUM, "copper": COPPER_DENSITY * copper_mm / 10}
    depth = sum(thickness[name] * find_coefficients(name, energies) for name in thickness)
    return np.maximum(kv / np.asarray(energies) - 1, 0) * np.exp(-depth)


def find_coefficients(material: str, energies: np.ndarray) -> np.ndarray:
    """Mass attenuation coefficient, coherent scattering included.

    Args:
        material: of `COMPOSITION`.
        energies: `(E,)` keV, 1..150.

    Returns:
        `(E,)` cm^2/g.
    """
    electronvolts = 1000 * np.asarray(energies, np.float64)
    xraydb = import_extra("xraydb")
    return np.sum([share * xraydb.mu_elam(element, electronvolts) for element, share in COMPOSITION[material].items()], axis=0)


def _nodes(kv: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies and the lengths that they stand for, keV; below tungsten's edge its nodes serve the interval before it."""
    beyond = kv > EDGES[-1]
    edges = [LOWEST, *EDGES, kv] if beyond else [LOWEST, *EDGES[:-1], kv]
    counts = [*NODES] if beyond else [*NODES[:-2], sum(NODES[-2:])]
    energies, lengths = [], []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        node, weight = np.polynomial.legendre.leggauss(count)
        energies.append((low + high) / 2 + (high - low) / 2 * node)
        lengths.append((high - low) / 2 * weight)
    return np.concatenate(energies), np.concatenate(lengths)
