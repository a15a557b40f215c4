"""Compare simulated frames with a real angiogram in range, noise, texture and vessel contrast.

    python -m benchmarks.simulator.realism REAL.dcm SIMULATED...

prints one row for the real frame and the median and range over the simulated runs (each run's fullest frame), all reduced to
about 512 pixels by means of whole blocks and taken in ln of the stored value.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
from scipy import ndimage

from angiomorph.preprocessing.noise import cancel_structure, robust_deviation
from angiomorph.preprocessing.resizing import average_blocks
from angiomorph.storage.truth import read_truth, truth_path
from benchmarks.peers.runs import run_paths

SIZE = 512
MEASURES = {
    "range": "ln of the 99th over the 1st percentile",
    "noise dark": "standard deviation of noise, ln units, where the frame is darkest (a third of its pixels)",
    "noise bright": "the same where it is brightest",
    "noise correlation": "of neighbouring pixels, after what varies slowly is taken away",
    "texture": "slope of the power spectrum from 0.02 to 0.2 cycles a pixel",
    "vessel contrast": "99th percentile of the black top-hat of 15 pixels, ln units",
    "vessel share": "of pixels whose top-hat is above 0.05",
}


def measures(frame: np.ndarray, field: np.ndarray) -> dict[str, float]:
    """Return the measures of one frame.

    Args:
        frame: `(H, W)` ln of stored values.
        field: `(H, W)` bool, the exposed field.
    """
    inside = ndimage.binary_erosion(field, iterations=8, border_value=1)
    low, high = np.percentile(frame[inside], [1, 99])
    fine = frame - ndimage.gaussian_filter(frame, 1.5)
    dark = inside & (frame < np.percentile(frame[inside], 33))
    bright = inside & (frame > np.percentile(frame[inside], 67))
    noise = cancel_structure(frame)
    # What neighbours share of a fine residual, where no structure stands out of the noise.
    quiet = inside & (np.abs(fine) < 3 * np.median(np.abs(fine[inside])))
    pair = quiet[:, 1:] & quiet[:, :-1]
    tophat = ndimage.black_tophat(ndimage.gaussian_filter(frame, 1), size=15)
    return {
        "range": float(high - low),
        "noise dark": _deviation(noise[dark]),
        "noise bright": _deviation(noise[bright]),
        "noise correlation": float(np.corrcoef(fine[:, 1:][pair], fine[:, :-1][pair])[0, 1]),
        "texture": _slope(frame, inside),
        "vessel contrast": float(np.percentile(tophat[inside], 99)),
        "vessel share": float(np.mean(tophat[inside] > 0.05)),
    }


def _deviation(values: np.ndarray) -> float:
    return robust_deviation(values - np.median(values))


def _slope(frame: np.ndarray, inside: np.ndarray) -> float:
    """Slope of the radial power spectrum of the largest square within the field, both axes logarithmic."""
    reach = ndimage.distance_transform_cdt(np.pad(inside, 1), metric="chessboard")[1:-1, 1:-1]
    centre, half = np.unravel_index(np.argmax(reach), reach.shape), int(reach.max()) - 1
    square = frame[centre[0] - half : centre[0] + half, centre[1] - half : centre[1] + half]
    window = np.hanning(2 * half)
    power = np.abs(np.fft.fft2((square - square.mean()) * window * window[:, None])) ** 2
    frequency = np.hypot(np.fft.fftfreq(2 * half)[:, None], np.fft.fftfreq(2 * half))
    edges = np.geomspace(0.02, 0.2, 13)
    bins = [np.log(power[(frequency >= a) & (frequency < b)].mean()) for a, b in pairwise(edges)]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), bins, 1)[0])


def _reduce(values: np.ndarray) -> np.ndarray:
    return average_blocks(values[None], SIZE)[0]


def real(path: Path) -> dict[str, float]:
    """Return the measures of a real frame; its field is what is not black, without small specks."""
    frame = _reduce(pydicom.dcmread(path).pixel_array.astype(np.float64))
    field = ndimage.binary_opening(frame > 0.02 * np.percentile(frame, 99), iterations=3)
    return measures(np.log(np.maximum(frame, 1)), field)


def simulated(path: Path) -> dict[str, float]:
    """Return the measures of the frame with the most iodine of a simulated run."""
    truth = read_truth(truth_path(path))
    fullest = int(np.argmin(truth.vessel.sum((1, 2))))
    frame = _reduce(pydicom.dcmread(path).pixel_array[fullest].astype(np.float64))
    return measures(np.log(np.maximum(frame, 1)), _reduce(truth.anatomy[fullest].astype(np.float64)) == 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("real", type=Path)
    arguments.add_argument("simulated", nargs="+", metavar="SIMULATED")
    given = arguments.parse_args(argv)
    truth = real(given.real)
    runs = [simulated(path) for path in run_paths(map(Path, given.simulated))]
    print("| measure | real | simulated: median (least to most) | what |\n|---|---|---|---|")
    for name, what in MEASURES.items():
        values = [run[name] for run in runs]
        print(f"| {name} | {truth[name]:.3g} | {np.median(values):.3g} ({min(values):.3g} to {max(values):.3g}) | {what} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
