"""A trained network that registers runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from angiomorph.dicom import Series
from angiomorph.registration.engines import load_predictor
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import BY_TENSORFLOW, USUAL, EngineOptions, RegistrationOptions
from angiomorph.registration.outputs import Spooling
from angiomorph.registration.result import Registration
from angiomorph.registration.series import register_series
from angiomorph.storage.digest import sha256


class Model:
    """A trained network, read from disk once.

        >>> model.defaults.image_loss, model.defaults.levels
        ('truth', 3)

    Args:
        path: model `.h5`, or the name of a shipped one, see `MODELS`; None for the shipped default.
        engine: engine that computes it.

    Raises:
        InputError: the file is no AngioMorph model, or not a whole one, or this machine cannot compute it so.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, engine: EngineOptions = BY_TENSORFLOW) -> None:
        self.defaults = read_model_defaults(path)
        self.path = self.defaults.path
        self.predictor = load_predictor(self.path, engine)
        self.sha256 = sha256(self.path)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, engine: EngineOptions = BY_TENSORFLOW) -> Model:
        """Read a model; see `Model`.

            >>> am.Model.load("absent.h5")
            Traceback (most recent call last):
            angiomorph.errors.InputError: absent.h5: expected a model (.h5)...

        Args:
            path: model `.h5`, or the name of a shipped one; None for the shipped default.
            engine: engine that computes it.

        Raises:
            InputError: the file is no AngioMorph model, or not a whole one, or this machine cannot compute it so.
        """
        return cls(path, engine)

    def register(
        self,
        series: Series,
        options: RegistrationOptions = USUAL,
        spooling: Spooling | None = None,
        hypers: Sequence[float] = (),
    ) -> Registration:
        """Register a run.

            >>> other = model.register(run, am.RegistrationOptions(levels=1, background="1"))
            >>> other.background.numbers, other.levels
            ((1,), 1)

        Args:
            series: the run, from `read_series`.
            options: how it is registered; this model's own where they name nothing.
            spooling: place for arrays on the disk, for runs of any length, from `dicom.open_series`; None for arrays in memory.
            hypers: further λ at which the key frame is registered, for the report of `Registration.save`, as
                `options.MONTAGE`; a baked model has none.

        Returns:
            the subtracted run, the warped background and the warp of every frame.

        Raises:
            InputError: refinement by a model of truth, a background that is not there, or, with `require_clean`, one that is
                not known to be clean.
        """
        how = self.defaults.complete(options)
        others = () if self.defaults.baked else sorted({how.hyper, *hypers} if hypers else ())
        result = register_series(series, self.predictor, self.refine, how, spooling, others)
        return replace(result, model_name=self.path.stem, model_sha256=self.sha256, model_facts=self.defaults.metadata)

    def refine(
        self, moving: np.ndarray, fixed: np.ndarray, warps: Iterator[np.ndarray], hyper: float, steps: int
    ) -> Iterator[np.ndarray]:
        """Yield warps improved by the loss of the network's training, by TensorFlow, whatever computes the network.

        Args:
            moving: background `(H, W)` float32 in [0, 1].
            fixed: `(T, H, W)` float32 in [0, 1].
            warps: warps of `fixed`, a batch `(B, H, W, 2)` at a time.
            hyper: λ, [0, 1].
            steps: at least 1.
        """
        from angiomorph.networks.losses import SIMILARITIES
        from angiomorph.registration.refinement import refine_warps

        similarity = SIMILARITIES[self.defaults.image_loss](image_sigma=self.defaults.image_sigma)
        yield from refine_warps(similarity, moving, fixed, warps, hyper, steps)
