"""Everything that decides a training, as frozen dataclasses; without TensorFlow, so that a wrong option is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from angiomorph.errors import InputError
from angiomorph.options import check_options, document_options, option, refuse
from angiomorph.paper import DECODER, DEFAULT_LAMBDA, ENCODER, FRAME_SIZE, HYP_UNITS, TRUTH
from angiomorph.preprocessing.intensity import INTENSITIES

NONE = "0, none"


@document_options
@dataclass(frozen=True)
class Augmentation:
    """How far training pairs are varied, each pair by draws of its own.

    >>> from angiomorph.training.config import Augmentation
    >>> Augmentation(flip=0.5).rotate
    0.0
    """

    flip: float = option(0.0, "probability that a pair is mirrored left to right", metavar="P", low=0, high=1, shown=NONE)
    rotate: float = option(0.0, "largest rotation to either side, degrees", metavar="DEGREES", low=0, high=180, shown=NONE)
    zoom: float = option(
        0.0, "largest magnification less 1: scales from 1/(1+F) to 1+F", metavar="F", low=0, high=1, shown=NONE
    )
    gamma: float = option(0.0, "attenuation, ln of intensity, times 1/(1+F) to 1", metavar="F", low=0, high=1, shown=NONE)
    noise: float = option(
        0.0,
        "largest noise added, relative to intensity at the run's bright end",
        metavar="SIGMA",
        low=0,
        high=1,
        shown=NONE,
    )

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)


@document_options
@dataclass(frozen=True)
class Sampling:
    """How training pairs and their λ are drawn.

    >>> from angiomorph.training.config import Sampling
    >>> Sampling(batch_size=8, series_per_batch=2).share
    4
    """

    frames_per_series: int = option(50, "contrast frames drawn from a run each epoch, with replacement", metavar="X", low=1)
    background_frames: int = option(3, "first frames that are background where a run names none", metavar="X", low=1)
    batch_size: int = option(1, "pairs a step, of one lambda; several GPUs share them", metavar="X", low=1)
    series_per_batch: int = option(1, "runs that the pairs of a step are of, in equal shares", metavar="X", low=1)
    size: int = option(FRAME_SIZE, "side of the network's frames in pixels; larger frames shrink to it", metavar="X", low=1)
    finer: bool = option(
        False, "train also at twice the size, on windows of frames that the network has moved, as further levels register"
    )
    oversample_rate: float = option(
        0.0, "probability that lambda is 0 or 1, as in VoxelMorph's HyperMorph", metavar="X", low=0, high=1
    )
    lambda_sampling: str = option(
        "ends",
        "how lambda is drawn: uniform; ends, uniform but for the oversampled ends; or beta, Beta(2, 2)",
        choices=("uniform", "ends", "beta"),
    )
    intensity: str = option("auto", "what the network sees of a run; auto: log for LIN runs", choices=INTENSITIES)
    seed: int = option(0, "seed of weights and draws", metavar="N", low=0)
    augmentation: Augmentation = option(  # noqa: RUF009 (frozen)
        Augmentation(), "how far pairs are varied; validation's are not", shown="not at all"
    )

    def __post_init__(self) -> None:
        """Check every option, and what depends on two.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)
        if self.batch_size % self.series_per_batch:
            raise InputError(
                f"`series_per_batch` {self.series_per_batch}: expected a divisor of `batch_size` {self.batch_size}, for "
                "equal shares of the pairs; change one of them"
            )
        if self.oversample_rate and self.lambda_sampling != "ends":
            raise InputError(
                f"`oversample_rate` {self.oversample_rate}: expected `lambda_sampling` ends with it, got "
                f"{self.lambda_sampling}; leave one of them out"
            )

    @property
    def share(self) -> int:
        """Pairs of one run in a batch."""
        return self.batch_size // self.series_per_batch

    @property
    def frame_size(self) -> int:
        """Side of the frames that are read, pixels."""
        return 2 * self.size if self.finer else self.size

    @property
    def batches_per_visit(self) -> int:
        """Batches that one visit of a run has a share in."""
        return -(-self.frames_per_series // self.share)

    def count_steps(self, series: int) -> int:
        """Return the number of batches in which an epoch visits each of `series` runs once."""
        return -(-series // self.series_per_batch) * self.batches_per_visit


def _say_default_lambda() -> str:
    usual = DEFAULT_LAMBDA["vle"]
    others = {loss: hyper for loss, hyper in DEFAULT_LAMBDA.items() if hyper != usual}
    return f"{usual}; {min(others.values())} for {' and '.join(others)}"


@document_options
@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training.

    >>> from angiomorph.training.config import TrainingConfig
    >>> TrainingConfig(image_loss="mse").default_hyper
    0.7
    >>> TrainingConfig.paper().sampling.intensity
    'linear'
    """

    image_loss: str = option(
        "vle",
        "similarity; truth compares noise-free frames without iodine, for stores of simulated runs",
        choices=tuple(DEFAULT_LAMBDA),
    )
    image_sigma: float = option(0.3, "alpha_sim, the scale of the similarity", metavar="X", low=0)
    contrast_weight: float = option(
        0.0,
        "extra weight of errors that change vessel contrast (loss truth only)",
        metavar="X",
        low=0,
        shown="0",
    )
    sampling: Sampling = option(  # noqa: RUF009 (frozen)
        Sampling(), "which pairs and lambda are drawn", shown="those of Sampling()"
    )
    epochs: int = option(10, "visits of every run", metavar="X", low=1, resumable=True)
    steps_per_epoch: int | None = option(None, "batches an epoch", metavar="X", low=1, shown="one visit of every run")
    lr: float = option(1e-4, "Adam's learning rate", metavar="X", low=0, resumable=True)
    final_lr: float | None = option(
        None, "learning rate at the end, reached along half a cosine", metavar="X", low=0, shown="it stays", resumable=True
    )
    enc: tuple[int, ...] = option(ENCODER, "encoder features", metavar="N", low=1)
    dec: tuple[int, ...] = option(DECODER, "decoder features", metavar="N", low=1)
    int_steps: int = option(0, "integration steps; 0 for none", metavar="X", low=0)
    int_downsize: int = option(2, "relative pixel size of the flow during integration", metavar="X", low=1)
    hyp_units: tuple[int, ...] = option(HYP_UNITS, "hypernetwork units", metavar="N", low=1)
    hyp_rank: int | None = option(
        None,
        "rank of the generated weights; fewer parameters, faster steps",
        metavar="X",
        low=1,
        shown="full, as in the paper",
    )
    init: str = option("he", "first weights", choices=("he", "voxelmorph"))
    hyper: float | None = option(
        None,
        "default lambda of the trained model",
        flag="--lambda",
        metavar="L",
        low=0,
        high=1,
        shown=_say_default_lambda(),
        resumable=True,
    )
    levels: int = option(1, "default levels of the trained model, as in register", metavar="N", low=1, resumable=True)
    load_weights: str | None = option(
        None, "model to begin with, VoxelMorph's too", metavar="M.h5", shown="random weights", resumable=True
    )
    initial_epoch: int = option(0, "epochs counted as done", metavar="N", low=0, resumable=True)
    checkpoint_steps: int = option(1000, "steps between checkpoints within an epoch", metavar="N", low=1, resumable=True)
    keep: int = option(3, "checkpoints kept", metavar="N", low=1, resumable=True)
    on_nan: str = option(
        "stop",
        "at a batch with a non-finite loss or gradient: stop, or skip the batch",
        choices=("stop", "skip"),
        resumable=True,
    )
    validation_steps: int | None = option(
        None, "steps between validations within an epoch", metavar="N", low=1, shown="at its end"
    )
    patience: int | None = option(
        None, "validations without a better model that stop the training", metavar="N", low=1, shown="never", resumable=True
    )
    mixed_precision: str | None = option(
        None,
        "convolve in float16 on a GPU, in bfloat16 on a CPU that has it; flow, warp, losses and weights stay float32",
        choices=("auto", "float16", "bfloat16"),
        shown="float32",
    )
    best_by: str = option(
        "loss",
        "measure of the best model: least objective, or least artefact and lost contrast of simulated runs",
        choices=("loss", "artefact"),
    )

    def __post_init__(self) -> None:
        """Check every option, and what depends on two.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        for name in ("enc", "dec", "hyp_units"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))  # as the dataclass is frozen
        check_options(self)
        if not self.image_sigma > 0:
            raise refuse("image_sigma", "a number above 0", self.image_sigma)
        if self.contrast_weight and not self.needs_truth:
            raise InputError(
                f"`contrast_weight` {self.contrast_weight}: expected `image_loss` truth with it, got {self.image_loss}; only "
                "the truth tells contrast from motion"
            )
        if not self.enc or len(self.dec) < len(self.enc):
            raise InputError(
                f"`dec`: expected at least one feature, and as many as in `enc`, got {len(self.dec)} and {len(self.enc)}; "
                f"name more"
            )
        multiple = 2 ** len(self.enc)
        if self.sampling.size % multiple:
            raise InputError(
                f"`size` {self.sampling.size}: expected a multiple of {multiple}, as `enc` halves frames {len(self.enc)} "
                f"times; give {-(-self.sampling.size // multiple) * multiple}"
            )

    @property
    def needs_truth(self) -> bool:
        """Whether the similarity needs the truth of simulated runs."""
        return self.image_loss == TRUTH

    @classmethod
    def paper(cls) -> TrainingConfig:
        """Return the paper's training; all other defaults are the paper's.

        Source: Zhou et al., Radiology Advances 1(3), 2024, umae020.
        """
        return cls(init="voxelmorph", sampling=Sampling(intensity="linear"))

    @property
    def default_hyper(self) -> float:
        """λ that the model registers with where the user names none."""
        return DEFAULT_LAMBDA[self.image_loss] if self.hyper is None else self.hyper

    def check_validation(self, validation: Sequence[Path]) -> None:
        """Check that there are runs to validate on, if an option needs them.

        Args:
            validation: stores and DICOM runs.

        Raises:
            InputError: there are none.
        """
        needing = [name for name in ("patience", "validation_steps") if getattr(self, name)]
        needing += ["best_by"] * (self.best_by == "artefact")
        if needing and not validation:
            raise InputError(f"`{needing[0]}`: expected `validation` STORE with it, found none; name runs, or leave it out")


USUAL = TrainingConfig()
