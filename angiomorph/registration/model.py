"""A trained network that registers runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from angiomorph import networks
from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.networks.baked import load_any
from angiomorph.networks.losses import SIMILARITIES, Similarity
from angiomorph.registration.model_defaults import ModelDefaults, read_model_defaults
from angiomorph.registration.options import USUAL, RegistrationOptions
from angiomorph.registration.outputs import Spooling
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.result import Registration
from angiomorph.registration.series import register_series


class Model:
    """A trained network, read from disk once.

        >>> model.defaults.image_loss, model.defaults.levels
        ('truth', 3)

    Args:
        path: model `.h5`, or the name of a shipped one, see `MODELS`; None for the shipped default.

    Raises:
        InputError: the file is no AngioMorph model, or not a whole one.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.defaults = read_model_defaults(path)
        self.path = self.defaults.path
        self.similarity = _similarity(self.defaults)
        self.predictor = Predictor(_load(self.path))
        self.sha256 = networks.sha256(self.path)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Model:
        """Read a model; see `Model`.

            >>> am.Model.load("absent.h5")
            Traceback (most recent call last):
            angiomorph.errors.InputError: absent.h5: expected a model (.h5)...

        Args:
            path: model `.h5`, or the name of a shipped one; None for the shipped default.

        Raises:
            InputError: the file is no AngioMorph model, or not a whole one.
        """
        return cls(path)

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
            spooling: that arrays go to the disk, for runs of any length, from `dicom.open_series`; None for arrays in memory.
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
        result = register_series(series, self.predictor, self.similarity, how, spooling, others)
        return replace(result, model_name=self.path.stem, model_sha256=self.sha256, model_facts=self.defaults.metadata)


def _similarity(defaults: ModelDefaults) -> Similarity:
    if defaults.image_loss not in SIMILARITIES:
        raise InputError(
            f"{defaults.path}: expected image_loss {', '.join(SIMILARITIES)} in the model, found {defaults.image_loss!r}; "
            "train it again"
        )
    return SIMILARITIES[defaults.image_loss](image_sigma=defaults.image_sigma)


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
