"""Models by file or by name, and what they say of themselves; without TensorFlow, so that a wrong one is refused at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from angiomorph.errors import InputError
from angiomorph.paper import DEFAULT_LAMBDA, FRAME_SIZE, TRUTH
from angiomorph.registration.options import CompleteOptions, RegistrationOptions
from angiomorph.storage import model_file

REFINE = 40  # steps
# By name, which is that of the loss: reg-truth.h5 is "truth".
MODELS = {path.stem.removeprefix("reg-"): path for path in sorted((Path(__file__).parents[1] / "models").glob("reg-*.h5"))}
SHIPPED = MODELS["truth"]


@dataclass(frozen=True)
class ModelDefaults:
    """What a model's file says of its training, and so how it registers by default.

    Args:
        path: the file.
        size: side of the network's frames, pixels.
        levels: sizes at which it sees frames.
        intensity: "auto", "log" or "linear", what it sees.
        hyper: λ, [0, 1].
        image_loss: name of the loss it was trained with.
        image_sigma: scale of that loss.
        baked: whether the file is baked, so that `hyper` is the only λ that it stands for.
        metadata: all that the file says.
    """

    path: Path
    size: int = FRAME_SIZE
    levels: int = 1
    intensity: str = "auto"
    hyper: float = DEFAULT_LAMBDA["vle"]
    image_loss: str = "vle"
    image_sigma: float = 0.3
    baked: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What users call it: the name of a shipped one, else its path."""
        return next((name for name, path in MODELS.items() if path == self.path), str(self.path))

    @property
    def needs_truth(self) -> bool:
        """Whether its loss needs the truth, which no run shows."""
        return self.image_loss == TRUTH

    @property
    def refine(self) -> int:
        """Steps of refinement: 40, but 0 of a model of truth, whose loss needs what no run shows."""
        return 0 if self.needs_truth else REFINE

    def check_free(self) -> None:
        """Raise where the model has one λ alone.

        Raises:
            InputError: it is baked.
        """
        if self.baked:
            raise InputError(
                f"{self.path}: expected a model for all λ, found one that was baked at {self.hyper}; "
                "give the model that it was baked from"
            )

    def complete(self, options: RegistrationOptions) -> CompleteOptions:
        """Return the options with this model's own values where they name none.

        Args:
            options: options of a registration.

        Raises:
            InputError: refinement by a model of truth, or another λ than a baked model's.
        """
        if self.baked and options.hyper not in (None, self.hyper):
            raise InputError(
                f"`hyper` {options.hyper}: expected {self.hyper}, at which {self.path} was baked; leave it out, or give the "
                "model that it was baked from"
            )
        if options.refine and self.needs_truth:
            raise InputError(
                f"`refine` {options.refine}: expected 0 for {self.path}, a model of image loss truth. Its loss needs the "
                "truth, which no run shows; for further passes of the network use `rounds` N"
            )
        own = {"hyper": self.hyper, "levels": self.levels, "refine": self.refine}
        named = {name: value for name, value in vars(options).items() if value is not None}
        return CompleteOptions(**own | named)


def find_model(model: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of a model.

    Args:
        model: a `.h5`, or the name of a shipped model, see `MODELS`; None for the shipped default.
    """
    return SHIPPED if model is None else MODELS.get(os.fspath(model)) or Path(model)


def read_model_defaults(model: str | os.PathLike[str] | None = None) -> ModelDefaults:
    """Check all of a model's file and return what it says of itself; nothing is built.

    Args:
        model: see `find_model`.

    Raises:
        InputError: the file is no AngioMorph model, or not a whole one.
    """
    path = find_model(model)
    with model_file.open_model_file(path, *model_file.MODEL_OR_BAKED) as found:
        metadata = (found.config or {}).get("metadata") or {}
    if (image_loss := metadata.get("image_loss", ModelDefaults.image_loss)) not in DEFAULT_LAMBDA:
        raise InputError(
            f"{path}: expected image_loss {', '.join(DEFAULT_LAMBDA)} in the model, found {image_loss!r}; train it again"
        )
    names = {"size": "size", "levels": "levels", "intensity": "intensity", "lambda": "hyper"}
    names |= {"image_loss": "image_loss", "image_sigma": "image_sigma"}
    baked = found.kind == model_file.BAKED
    told = {names[name]: metadata[name] for name in names.keys() & metadata.keys()}
    return ModelDefaults(path, baked=baked, metadata=metadata, **told)
