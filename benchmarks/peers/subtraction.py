"""A network that puts out the subtraction itself, trained on simulated runs: what such networks eat and invent.

    python -m benchmarks.peers.subtraction STORE.h5... --out unet.h5 --steps 5000

A U-Net of the registration network's features sees background and contrast frame, and is told the vessel layer: the frame less
the same frame without noise and iodine, of the store's truth. The mean squared error teaches it to leave the noise out.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph.errors import InputError

if TYPE_CHECKING:
    from angiomorph.training.source import Source
    from benchmarks.peers.runs import Sample

ENCODER, DECODER = (16, 32, 32, 32), (32, 32, 32, 32, 16)  # as the registration network's, whose last two layers are one here
SIZE = 256  # side of the frames that it is trained on, pixels
MULTIPLE = 2 ** len(ENCODER)


def build() -> Any:
    """Return the U-Net: (background and frame `(B, H, W, 2)`, [0, 1]) -> vessel layer `(B, H, W, 1)`, normalised units."""
    from angiomorph.backend import tf

    layers = tf.keras.layers
    features = given = layers.Input((None, None, 2))
    skips = []
    for count in ENCODER:
        features = layers.LeakyReLU(0.2)(layers.Conv2D(count, 3, padding="same")(features))
        skips.append(features)
        features = layers.MaxPool2D(2)(features)
    for count, skip in zip(DECODER, reversed(skips), strict=False):
        features = layers.LeakyReLU(0.2)(layers.Conv2D(count, 3, padding="same")(features))
        features = layers.Concatenate()([layers.UpSampling2D(2)(features), skip])
    features = layers.LeakyReLU(0.2)(layers.Conv2D(DECODER[-1], 3, padding="same")(features))
    vessels = layers.Conv2D(1, 3, padding="same", dtype="float32")(features)
    return tf.keras.Model(given, vessels, name="subtraction")


def draw_batches(source: Source, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (background and frame, vessel layer with noise) of each step, `(B, H, W, 2)` and `(B, H, W, 1)` float32."""
    for step in range(steps):
        pairs = source.batch(step)
        yield np.stack([pairs.moving, pairs.fixed], -1), (pairs.fixed - pairs.clean[1])[..., None]


def train(stores: Sequence[Path], out: Path, steps: int, batch_size: int = 4, seed: int = 1, size: int = SIZE) -> None:
    """Train on stores of simulated runs, and write the network.

    Args:
        stores: HDF5 stores with the truth.
        out: `.h5` file.
        steps: >= 1; the rate falls from 1e-3 to 1e-5 along half a cosine.
        batch_size: pairs a step, each of another run.
        seed: of weights and draws.
        size: side of the frames, pixels; larger ones shrink to it.

    Raises:
        InputError: a store without truth.
    """
    from angiomorph import networks
    from angiomorph.backend import tf, without_remapper
    from angiomorph.networks import precision
    from angiomorph.training.config import Augmentation, Sampling
    from angiomorph.training.source import Source

    tf.keras.utils.set_random_seed(seed)
    try:
        tf.keras.mixed_precision.set_global_policy(f"mixed_{precision.choose_type()}")
    except InputError as error:
        print(f"in float32: {error}", file=sys.stderr)
    try:
        model = build()
        model.compile(tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(1e-3, steps, 1e-2)), "mse")
    finally:  # of this network alone
        tf.keras.mixed_precision.set_global_policy("float32")
    sampling = Sampling(
        frames_per_series=4,
        background_frames=2,
        batch_size=batch_size,
        series_per_batch=batch_size,
        size=size,
        seed=seed,
        augmentation=Augmentation(flip=0.5, zoom=1.0, noise=0.01),
    )
    losses, begun = [], time.monotonic()
    with Source(stores, sampling, clean=True) as source, without_remapper():
        for step, batch in enumerate(draw_batches(source, steps), start=1):
            losses.append(float(model.train_on_batch(*batch)))
            if step % 500 == 0 or step == steps:
                mean, each = np.mean(losses[-500:]), (time.monotonic() - begun) / step
                print(f"step {step}/{steps}: loss {mean:.3e}, {1e3 * each:.0f} ms a step", flush=True)
    plain = build()
    plain.set_weights(model.get_weights())
    networks.save(plain, out)


class Subtraction:
    """A trained network, which subtracts.

    Args:
        path: `.h5` file of `train`.

    Raises:
        InputError: there is no such network.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(
                f"--subtraction {path}: expected a network of `python -m benchmarks.peers.subtraction`, found none"
            )
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._model = build()
        self._model.load_weights(path)

    def subtract(self, sample: Sample) -> tuple[np.ndarray, float]:
        """Return the subtracted frames of a sample, `(F, H, W)` float32, ln units, and the seconds that one took."""
        begun = time.perf_counter()
        height, width = sample.moving.shape
        margins = ((0, -height % MULTIPLE), (0, -width % MULTIPLE))
        background = np.pad(sample.moving, margins, "edge")
        found = []
        for frame in sample.fixed:
            pair = np.stack([background, np.pad(frame, margins, "edge")], -1)[None]
            found.append(self._model(pair, training=False).numpy()[0, :height, :width, 0])
        seconds = (time.perf_counter() - begun) / len(found)
        return sample.ln_per_unit * np.stack(found), seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.peers.subtraction --help`."""
    parser = argparse.ArgumentParser(description="Train a network that puts out the subtraction.")
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE.h5", help="simulated runs with their truth")
    parser.add_argument("--out", type=Path, required=True, metavar="U.h5", help="network to write")
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="(default: 5000)")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="pairs a step (default: 4)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of weights and draws (default: 1)")
    given = parser.parse_args(argv)
    try:
        train(given.stores, given.out, given.steps, given.batch_size, given.seed)
    except InputError as error:
        print(f"subtraction: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
