"""Show one frame at several λ, side by side: python examples/choose_lambda.py RUN.dcm OUT.png"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib

import angiomorph as am

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(path: str, picture: str, hypers: Sequence[float] = (0.0, 0.3, 0.6, 0.9), *, levels: int | None = None) -> None:
    """Write the picture of the fullest frame of the run at `path`; 0 is similarity only, 1 smoothness only."""
    run, model = am.read_series(path), am.Model.load()
    results = [model.register(run, am.RegistrationOptions(hyper=hyper, levels=levels)) for hyper in hypers]
    frame = results[0].fullest_frame - 1
    figure, axes = plt.subplots(1, len(results), figsize=(4 * len(results), 4.4), squeeze=False)
    for place, result in zip(axes[0], results, strict=True):
        place.imshow(result.bsa[frame], cmap="gray")
        place.set(title=f"λ {result.hyper:.1f}", xticks=[], yticks=[])
    figure.savefig(picture)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
