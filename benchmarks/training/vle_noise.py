"""What noise does to VLE's threshold, the minimum of 3 x 3 background pixels, where the registration is perfect.

    python -m benchmarks.training.vle_noise

A flat background, the mean of one or three frames or one frame that a warp has moved by half a pixel, and a contrast frame,
all of the same noise. For each it prints the share of the pixels that `angiomorph.networks.losses.vessel_layer` takes for
iodine, without any and with one to five deviations of the noise, and, without any, the mean error of the other pixels in
such deviations.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from angiomorph.networks.losses import vessel_layer
from angiomorph.networks.warp import warp_frames

SIZE = 512
LEVEL, NOISE = 0.5, 0.01  # of the normalised range
IODINE = (0, 1, 2, 3, 5)  # noise deviations
BACKGROUNDS = {"one frame": 1, "one frame, moved by half a pixel": 1, "mean of three frames": 3}


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each background."""
    parser = argparse.ArgumentParser(description="Pixels that VLE takes for iodine, by noise of the background.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    rng = np.random.default_rng(parser.parse_args(argv).seed)
    heads = ["no iodine", *(f"iodine {depth}" for depth in IODINE[1:]), "mean error of the rest"]
    print("| background | " + " | ".join(heads) + " |\n" + "| --- " * (len(heads) + 1) + "|")
    for name, count in BACKGROUNDS.items():
        background = np.stack([noisy(rng) for _ in range(count)]).mean(0)
        if "moved" in name:
            background = warp_frames(background[None], np.full((1, SIZE, SIZE, 2), 0.5, np.float32)).numpy()[0]
        shares = [taken(noisy(rng) - depth * NOISE, background) for depth in IODINE]
        print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares) + f" | {pull(noisy(rng), background):+.2f} |")


def noisy(rng: np.random.Generator) -> np.ndarray:
    """Return a flat frame with noise, `(SIZE, SIZE)` float32."""
    return rng.normal(LEVEL, NOISE, (SIZE, SIZE)).astype(np.float32)


def taken(fixed: np.ndarray, moved: np.ndarray) -> float:
    """Return the share of pixels, 0 to 1, that are in the estimated vessel layer."""
    return float(np.mean(_layer(fixed, moved) < 0))


def pull(fixed: np.ndarray, moved: np.ndarray) -> float:
    """Return the mean of fixed minus moved over the pixels outside the estimated vessel layer, in noise deviations."""
    outside = _layer(fixed, moved) == 0
    return float(np.mean((fixed - moved)[outside]) / NOISE)


def _layer(fixed: np.ndarray, moved: np.ndarray) -> np.ndarray:
    layer: np.ndarray = vessel_layer(fixed[None, ..., None], moved[None, ..., None]).numpy()[0, ..., 0]
    return layer


if __name__ == "__main__":
    main()
