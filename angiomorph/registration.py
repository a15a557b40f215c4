"""Registration of a run: background, network, warp, subtraction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.background import Background, choose_background, shrink
from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.field import clamp_warp, fill_outside, find_field
from angiomorph.intensity import LN, STORED, Normalisation, normalisation, normalise, pad, resolve_mode, to_domain, unpad
from angiomorph.layers import compose_warps, resize_frames, resize_warp, warp_frames
from angiomorph.losses import SIMILARITIES, Similarity
from angiomorph.metrics import bright_residue
from angiomorph.refinement import refine
from angiomorph.shrinking import fitted_shape, level_shapes

BATCH_SIZE = 4
REFINE = 40  # steps
REFINED_SIZE = 256
WORTHWHILE = 0.7  # of the bright residue at most, or the warp is not worth its risk to the vessels
SHIPPED = Path(__file__).parent / "models" / "reg-truth.h5"


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
        refine: steps of refinement after the network, or its further rounds, see `register_series`.
        field: `(H, W)` bool, the exposed field, see `field.find_field`; outside of it the warp is 0.
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
    refine: int
    field: np.ndarray


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
        self._predictors: dict[tuple[int, int], tf.keras.Model] = {}

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

        The network sees the frames first at the size that it was trained on; at each further level at twice that, up to their
        own, and the background as the levels before have moved it. The warps are composed. A further round goes through all
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
        shapes = level_shapes(fixed.shape[1:], self.size, self.levels if levels is None else levels)
        first, *finer = [(shape, _resized(moving[None], shape)) for shape in shapes]
        finer += rounds * (finer or [first])
        for start in range(0, len(fixed), batch_size):
            batch = fixed[start : start + batch_size]
            warp = self._warp(np.repeat(first[1], len(batch), 0), _resized(batch, first[0]), hyper)
            for shape, background in finer:
                warp = self._finer(warp, np.repeat(background, len(batch), 0), _resized(batch, shape), hyper)
            yield resize_warp(warp, fixed.shape[1:]).numpy()

    def _finer(self, warp: np.ndarray, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the warp of a level from that of the level before; one that is not finite comes back for others to tell of."""
        coarse = resize_warp(tf.constant(warp), fixed.shape[1:]).numpy()
        if not np.isfinite(coarse).all():
            return coarse
        own = self._warp(warp_frames(moving, coarse).numpy(), fixed, hyper)
        return compose_warps(coarse, own).numpy() if np.isfinite(own).all() else own

    def _warp(self, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the network's own warp of frames of any one size, `(B, H, W, 2)`."""
        frames = [pad(each, self._multiple)[..., None] for each in (moving, fixed)]
        predict = self._predictor(frames[0].shape[1:3])
        warp = predict([*frames, np.full((len(fixed), 1), hyper, np.float32)], training=False).numpy()
        return unpad(warp, fixed.shape[1:])

    def refresh(self) -> None:
        """Take the network's weights as they are now, for frames of other sizes than its own too."""
        for other in self._others:
            other.set_weights(self._network.get_weights())

    def _predictor(self, shape: tuple[int, int]) -> tf.keras.Model:
        if shape not in self._predictors:
            self._predictors[shape] = self._sized(shape).get_registration_model()
        return self._predictors[shape]

    def _sized(self, shape: tuple[int, int]) -> networks.AngioMorph:
        if self._network.output_shape[0][1:3] == shape:
            return self._network
        config = {key: value for key, value in self._network.get_config().items() if key != "metadata"}
        network = networks.AngioMorph(**{**config, "inshape": shape})
        network.set_weights(self._network.get_weights())
        self._others.append(network)
        return network


def _resized(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return frames if frames.shape[1:] == shape else resize_frames(tf.constant(frames), shape).numpy()


class Model:
    """A trained network, read from disk once.

    Args:
        path: model `.h5`.

    Raises:
        InputError: the file is no AngioMorph model, or not a whole one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        network = _load(self.path)
        metadata = network.metadata
        self.predictor = Predictor(network)
        self.sha256 = networks.sha256(path)
        self.size = self.predictor.size
        self.levels = self.predictor.levels
        self.intensity = self.predictor.intensity
        self.hyper = float(metadata.get("lambda", 0.7))
        self.image_loss = str(metadata.get("image_loss", "vle"))
        self.refine = 0 if self.image_loss == "truth" else REFINE
        self.similarity = _similarity(self.path, metadata)


def _similarity(path: Path, metadata: dict[str, Any]) -> Similarity:
    name = metadata.get("image_loss", "vle")
    if name not in SIMILARITIES:
        raise InputError(f"{path}: expected image_loss {', '.join(SIMILARITIES)} in the model, found {name!r}; train it again")
    return SIMILARITIES[name](image_sigma=metadata.get("image_sigma", 0.3))


def _load(path: Path) -> networks.AngioMorph:
    try:
        return networks.AngioMorph.load(path)
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


def see(series: Series, trained_on: str, *, background: str = "auto", intensity: str | None = None) -> Seen:
    """Return what a network is given of a run.

    Args:
        series: the run.
        trained_on: "auto", "log" or "linear", the network's own intensity.
        background: see `background.choose_background`.
        intensity: "auto", "log" or "linear"; None for `trained_on`, as far as the run has it.

    Raises:
        InputError: an intensity that the run cannot have, or a background that is not there.
    """
    own = "auto" if trained_on == "log" and series.relation == "LOG" else trained_on
    mode = resolve_mode(series.relation, intensity or own)
    values = to_domain(series.frames, mode)
    scale = normalisation(values, series.shutter, mode)
    field = find_field(series.frames, series.shutter)
    frames = fill_outside(normalise(values, scale), field)
    chosen = choose_background(background, frames, series.background_numbers, field)
    return Seen(frames, _average(frames, chosen), chosen, mode, scale, field)


def register_series(
    series: Series,
    model: Model,
    *,
    hyper: float | None = None,
    background: str = "auto",
    intensity: str | None = None,
    levels: int | None = None,
    refine_steps: int | None = 0,
    guard: bool = False,
    batch_size: int = BATCH_SIZE,
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
        refine_steps: steps of `refinement.refine` after the network, at up to 256 pixels a side; of a model that was trained on
            the truth, which no frame shows, further rounds of the network, see `Predictor.warps`. 0 for the network alone, None
            for the model's own: 40, but 0 of a model of truth.
        guard: leave a frame unregistered whose warp does not bring its bright residue, which iodine cannot cause, below
            0.7 of what it was.
        batch_size: frames at a time.

    Raises:
        InputError: λ outside [0, 1], `levels` below 1, negative `refine_steps`, or a background that is not there.

    Source: Zhou et al. 2024; DICOM PS3.4 N.2.5 (subtraction in a space logarithmic to X-ray intensity).
    """
    hyper = model.hyper if hyper is None else hyper
    if not 0 <= hyper <= 1:
        raise InputError(f"--lambda: expected a number from 0 to 1, got {hyper}")
    levels = model.levels if levels is None else levels
    if levels < 1:
        raise InputError(f"--levels: expected a number of levels from 1, got {levels}")
    refine_steps = model.refine if refine_steps is None else refine_steps
    if refine_steps < 0:
        raise InputError(f"--refine: expected a number of steps from 0, got {refine_steps}")
    seen = see(series, model.intensity, background=background, intensity=intensity)
    linear = series.relation == "LIN"
    values = to_domain(series.frames, "log" if linear else "linear")
    reference = _average(values, seen.background)
    rounds = refine_steps if model.image_loss == "truth" else 0
    warps = model.predictor.warps(seen.moving, seen.frames, hyper, batch_size, levels, rounds)
    if refine_steps and not rounds:
        warps = _refined(model, seen.moving, seen.frames, warps, hyper, refine_steps)
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
        refine=refine_steps,
        field=seen.field,
    )
    return _guarded(result, reference, _worthwhile(result, seen.frames, series)) if guard else result


def _guarded(result: Registration, reference: np.ndarray, worthwhile: np.ndarray) -> Registration:
    """Return the registration with the frames that are not worthwhile as plain DSA has them."""
    chosen = worthwhile[:, None, None]
    return replace(
        result,
        bsa=np.where(chosen, result.bsa, result.dsa),
        moved=np.where(chosen, result.moved, reference),
        warp=np.where(chosen[..., None], result.warp, np.float32(0)),
    )


def _worthwhile(result: Registration, seen: np.ndarray, series: Series) -> np.ndarray:
    """Return for each frame whether its warp takes three tenths of the bright residue away, `(T,)` bool.

    Pixels that are saturated in the frame or in the background do not count: where exposures differ, so do they, unmoved. Nor
    do those to which the warp brings what lies behind a collimator or beyond the frame, of which nothing is known; where they
    are half of all, no warp is worthwhile.
    """
    roi = result.field
    full = shrink((series.frames >= 2**series.bits_stored - 1).astype(np.float32), roi)[0] > 0
    lit = shrink(seen, roi)[1]
    field = lit & ~full & ~full[[number - 1 for number in result.background.numbers]].any(0)
    known = field & np.stack([_arrives(lit, part) for part in result.warp])

    def residue(subtracted: np.ndarray, region: np.ndarray) -> float:
        return bright_residue(shrink(subtracted[None], roi)[0], region)

    enough = known.sum((1, 2)) > field.sum((1, 2)) / 2
    frames = zip(result.bsa, result.dsa, known, enough, strict=True)
    return np.array([some and residue(bsa, region) <= WORTHWHILE * residue(dsa, region) for bsa, dsa, region, some in frames])


def _arrives(lit: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Return where a warp brings pixels that are lit and of the frame, `(h, w)` bool."""
    shape = lit.shape
    around = np.pad(resize_warp(tf.constant(warp[None]), shape).numpy(), [(0, 0), (1, 1), (1, 1), (0, 0)])
    moved = warp_frames(np.pad(lit, 1).astype(np.float32)[None], around).numpy()[0, 1:-1, 1:-1]
    return np.asarray(moved > 1 - 1e-3)


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
