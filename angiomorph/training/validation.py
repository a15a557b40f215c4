"""Validation at fixed λ: the objective on fixed pairs, figures of merit of a few frames of each run, example subtractions."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.dicom import SeriesFiles
from angiomorph.errors import InputError
from angiomorph.evaluation.curves import lambda_picture
from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.score import Runs
from angiomorph.evaluation.tables import UNITS
from angiomorph.metrics.interval import interval
from angiomorph.networks.losses import GradientPenalty, Similarity, Truth
from angiomorph.pictures import subtraction_window
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from angiomorph.training.config import Sampling
from angiomorph.training.draws import Draw, draw_fixed_pairs
from angiomorph.training.held_out import HeldOut, hold_out_stored, not_finite, read_held_out
from angiomorph.training.source import Pairs, Source

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS = 4  # of a run
EXAMPLES = 3
SCORED = 20  # runs of the stores, and as many DICOM runs: a validation is to take minutes
# Columns of validation.csv: the kinds of runs that a figure of `score.Score` is averaged over, and the figure.
FIGURES: Mapping[str, tuple[tuple[Runs, ...], str]] = {
    "artefact_left": (("moving",), "artefact_left"),
    "contrast_kept": (("moving",), "contrast_kept"),
    "cost": (("moving",), "cost"),
    "rmse_over_floor": (("moving",), "rmse_over_floor"),
    "warp_error": (("moving",), "warp_error"),
    "harm": (("still",), "harm"),
    "still_contrast_kept": (("still",), "contrast_kept"),
    "edge_left": (("real",), "edge_left"),
    "deviation_left": (("real",), "deviation_left"),
    "folding": (("moving", "still", "real"), "folding"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One validation.

    Args:
        step: number of training steps before it.
        losses: mean objective at each of `LAMBDAS`.
        entries: scores at each of `LAMBDAS`, by run.
    """

    step: int
    losses: tuple[float, ...]
    entries: tuple[Entry, ...]

    def history(self) -> dict[str, float]:
        """Return "val_loss", the mean over all λ, and "val_loss_L" for each."""
        named = {f"val_loss_{hyper:g}": loss for hyper, loss in zip(LAMBDAS, self.losses, strict=True)}
        return {"val_loss": float(np.mean(self.losses)), **named}

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `validation.csv`, one a λ: step, lambda, loss and `FIGURES`, empty where no run has the figure."""
        return [
            {
                "step": self.step,
                "lambda": entry.hyper,
                "loss": loss,
                **{name: "" if math.isnan(value) else value for name, value in _figures(entry).items()},
            }
            for entry, loss in zip(self.entries, self.losses, strict=True)
        ]

    def scalars(self) -> dict[str, float]:
        """Return what TensorBoard shows: `history`, and "FIGURE/L" for each figure that a run has, and each λ."""
        named = {f"{name}/{entry.hyper:g}": value for entry in self.entries for name, value in _figures(entry).items()}
        return self.history() | {name: value for name, value in named.items() if not math.isnan(value)}

    def picture(self) -> np.ndarray:
        """Return every figure over λ, `(1, H, W, 3)` uint8."""
        return lambda_picture(self.entries)[None]

    def find_cost(self, best_by: str) -> float:
        """Return what the best model has least of.

        Args:
            best_by: "loss", the mean over all λ; or "artefact", the mean of `score.Score.cost` over moving runs at the λ
                where it is least.
        """
        if best_by == "loss":
            return self.history()["val_loss"]
        return min(_figures(entry)["cost"] for entry in self.entries)


def _figures(entry: Entry) -> dict[str, float]:
    """Return the means over the runs, as `angiomorph evaluate` has them."""
    scores = entry.scores.values()
    return {
        name: interval([getattr(score, figure) for score in scores if score.runs in kinds], UNITS.get(figure, 1.0)).mean
        for name, (kinds, figure) in FIGURES.items()
    }


class Validation:
    """The objective of Eq. 1 on pairs that are the same for every training, and figures of merit, at each of `LAMBDAS`.

    Not `model.evaluate`: that would reset the running means of the epoch in whose middle it is called. DICOM runs are read anew
    for each validation, one at a time, so that memory does not grow with their number.

    Args:
        source: validation stores; None for none.
        files: DICOM runs by name, simulated ones with their truth beside them; each is read once to see that it can be.
        model: the network.
        similarity: L_sim of the training.
        sampling: the training's sampling.

    Raises:
        InputError: a DICOM run or its truth cannot be read.
    """

    def __init__(
        self,
        source: Source | None,
        files: Mapping[str, SeriesFiles],
        model: tf.keras.Model,
        similarity: Similarity,
        sampling: Sampling,
    ) -> None:
        self.source = source
        self.model = model
        self.sampling = dataclasses.replace(sampling, frames_per_series=PAIRS)
        self.draws: list[Draw] = []
        runs = source.runs if source is not None else ()
        for number in range(len(runs)):
            run = runs[number]
            self.draws += draw_fixed_pairs(number, run.frames, run.background, self.sampling)
        self.files = dict(itertools.islice(files.items(), SCORED))
        self._predictor = Predictor(TensorFlowEngine(model))
        for what, count in (("stored", len(runs)), ("DICOM", len(files))):
            if count > SCORED:
                logger.warning("validation: of %d %s runs the first %d are scored", count, what, SCORED)
        self.moving = 0  # number of runs in which something does
        for held_out in self._dicom_runs():
            self.moving += held_out.case.moves
            if isinstance(similarity, Truth) and held_out.clean is None:
                raise InputError(
                    f"{held_out.name}: expected a simulated run, its truth beside it, to validate `image_loss` truth on, "
                    "found none; take the run out of `validation`"
                )
        self._clean = isinstance(similarity, Truth)
        smoothness, whole = GradientPenalty(), networks.warping_clean(model) if self._clean else model

        @tf.function(reduce_retracing=True)
        def objective(hyper: tf.Tensor, moving: tf.Tensor, fixed: tf.Tensor, *clean: tf.Tensor) -> tf.Tensor:
            # As `make_dataset` gives it to fit: what is warped, and what it is compared to.
            moved, flow = whole([moving, fixed, hyper, *clean[:1]], training=False)
            weight, target = hyper[:, 0], tf.concat([clean[1], fixed], -1) if clean else fixed
            losses = (1 - weight) * similarity.call(target, moved) + weight * smoothness.call(tf.zeros_like(flow), flow)
            return tf.reduce_sum(losses)

        self._objective = objective

    def measure(self, step: int) -> Measured:
        """Return losses and scores of the model as it is.

        Args:
            step: number of training steps before it.

        Raises:
            InputError: a warp is not finite, a DICOM run cannot be read any more, or more than half of the stored runs cannot.
        """
        image_loss = str(self.model.metadata.get("image_loss", "vle"))
        entries = tuple(Entry(f"step {step}", image_loss, hyper) for hyper in LAMBDAS)
        losses = [self._losses(pairs) for pairs in self._pairs(self.draws)]
        for run in self._stored_runs():
            self._score(run, entries)
        for number, run in enumerate(self._dicom_runs()):
            self._score(run, entries)
            losses += [self._losses(pairs) for pairs in self._run_pairs(number, run)]
        *totals, count = np.sum(losses, axis=0)
        return Measured(step, tuple(float(total / count) for total in totals), entries)

    def examples(self, hyper: float) -> np.ndarray:
        """Return background, contrast, DSA and BSA of some runs side by side, `(N, H, 4W, 1)` in [0, 1], iodine dark."""
        firsts = list({draw.run: draw for draw in reversed(self.draws)}.values())[::-1]
        stored = self._pairs(firsts[:EXAMPLES])
        others = (next(self._run_pairs(number, run)) for number, run in enumerate(self._dicom_runs()))
        shown = itertools.islice(itertools.chain(stored, others), EXAMPLES)
        return np.stack([self._example(pairs, hyper) for pairs in shown])

    def _pairs(self, draws: list[Draw]) -> Iterator[Pairs]:
        for draw in draws:
            pairs = None if self.source is None else self.source.read(draw)
            if pairs is not None:
                yield pairs

    def _stored_runs(self) -> Iterator[HeldOut]:
        if self.source is None:
            return
        for number in range(min(len(self.source.runs), SCORED)):
            stored = self.source.read_stored(number)
            if stored is not None:
                name = f"{number + 1}: {self.source.runs.name(number)}"
                yield hold_out_stored(name, stored, self.sampling.size, self._predictor.intensity)

    def _dicom_runs(self) -> Iterator[HeldOut]:
        return (read_held_out(name, files, self._predictor.intensity) for name, files in self.files.items())

    def _run_pairs(self, number: int, run: HeldOut) -> Iterator[Pairs]:
        for draw in draw_fixed_pairs(number, len(run.seen.frames), run.seen.background.numbers, self.sampling):
            yield run.read(draw, self.sampling.size)

    def _score(self, run: HeldOut, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.scores[run.name] = run.score(self._predictor, entry.hyper)

    def _losses(self, pairs: Pairs) -> list[float]:
        """Return the summed objective at each of `LAMBDAS`, and the number of pairs."""
        return [*(self._loss(pairs, hyper) for hyper in LAMBDAS), len(pairs.moving)]

    def _loss(self, pairs: Pairs, hyper: float) -> float:
        try:
            loss = float(self._objective(*_tensors(pairs, hyper, pairs.clean if self._clean else ())))
        except tf.errors.InvalidArgumentError as error:
            raise not_finite("validation", hyper) from error
        if math.isnan(loss):  # what a GPU makes of such a warp
            raise not_finite("validation", hyper)
        return loss

    def _example(self, pairs: Pairs, hyper: float) -> np.ndarray:
        first = Pairs(pairs.moving[:1], pairs.fixed[:1])
        weight, moving, fixed = _tensors(first, hyper)
        moved = self.model([moving, fixed, weight], training=False)[0].numpy()[0, ..., 0]
        background, contrast = first.moving[0], first.fixed[0]
        dsa, bsa = contrast - background, contrast - moved
        low, high = subtraction_window(dsa)
        subtracted = [np.clip((image - low) / (high - low), 0, 1) for image in (dsa, bsa)]
        return np.concatenate([background, contrast, *subtracted], axis=1)[..., None]


def _tensors(pairs: Pairs, hyper: float, clean: Sequence[np.ndarray] = ()) -> tuple[tf.Tensor, ...]:
    """Return λ `(B, 1)`, the pairs' frames and what is given besides, `(B, H, W, 1)` each."""
    frames = (tf.constant(each[..., None]) for each in (pairs.moving, pairs.fixed, *clean))
    return tf.fill([len(pairs.moving), 1], tf.constant(hyper, tf.float32)), *frames
