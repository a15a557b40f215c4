"""Runs from real angiograms of heads, moved by known warps: `python -m benchmarks.simulator.real_heads FRAME.dcm... --help`.

What the frame shows, its own vessels included, is the anatomy: it is moved, the vessels of a simulated run are laid over it,
and noise like its own is added. `angiomorph evaluate` and `benchmarks.peers.peers --data` judge by the truth beside each run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from angiomorph.dicom import write_run
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import noise_deviation
from angiomorph.preprocessing.resizing import shrink_frames
from angiomorph.storage.truth import BLOCK, RunTruth, read_truth, truth_path, write_truth

SIZE = 512
BACKGROUND, CONTRAST = 2, 4  # frames
SHIFT, TURN = (2.0, 8.0), (0.5, 3.0)  # pixels, degrees: of 1 to 5 mm in a field of view of 30 cm
BEND, REACH = 1.0, 48.0  # standard deviation and smoothness of the elastic part, pixels
MARGIN = 24  # pixels from the edge of the exposed field, which what was not in it may enter
FINER_BITS = 2  # that the mean over four pixels has more


def read_frame(path: Path) -> tuple[np.ndarray, int]:
    """Return the frame of a DICOM file, `(H, W)` uint16 of at most 512 pixels a side, and its number of bits.

    Raises:
        InputError: the file is no readable DICOM image of one monochrome frame.
    """
    import pydicom

    try:
        header = pydicom.dcmread(path)
        pixels = header.pixel_array
    except (OSError, AttributeError, ValueError, RuntimeError, NotImplementedError, pydicom.errors.InvalidDicomError) as error:
        raise InputError(f"{path}: expected a DICOM image, but it cannot be read: {error}") from error
    if pixels.ndim != 2 or header.PhotometricInterpretation != "MONOCHROME2" or header.BitsStored > 16 - FINER_BITS:
        raise InputError(
            f"{path}: expected one frame, MONOCHROME2, of at most {16 - FINER_BITS} bits, found {pixels.shape}, "
            f"{header.PhotometricInterpretation}, {header.BitsStored} bits"
        )
    finer = pixels.astype(np.uint16) << FINER_BITS
    return shrink_frames(finer[None], SIZE)[0], int(header.BitsStored) + FINER_BITS


def draw_warp(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return a rigid and elastic warp, `(H, W, 2)` pixels, ij order: moved(x) = frame(x + warp(x))."""
    middle = (np.array(shape, float)[:, None, None] - 1) / 2
    place = np.indices(shape) - middle
    turn = np.deg2rad(rng.choice([-1, 1]) * rng.uniform(*TURN))
    towards = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(*SHIFT) * np.array([np.sin(towards), np.cos(towards)])
    turned = np.stack([np.cos(turn) * place[0] - np.sin(turn) * place[1], np.sin(turn) * place[0] + np.cos(turn) * place[1]])
    elastic = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), (0, REACH, REACH))
    elastic *= BEND / elastic.std()
    return np.moveaxis(turned - place + shift[:, None, None] + elastic, 0, -1)


