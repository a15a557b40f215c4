"""A run registered frame by frame as it arrives, by what the frames so far show."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from angiomorph.dicom.series import RELATIONS
from angiomorph.errors import InputError
from angiomorph.options import refuse
from angiomorph.preprocessing.field import filler, find_field, warp_clamp
from angiomorph.preprocessing.frame_numbers import named_frames
from angiomorph.preprocessing.intensity import (
    Normalisation,
    choose_mode,
    leveller,
    normalisation,
    normalise,
    resolve_mode,
    to_domain,
)
from angiomorph.registration.evidence import evidence_finder, weigh_warps
from angiomorph.registration.inputs import average_frames
from angiomorph.registration.model import Model
from angiomorph.registration.options import USUAL, RegistrationOptions

REMEMBERED = 200  # frames whose evidence counts


@dataclass(frozen=True, eq=False)
class ArrivedFrame:
    """One registered frame.

    Args:
        bsa: `(H, W)` float32, frame minus moved, iodine negative; ln(intensity) of LIN, else stored values.
        dsa: `(H, W)` float32, frame minus the unregistered background.
        moved: `(H, W)` float32, the morphed background.
        warp: `(H, W, 2)` float32, pixels, ij order: moved(x) = background(x + warp(x)).
        weight: by which the guard scaled the warp, [0, 1].
    """

    bsa: np.ndarray
    dsa: np.ndarray
    moved: np.ndarray
    warp: np.ndarray
    weight: float


class Registrar:
    """Registers a run frame by frame as it arrives.

        >>> live = am.Registrar(model, run.frames[:3], run.relation, bits_stored=run.bits_stored)
        >>> arrived = live.push(run.frames[5])
        >>> arrived.bsa.shape, arrived.warp.shape
        ((512, 512), (512, 512, 2))

    Make it when contrast begins, of the frames until then; their mean is the background. Making one takes seconds at a model's
    first run of a frame size, as the network's graph is built, and less later.

    A whole run is judged as one; here only the frames so far are known, so that results differ a little:

    - The scale is that of the background frames. What is darker or brighter is clipped, unless `headroom` is left for it.
    - The collimator is looked for in the background frames.
    - The guard does not know what comes. The first frames of a motion weigh less than in a whole run, until its evidence is
      full, and frames that were given are not changed. The last 200 frames count.

    Args:
        model: the network's model.
        background: `(N, H, W)`, the stored values of the first frames, before iodine, turned so that iodine is dark.
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        options: `batch_size` is 1 whatever they say; `background` may name frames of those given, from 1.
        bits_stored: bits of the values; None for all bits of their type.
        shutter: `(H, W)` bool, True where exposed; None for everywhere.
        headroom: by which the scale is wider than the background's at each end, as a share of it, 0 to 1.

    Raises:
        InputError: frames, shutter, relation or options that do not fit, or as `Model.register`.
    """

    def __init__(
        self,
        model: Model,
        background: np.ndarray,
        relation: str = "LIN",
        options: RegistrationOptions = USUAL,
        *,
        bits_stored: int | None = None,
        shutter: np.ndarray | None = None,
        headroom: float = 0.0,
    ) -> None:
        _check(background, relation, options, shutter)
        if not 0 <= headroom <= 1:
            raise refuse("headroom", "0 to 1", headroom)
        self._how, self._refine, self._move = model.defaults.complete(options), model.refine, model.predictor.move
        self._shape, self._type = background.shape[1:], background.dtype
        self._highest = 2 ** (bits_stored or 8 * self._type.itemsize) - 1
        shutter = np.ones(self._shape, bool) if shutter is None else shutter
        intensity = model.predictor.intensity
        self._mode = choose_mode(relation, intensity, options.intensity)
        self._unit = resolve_mode(relation, "auto")
        self._scale = _widen(normalisation(to_domain(background, self._mode), shutter, self._mode), headroom)
        field = find_field(background, shutter)
        self._fill, self._clamp = filler(field), warp_clamp(field)

        numbers = named_frames(options.background) or range(1, len(background) + 1)
        self._reference = average_frames(to_domain(background, self._unit), numbers)
        self._moving = average_frames(self._see(to_domain(background, self._mode)), numbers)
        self._level = leveller(self._moving, field, gain=self._mode == "linear")
        full = (background >= self._highest).any(0)
        self._known = field & ~full & (self._moving > 0)
        self._find_evidence = evidence_finder(self._reference)
        self._evidence: deque[float] = deque(maxlen=REMEMBERED)
        self._find_warps = model.predictor.warps_of(self._moving, self._how.hyper, self._how.levels, self._how.rounds)
        self._warm(background[-1])

    def push(self, frame: np.ndarray) -> ArrivedFrame:
        """Register the next frame.

        Args:
            frame: `(H, W)`, stored values as those of the background.

        Returns:
            the subtracted frame, final.

        Raises:
            InputError: the frame has another shape or type than the background, or the network's warp is not finite.
        """
        if frame.shape != self._shape or frame.dtype != self._type:
            raise InputError(
                f"`frame`: expected {self._shape} {self._type} as the background, got {frame.shape} {frame.dtype}; "
                "make a Registrar for each run"
            )
        values = to_domain(frame, self._unit)
        seen = self._see(values if self._mode == self._unit else to_domain(frame, self._mode))
        dsa, warp = values - self._reference, self._warp(seen)
        moved = self._move(self._reference, warp)
        if not self._how.guard:
            return ArrivedFrame(values - moved, dsa, moved, warp, 1.0)
        known = self._known & (frame < self._highest) & (seen > 0)
        self._evidence.append(self._find_evidence(dsa, values - moved, known))
        weight = float(weigh_warps(np.array(self._evidence))[-1])
        if weight < 1:
            warp = warp * np.float32(weight)
            moved = self._move(self._reference, warp) if weight else self._reference.copy()
        return ArrivedFrame(values - moved, dsa, moved, warp, weight)

    def _see(self, values: np.ndarray) -> np.ndarray:
        """Return frames, in the network's domain, as it sees them but for their exposure."""
        return self._fill(normalise(values, self._scale))

    def _warp(self, seen: np.ndarray) -> np.ndarray:
        """Return the whole warp of a frame as the network sees it, `(H, W, 2)`."""
        fixed = self._level(seen)[None]
        warps = self._find_warps(fixed)
        if self._how.refine:
            warps = next(self._refine(self._moving, fixed, iter([warps]), self._how.hyper, self._how.refine))
        if not np.isfinite(warps).all():
            raise InputError(
                "`frame`: expected a finite warp, but the network's is not; check the frame, or train the model again"
            )
        return np.asarray(self._clamp(warps)[0])

    def _warm(self, frame: np.ndarray) -> None:
        """Run once all that is slow the first time; the guard forgets it."""
        self.push(frame)
        self._evidence.clear()


def _widen(scale: Normalisation, headroom: float) -> Normalisation:
    margin = headroom * (scale.hi - scale.lo)
    return Normalisation(scale.lo - margin, scale.hi + margin)


def _check(background: np.ndarray, relation: str, options: RegistrationOptions, shutter: np.ndarray | None) -> None:
    if background.ndim != 3 or background.size == 0 or background.dtype.kind != "u":
        raise InputError(
            f"`background`: expected frames (N, H, W) of unsigned integers, got {background.shape} {background.dtype}; "
            "give the first frames as they are stored"
        )
    if shutter is not None and shutter.shape != background.shape[1:]:
        raise InputError(
            f"`shutter`: expected {background.shape[1:]} as the frames, got {shutter.shape}; leave it out for none"
        )
    if relation not in RELATIONS:
        raise refuse("relation", f"one of {', '.join(RELATIONS)}", relation)
    numbers = named_frames(options.background)
    if options.background == "tag" or (numbers and numbers[-1] > len(background)):
        raise refuse("background", f"auto, or frames of the {len(background)} given", options.background)
    if options.require_clean:
        raise refuse("require_clean", "False, as frames that arrive are not searched for iodine", True)
