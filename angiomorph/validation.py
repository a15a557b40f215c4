"""Validation on fixed pairs at fixed λ: the objective at each λ, and example subtractions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from angiomorph.backend import tf
from angiomorph.dataset import Draw, Pairs, Source, draw_pairs
from angiomorph.errors import InputError
from angiomorph.losses import GradientPenalty, Similarity
from angiomorph.view.pictures import subtraction_window

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS = 4  # of a run
EXAMPLES = 3


class Validation:
    """The objective of Eq. 1 on pairs that are the same for every training, at each of `LAMBDAS`.

    Not `model.evaluate`: that would reset the running means of the epoch in whose middle it is called.

    Args:
        source: validation stores.
        model: the network.
        similarity: L_sim of the training.
    """

    def __init__(self, source: Source, model: tf.keras.Model, similarity: Similarity) -> None:
        self.source = source
        self.model = model
        self.draws = [draw for number in range(len(source.runs)) for draw in _draws(source, number)]
        smoothness = GradientPenalty()

        @tf.function(reduce_retracing=True)
        def objective(moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
            moved, flow = model([moving, fixed, hyper], training=False)
            weight = hyper[:, 0]
            losses = (1 - weight) * similarity.call(fixed, moved) + weight * smoothness.call(tf.zeros_like(flow), flow)
            return tf.reduce_sum(losses)

        self._objective = objective

    def measure(self) -> dict[str, float]:
        """Return the mean loss over the pairs: "val_loss", over all λ, and "val_loss_L" for each λ.

        Raises:
            InputError: a warp is not finite, or more than half of the runs cannot be read.
        """
        totals, count = np.zeros(len(LAMBDAS)), 0
        for pairs in self._pairs(self.draws):
            totals += [self._loss(pairs, hyper) for hyper in LAMBDAS]
            count += len(pairs.moving)
        means = totals / count
        return {
            "val_loss": float(means.mean()),
            **{f"val_loss_{hyper:g}": float(mean) for hyper, mean in zip(LAMBDAS, means, strict=True)},
        }

    def examples(self, hyper: float) -> np.ndarray:
        """Return background, contrast, DSA and BSA of some runs side by side, `(N, H, 4W, 1)` in [0, 1], iodine dark."""
        firsts = list({draw.run: draw for draw in reversed(self.draws)}.values())[::-1]
        return np.stack([self._example(pairs, hyper) for pairs in self._pairs(firsts[:EXAMPLES])])

    def _pairs(self, draws: list[Draw]) -> Iterator[Pairs]:
        for draw in draws:
            pairs = None if draw.run in self.source.left_out else self.source.read(draw)
            if pairs is not None:
                yield pairs

    def _loss(self, pairs: Pairs, hyper: float) -> float:
        try:
            return float(self._objective(*_inputs(pairs, hyper)))
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                f"validation at λ {hyper:g}: expected finite warps, found one that is not a number; lower --lr"
            ) from error

    def _example(self, pairs: Pairs, hyper: float) -> np.ndarray:
        first = Pairs(pairs.moving[:1], pairs.fixed[:1], hyper)
        moved = self.model(list(_inputs(first, hyper)), training=False)[0].numpy()[0, ..., 0]
        background, contrast = first.moving[0], first.fixed[0]
        dsa, bsa = contrast - background, contrast - moved
        low, high = subtraction_window(dsa)
        subtracted = [np.clip((image - low) / (high - low), 0, 1) for image in (dsa, bsa)]
        return np.concatenate([background, contrast, *subtracted], axis=1)[..., None]


def _draws(source: Source, number: int) -> Iterator[Draw]:
    """Yield a run's fixed pairs, a batch at a time; they do not depend on the training's seed."""
    run, sampling = source.runs[number], dataclasses.replace(source.sampling, frames_per_series=PAIRS)
    contrast, background = draw_pairs(np.random.default_rng(number), run.frames, run.background, sampling)
    for start in range(0, PAIRS, sampling.batch_size):
        part = slice(start, start + sampling.batch_size)
        yield Draw(number, background[part], contrast[part], 0.0)


def _inputs(pairs: Pairs, hyper: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    moving, fixed = (tf.constant(frames[..., None]) for frames in (pairs.moving, pairs.fixed))
    return moving, fixed, tf.fill([len(pairs.moving), 1], tf.constant(hyper, tf.float32))