def make_run(path: Path, frame: np.ndarray, bits: int, vessels: Sequence[np.ndarray], seed: Sequence[int]) -> None:
    """Write a run whose anatomy is a real frame, and its truth.

    Args:
        path: DICOM file to write.
        frame: `(H, W)` uint16, proportional to intensity, 0 where nothing was exposed.
        bits: BitsStored.
        vessels: for each contrast frame, `(H, W)` ln units, <= 0.
        seed: of motion and noise.
    """
    rng = np.random.default_rng(seed)
    exposed = ndimage.binary_opening(frame > np.percentile(frame, 99) / 50, iterations=3)
    inside = ndimage.binary_erosion(exposed, iterations=MARGIN)
    nearest = ndimage.distance_transform_edt(~exposed, return_distances=False, return_indices=True)
    rest = np.log(np.maximum(frame, 1).astype(np.float64))[tuple(nearest)]  # moves into the field as its edge
    warps = [np.zeros((*frame.shape, 2))] * BACKGROUND + [draw_warp(rng, frame.shape) for _ in vessels]
    at = [np.moveaxis(np.indices(frame.shape), 0, -1) + warp for warp in warps]
    background = np.stack([_look_up(rest, each, 3) for each in at])
    known = np.stack([inside & (_look_up(exposed.astype(float), each, 1) > 0.99) for each in at])
    vessel = np.stack([np.zeros(frame.shape)] * BACKGROUND + [np.where(inside, each, 0) for each in vessels])
    intensity = np.exp(background + vessel)
    quanta = 2 * noise_deviation(np.sqrt(frame.astype(np.float64))[None], inside)  # the root's is the same at all intensities
    noisy = intensity + rng.normal(size=intensity.shape) * quanta * np.sqrt(intensity)
    stored = np.where(exposed, np.clip(np.rint(noisy), 1, 2**bits - 1), 0).astype(np.uint16)
    write_run(path, stored, BitsStored=bits, relation="LIN", frame_time=250.0, attributes={"MaskFrameNumbers": [1, 2]})
    blocks = [length // BLOCK for length in frame.shape]
    cut = [count * BLOCK for count in blocks]
    truth = RunTruth(
        background=background.astype(np.float32),
        vessel=vessel.astype(np.float32),
        vessel_mask=vessel < -0.01,
        anatomy=known,
        pose=np.zeros((len(stored), 6)),
        displacement=_block_means(np.stack(warps)[:, : cut[0], : cut[1]]).astype(np.float32),
        displacement_defined=_block_means(known[:, : cut[0], : cut[1], None])[..., 0] == 1,
    )
    write_truth(truth_path(path), truth)


def _look_up(image: np.ndarray, at: np.ndarray, order: int) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(image, np.moveaxis(at, -1, 0), order=order, mode="nearest"))


def _block_means(values: np.ndarray) -> np.ndarray:
    """Return the means over blocks of pixels, `(T, H / 4, W / 4, C)`."""
    count, rows, columns, channels = values.shape
    side = BLOCK
    return values.reshape(count, rows // side, side, columns // side, side, channels).mean((2, 4))


def read_vessels(path: Path, shape: tuple[int, int]) -> list[np.ndarray]:
    """Return vessel layers of a simulated run, `(H, W)` ln units each, of `CONTRAST` frames with iodine, evenly spaced.

    Args:
        path: the run's truth.
        shape: that they are cut or padded to.

    Raises:
        InputError: the file is no truth of a simulated run, or has too few frames with iodine.
    """
    layers = read_truth(path).vessel
    filled = np.flatnonzero((layers < -0.01).any((1, 2)))
    if len(filled) < CONTRAST:
        raise InputError(
            f"{path}: expected at least {CONTRAST} frames with iodine, found {len(filled)}; name another run's truth"
        )
    chosen = layers[filled[np.linspace(0, len(filled) - 1, CONTRAST).round().astype(int)]]
    padding = [(0, 0), *((0, max(0, length - found)) for length, found in zip(shape, layers.shape[1:], strict=True))]
    return list(np.pad(chosen, padding)[:, : shape[0], : shape[1]])


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.simulator.real_heads", description="Runs from real frames, moved by known warps."
    )
    parser.add_argument("frames", type=Path, nargs="+", metavar="FRAME.dcm", help="angiograms of one frame each")
    parser.add_argument("--vessels", type=Path, nargs="+", required=True, metavar="TRUTH.h5", help="of simulated runs, in turn")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--runs", type=int, default=4, metavar="N", help="a frame (default: 4)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of motion and noise (default: 0)")
    arguments = parser.parse_args(argv)
    try:
        for number, path in enumerate(arguments.frames, start=1):
            frame, bits = read_frame(path)
            for run in range(1, arguments.runs + 1):
                vessels = read_vessels(arguments.vessels[(run - 1) % len(arguments.vessels)], frame.shape)
                made = arguments.out / f"head-{number}-{run}.dcm"
                made.parent.mkdir(parents=True, exist_ok=True)
                make_run(made, frame, bits, vessels, (arguments.seed, number, run))
                print(made)
    except InputError as error:
        print(f"benchmarks.simulator.real_heads: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
