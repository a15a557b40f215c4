"""One model at one λ, and its scores."""

from __future__ import annotations

from dataclasses import dataclass, field

from angiomorph.evaluation.score import Score


@dataclass(frozen=True)
class Entry:
    """One model at one λ.

    Args:
        model: its name, see `model_names`.
        image_loss: name of the loss it was trained with.
        hyper: λ.
        scores: by the name of the run.
    """

    model: str
    image_loss: str
    hyper: float
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Model and λ, as tables have it."""
        return f"{self.model}, λ {self.hyper:.2f}"
