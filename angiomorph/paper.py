"""The paper's numbers that several rooms begin with.

Source: Zhou et al., Radiology Advances 1(3), 2024, umae020.
"""

from __future__ import annotations

ENCODER = (16, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)
FRAME_SIZE = 512  # pixels, side of the network's frames
HYP_UNITS = (32, 64, 128, 128)
TRUTH = "truth"  # the similarity that is not the paper's: it needs the truth, which only simulated runs have
# λ that the paper evaluated each similarity with.
DEFAULT_LAMBDA = {"mse": 0.7, "minmax": 0.5, "vle": 0.7, TRUTH: 0.5}
