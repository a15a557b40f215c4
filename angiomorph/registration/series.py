"""Registration of a run: background, network, warp, subtraction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.networks.baked import load_any
from angiomorph.networks.layers import compose_warps, resize_frames, resize_warp, warp_frames
from angiomorph.networks.losses import SIMILARITIES, Similarity
from angiomorph.preprocessing.arrival import Arrival, find_arrival
from angiomorph.preprocessing.background import Background, choose_background
from angiomorph.preprocessing.field import clamp_warp, fill_outside, find_field
from angiomorph.preprocessing.intensity import (
    LN,
    STORED,
    Normalisation,
    level,
    normalisation,
    normalise,
    pad,
    resolve_mode,
    to_domain,
    unpad,
)
from angiomorph.preprocessing.resizing import fitted_shape, level_shapes
from angiomorph.registration import coarse
from angiomorph.registration.evidence import find_evidence, weigh_warps
from angiomorph.registration.refinement import refine

BATCH_SIZE = 4
ARRIVAL_SIZE, ARRIVAL_LEVELS = 256, 2  # at which iodine is looked for: a quarter of the time of a registration
REFINE = 40  # steps
REFINED_SIZE = 256
# By name, which is that of the loss: reg-truth.h5 is "truth".
MODELS = {path.stem.removeprefix("reg-"): path for path in sorted((Path(__file__).parents[1] / "models").glob("reg-*.h5"))}
SHIPPED = MODELS["truth"]
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], tf.Tensor]  # (moving, fixed, hyper) to the warp


@dataclass(frozen=True)
class Registration:
    """A registered run; every frame of it, in order.

    Args:
        bsa: `(T, H, W)` float32, frame minus moved, in `units`, iodine negative.
        dsa: `(T, H, W)` float32, frame minus the unregistered background.
        moved: `(T, H, W)` float32, the morphed background of each frame, in `units`.
        warp: `(T, H, W, 2)` float32, pixels, ij order: moved(x) = background(x + warp(x)).
        background: the chosen background frames.
        units: "ln(intensity)" where stored values are proportional to intensity, else "stored value".
        intensity: "log" or "linear", what the network saw.
        hyper: λ.
        levels: of the network, see `Predictor.warps`.
        rounds: further passes of the network, see `Predictor.warps`.
        refine: steps of refinement after the network.
        field: `(H, W)` bool, the exposed field, see `field.find_field`; outside of it the warp is 0.
        weights: `(T,)` in [0, 1], by which the guard scaled each frame's warp: 1 whole, 0 unwarped.
    """

    bsa: np.ndarray
    dsa: np.ndarray
    moved: np.ndarray
    warp: np.ndarray
    background: Background
    units: str
    intensity: str
    hyper: float
    levels: int
    rounds: int
    refine: int
    field: np.ndarray
    weights: np.ndarray


class Predictor:
    """The warps of a network in memory for frames of any size, built once for each size.

    Args:
        network: of which `metadata` says what it was trained on; it may be trained on, see `refresh`.
    """

    def __init__(self, network: networks.AngioMorph) -> None:
        self._network = network
        self.size = int(network.metadata.get("size", 512))
        self.levels = int(network.metadata.get("levels", 1))
        self.intensity = str(network.metadata.get("intensity", "auto"))
        self._multiple = max(networks.MULTIPLE, 2 ** len(network.get_config()["nb_unet_features"][0]))
        self._others: list[networks.AngioMorph] = []
        self._predictors: dict[tuple[int, int], Predict] = {}

    def warps(
        self,
        moving: np.ndarray,
        fixed: np.ndarray,
        hyper: float,
        batch_size: int,
        levels: int | None = None,
        rounds: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yield the warps of `fixed`, a batch at a time.

        Frames that are displaced by more than the network finds start from a rigid warp, see `coarse.RigidSearch`. The network
        sees the frames first at the size that it was trained on; at each further level at twice that, see `level_shapes`, and
        the background as start and levels before have moved it. The warps are composed. A further round goes through all
        levels but the first once more; of one level, through that.

        Args:
            moving: background `(H, W)` float32 in [0, 1], any size.
            fixed: `(T, H, W)` float32 in [0, 1].
            hyper: λ, [0, 1].
            batch_size: frames at a time.
            levels: at least 1; None for the model's own.
            rounds: further ones, from 0.

        Yields:
            `(B, H, W, 2)` float32, pixels of the given frames.
        """
        shapes = level_shapes(fixed.shape[1:], self.size, self.levels if levels is None else levels, self.levels)
        searched = fitted_shape(fixed.shape[1:], coarse.SIZE)
        search = coarse.RigidSearch(_resized(moving[None], searched)[0])
        steps = [(shape, _resized(moving[None], shape)) for shape in shapes]
        steps += rounds * (steps[1:] or steps)
        for start in range(0, len(fixed), batch_size):
            batch = fixed[start : start + batch_size]
            warp = search.warps(_resized(batch, searched))
            for shape, background in steps:
                warp = self._finer(warp, np.repeat(background, len(batch), 0), _resized(batch, shape), hyper)
            yield resize_warp(warp, fixed.shape[1:]).numpy()

    def _finer(self, warp: np.ndarray, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the warp of a level from the warp before it; one that is not finite comes back for others to tell of."""
        if not warp.any():
            return self._warp(moving, fixed, hyper)
        before = resize_warp(tf.constant(warp), fixed.shape[1:]).numpy()
        if not np.isfinite(before).all():
            return before
        own = self._warp(warp_frames(moving, before).numpy(), fixed, hyper)
        return compose_warps(before, own).numpy() if np.isfinite(own).all() else own

    def _warp(self, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the network's own warp of frames of any one size, `(B, H, W, 2)`."""
        padded, onto = (pad(each, self._multiple)[..., None] for each in (moving, fixed))
        predict = self._predictor(padded.shape[1:3])
        return unpad(predict(padded, onto, np.full((len(fixed), 1), hyper, np.float32)).numpy(), fixed.shape[1:])

    def refresh(self) -> None:
        """Take the network's weights as they are now, for frames of other sizes than its own too."""
        for other in self._others:
            other.set_weights(self._network.get_weights())

    def _predictor(self, shape: tuple[int, int]) -> Predict:
        if shape not in self._predictors:
            self._predictors[shape] = _compiled(self._sized(shape).get_registration_model())
        return self._predictors[shape]

    def _sized(self, shape: tuple[int, int]) -> networks.AngioMorph:
        if self._network.output_shape[0][1:3] == shape:
            return self._network
        config = {key: value for key, value in self._network.get_config().items() if key != "metadata"}
        network = networks.AngioMorph(**{**config, "inshape": shape})
        network.set_weights(self._network.get_weights())
        self._others.append(network)
        return network


def _compiled(model: tf.keras.Model) -> Predict:
    """Return the model as a graph for batches of any number of frames, traced once."""

    @tf.function(input_signature=[tf.TensorSpec(given.shape) for given in model.inputs])
    def predict(moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
        return model([moving, fixed, hyper], training=False)

    # One graph each for several sizes is meant; TensorFlow takes it for one function traced again and again, and warns.
    graph = predict.get_concrete_function()
    return lambda *frames: graph(*map(tf.constant, frames))


def _resized(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return frames if frames.shape[1:] == shape else resize_frames(tf.constant(frames), shape).numpy()


class Model:
    """A trained network, read from disk once.

    Args:
        path: model `.h5`, baked ones too, or the name of a shipped one, see `MODELS`.

    Raises:
        InputError: the file is no AngioMorph model, or not a whole one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = MODELS.get(os.fspath(path)) or Path(path)
        network = _load(self.path)
        metadata = network.metadata
        self.predictor = Predictor(network)
        self.sha256 = networks.sha256(self.path)
        self.size = self.predictor.size
        self.levels = self.predictor.levels
        self.intensity = self.predictor.intensity
        self.hyper = float(metadata.get("lambda", 0.7))
        self.baked = bool(metadata.get("baked", False))
        self.image_loss = str(metadata.get("image_loss", "vle"))
        self.refine = 0 if self.image_loss == "truth" else REFINE
        self.similarity = _similarity(self.path, metadata)

    def choose_hyper(self, wanted: float | None) -> float:
        """Return the λ to register with.

        Args:
            wanted: [0, 1]; None for the model's own.

        Raises:
            InputError: `wanted` is outside [0, 1], or another λ than that of a baked model.
        """
        if wanted is None:
            return self.hyper
        if not 0 <= wanted <= 1:
            raise InputError(f"--lambda: expected a number from 0 to 1, got {wanted}")
        if self.baked and wanted != self.hyper:
            raise InputError(
                f"--lambda {wanted}: expected {self.hyper}, at which {self.path} was baked; leave it out, or give the model "
                "that it was baked from"
            )
        return wanted

    def refine_steps(self, wanted: int | None) -> int:
        """Return the steps of refinement to take with this model.

        Args:
            wanted: from 0; None for the model's own: 40, but 0 of a model of truth.

        Raises:
            InputError: `wanted` is negative, or above 0 for a model of truth.
        """
        if wanted is None:
            return self.refine
        if wanted < 0:
            raise InputError(f"--refine: expected a number of steps from 0, got {wanted}")
        if wanted and self.image_loss == "truth":
            raise InputError(
                f"--refine {wanted}: expected 0 for {self.path}, a model of --image-loss truth, as its loss needs the truth, "
                "which no run shows; for further passes of the network use --rounds N"
            )
        return wanted


def _similarity(path: Path, metadata: dict[str, Any]) -> Similarity:
    name = metadata.get("image_loss", "vle")
    if name not in SIMILARITIES:
        raise InputError(f"{path}: expected image_loss {', '.join(SIMILARITIES)} in the model, found {name!r}; train it again")
    return SIMILARITIES[name](image_sigma=metadata.get("image_sigma", 0.3))


def _load(path: Path) -> networks.AngioMorph:
    try:
        return load_any(path)
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected a whole model (.h5), but it cannot be rebuilt: {reason}; copy or train it again"
        ) from error


@dataclass(frozen=True, eq=False)
class Seen:
    """A run as a network sees it.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1]; outside the field the nearest value inside.
        moving: `(H, W)` float32, the mean of the background frames, [0, 1].
        background: the chosen background frames.
        intensity: "log" or "linear", of `frames`.
        scale: of `frames`.
        field: `(H, W)` bool, the exposed field, see `field.find_field`.
    """

    frames: np.ndarray
    moving: np.ndarray
    background: Background
    intensity: str
    scale: Normalisation
    field: np.ndarray

    def levelled(self, indices: Sequence[int] | slice = slice(None)) -> np.ndarray:
        """Return frames, by their indices from 0, with the exposure of the background: what a network registers it to."""
        return level(self.frames[indices], self.moving, self.field, gain=self.intensity == "linear")


@lru_cache(maxsize=1)
def shipped_model() -> Model:
    """Return the shipped model, read from disk once."""
    return Model(SHIPPED)


def find_iodine(frames: np.ndarray, field: np.ndarray, mode: str) -> Arrival:
    """Return when iodine arrives in a run, by the shipped model whatever model registers: all see the same background.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1], iodine dark; T >= 2.
        field: `(H, W)` bool, the exposed field.
        mode: "log" or "linear", of `frames`.
    """
    shape = fitted_shape(field.shape, ARRIVAL_SIZE)
    small = _resized(frames, shape)
    inside = _resized(field[None].astype(np.float32), shape)[0] > 1 - 1e-3
    inside &= small.min(0) > 0
    if not inside.any():
        return Arrival(None, np.zeros(len(frames)), np.zeros(len(frames)))
    levelled = level(small, small[0], inside, gain=mode == "linear")
    model = shipped_model()
    warps = np.concatenate(list(model.predictor.warps(small[0], levelled, model.hyper, BATCH_SIZE, ARRIVAL_LEVELS)))
    moved = warp_frames(np.repeat(small[:1], len(small), 0), warps).numpy()
    return find_arrival(levelled, moved, warps, inside)


def see(
    series: Series, trained_on: str, *, background: str = "auto", intensity: str | None = None, check: bool = False
) -> Seen:
    """Return what a network is given of a run.

    Args:
        series: the run.
        trained_on: "auto", "log" or "linear", the network's own intensity.
        background: see `background.choose_background`.
        intensity: "auto", "log" or "linear"; None for `trained_on`, as far as the run has it.
        check: whether to look for iodine in a background that the user or DICOM named.

    Raises:
        InputError: an intensity that the run cannot have, or a background that is not there.
    """
    own = "auto" if trained_on == "log" and series.relation == "LOG" else trained_on
    mode = resolve_mode(series.relation, intensity or own)
    values = to_domain(series.frames, mode)
    scale = normalisation(values, series.shutter, mode)
    field = find_field(series.frames, series.shutter)
    frames = fill_outside(normalise(values, scale), field)
    find = partial(find_iodine, field=field, mode=mode)
    chosen = choose_background(background, frames, series.background_numbers, field, find, check=check)
    return Seen(frames, _average(frames, chosen), chosen, mode, scale, field)


def register_series(
    series: Series,
    model: Model,
    *,
    hyper: float | None = None,
    background: str = "auto",
    intensity: str | None = None,
    levels: int | None = None,
    rounds: int = 0,
    refine_steps: int | None = None,
    guard: bool = True,
    batch_size: int = BATCH_SIZE,
    require_clean: bool = False,
) -> Registration:
    """Register a run: warp its background onto each of its frames and subtract.

        bsa = ln(frame) - ln(background)(x + warp(x))

    where the stored values are proportional to intensity (PixelIntensityRelationship LIN); LOG and DISP values are
    subtracted as they are stored. The warp brings in nothing from behind a collimator, see `field.clamp_warp`.

    Args:
        series: the run.
        model: the network.
        hyper: λ in [0, 1]; None for the model's own.
        background: "auto", "tag", "N" or "N-M", see `background.choose_background`; several frames are averaged.
        intensity: "auto", "log" or "linear" for what the network sees; None for what it was trained on.
        levels: sizes, coarse to fine, at which the network sees the frames, see `Predictor.warps`; None for the model's own.
        rounds: further passes of the network, see `Predictor.warps`; each takes about as long as the network itself.
        refine_steps: steps of `refinement.refine` after the network, by the model's own similarity, at up to 256 pixels a side;
            see `Model.refine_steps`.
        guard: scale each frame's warp by how sure it is that something moves, see `evidence.weigh_warps`; still runs come back
            as plain DSA.
        batch_size: frames at a time.
        require_clean: refuse a run whose background shows iodine, or may show it.

    Raises:
        InputError: λ that the model cannot take (see `Model.choose_hyper`), `levels` below 1, negative `rounds`,
            `refine_steps` that the model cannot take, a background that is not there, or, with `require_clean`, one that is
            not known to be clean.

    Source: Zhou et al. 2024; DICOM PS3.4 N.2.5 (subtraction in a space logarithmic to X-ray intensity).
    """
    hyper = model.choose_hyper(hyper)
    levels = model.levels if levels is None else levels
    if levels < 1:
        raise InputError(f"--levels: expected a number of levels from 1, got {levels}")
    if rounds < 0:
        raise InputError(f"--rounds: expected a number of rounds from 0, got {rounds}")
    refine_steps = model.refine_steps(refine_steps)
    seen = see(series, model.intensity, background=background, intensity=intensity, check=True)
    if require_clean and seen.background.warnings:
        raise InputError(f"{series.name}: expected a background without iodine: {'; '.join(seen.background.warnings)}")
    linear = series.relation == "LIN"
    values = to_domain(series.frames, "log" if linear else "linear")
    reference = _average(values, seen.background)
    fixed = seen.levelled()
    warps = model.predictor.warps(seen.moving, fixed, hyper, batch_size, levels, rounds)
    if refine_steps:
        warps = _refined(model, seen.moving, fixed, warps, hyper, refine_steps)
    warp = clamp_warp(np.concatenate(list(warps)), seen.field)
    moved = np.concatenate([warp_frames(reference[None], part[None]).numpy() for part in warp])
    result = Registration(
        bsa=values - moved,
        dsa=values - reference,
        moved=moved,
        warp=warp,
        background=seen.background,
        units=LN if linear else STORED,
        intensity=seen.intensity,
        hyper=hyper,
        levels=levels,
        rounds=rounds,
        refine=refine_steps,
        field=seen.field,
        weights=np.ones(len(values)),
    )
    if not guard:
        return result
    return _hold_back(result, values, reference, weigh_warps(_evidence(result, reference, seen, series)))


def _hold_back(result: Registration, values: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> Registration:
    """Return the registration with each frame's warp scaled by its weight, `(T,)` in [0, 1]; 0 leaves plain DSA.

    Args:
        result: with whole warps.
        values: `(T, H, W)` float32, the frames, in the result's unit.
        reference: `(H, W)` float32, the background, in the result's unit.
        weights: from `evidence.weigh_warps`.
    """
    if (weights == 1).all():
        return result
    warp = result.warp * weights[:, None, None, None].astype(np.float32)
    moved = result.moved.copy()
    moved[weights == 0] = reference
    for t in np.flatnonzero((weights > 0) & (weights < 1)):
        moved[t] = warp_frames(reference[None], warp[t : t + 1]).numpy()[0]
    return replace(result, bsa=values - moved, moved=moved, warp=warp, weights=weights)


def _evidence(result: Registration, reference: np.ndarray, seen: Seen, series: Series) -> np.ndarray:
    """Return the evidence of motion in each frame, where frame and background are exposed and not saturated, `(T,)`."""
    full = series.frames >= 2**series.bits_stored - 1
    chosen = [number - 1 for number in result.background.numbers]
    known = seen.field & ~full & ~full[chosen].any(0) & (seen.frames > 0) & (seen.moving > 0)
    evidence = find_evidence(result.dsa, result.bsa, reference, known)
    evidence[chosen] = 0  # their noise is the background's own, so that they say nothing
    return evidence


def _refined(
    model: Model, moving: np.ndarray, fixed: np.ndarray, warps: Iterator[np.ndarray], hyper: float, steps: int
) -> Iterator[np.ndarray]:
    """Yield the refined warps, batch by batch as they come."""
    shape = fixed.shape[1:]
    working = fitted_shape(shape, REFINED_SIZE)
    moving_working = resize_frames(tf.constant(moving[None]), working)
    start = 0
    for warp in warps:
        fixed_working = resize_frames(tf.constant(fixed[start : start + len(warp)]), working)
        start += len(warp)
        repeated = tf.repeat(moving_working, len(warp), axis=0)
        coarse = resize_warp(tf.constant(warp), working)
        refined = refine(repeated[..., None], fixed_working[..., None], coarse, hyper, steps, model.similarity)
        # Only the correction is resampled, so that the network's warp keeps its own detail.
        yield warp + resize_warp(refined - coarse, shape).numpy()


def _average(values: np.ndarray, background: Background) -> np.ndarray:
    return values[[number - 1 for number in background.numbers]].mean(0, dtype=np.float64).astype(np.float32)
