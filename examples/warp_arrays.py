"""Use the network as the Keras model that it is, on arrays of your own: python examples/warp_arrays.py"""

from __future__ import annotations

import numpy as np

import angiomorph as am


def main(hyper: float = 0.5, size: int = 128) -> np.ndarray:
    """Warp a disk onto one that is shifted, and return the displacement, `(size, size, 2)` in pixels."""
    network = am.AngioMorph.load(am.Model.load().path, inshape=(size, size))
    rows, columns = np.indices((size, size)) - size / 2
    moving, fixed = (1 - 0.6 / (1 + np.exp(np.hypot(rows, columns - shift) - size / 4)) for shift in (0.0, 3.0))
    given = [np.float32(image)[None, ..., None] for image in (moving, fixed)]
    moved, warp = network.predict([*given, np.full((1, 1), hyper, np.float32)], verbose=0)
    before, after = np.abs(moving - fixed).mean(), np.abs(moved[0, ..., 0] - fixed).mean()
    print(f"mean difference {before:.4f} before, {after:.4f} after")
    return np.asarray(warp[0])


if __name__ == "__main__":
    main()
