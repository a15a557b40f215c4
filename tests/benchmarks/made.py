"""A run of known truth, made by hand: an anatomy that shifts by whole pixels, and a vessel from the third frame on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from angiomorph.dicom import write_run
from angiomorph.storage.truth import RunTruth, truth_path, write_truth

SIDE, FRAMES, BACKGROUND = 64, 6, 2


def make_run(path: Path, shift: tuple[int, int] = (3, -2), seed: int = 0) -> Path:
    """Write a run of 12 bits and its truth; from the third frame on, a pixel shows what lay at itself + shift in the first two.

    Args:
        path: DICOM file to write.
        shift: pixels down and right.
        seed: of anatomy and noise.
    """
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2.5, mode="wrap")
    rest = np.log(1200) + 0.3 * texture / texture.std()
    moves = [t >= BACKGROUND for t in range(FRAMES)]
    background = np.stack([np.roll(rest, (-shift[0], -shift[1]), (0, 1)) if moved else rest for moved in moves])
    vessel = np.zeros_like(background)
    vessel[BACKGROUND:, :, 30:34] = -0.3
    frames = np.exp(background + vessel + rng.normal(0, 0.004, background.shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(frames), 1, 4095).astype(np.uint16)
    write_run(path, stored, BitsStored=12, relation="LIN", frame_time=250.0, attributes={"MaskFrameNumbers": [1, 2]})
    inside = np.zeros(background.shape, bool)
    inside[:, 8:-8, 8:-8] = True  # where the torus is not seen
    displacement = np.zeros((FRAMES, SIDE // 4, SIDE // 4, 2), np.float32)
    displacement[BACKGROUND:] = shift
    truth = RunTruth(
        background=background.astype(np.float32),
        vessel=vessel.astype(np.float32),
        vessel_mask=vessel < 0,
        anatomy=inside,
        pose=np.zeros((FRAMES, 6)),
        displacement=displacement,
        displacement_defined=np.ones(displacement.shape[:3], bool),
    )
    write_truth(truth_path(path), truth)
    return path
