"""`angiomorph train`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.cli.arguments import add_verb, read_count, read_degrees, read_fraction, read_weight
from angiomorph.cli.images import TrainingData, add_image_lists, read_training_data
from angiomorph.cli.prepare import write_store
from angiomorph.cli.voxelmorph import refuse_ncc
from angiomorph.errors import InputError

if TYPE_CHECKING:
    from angiomorph.training.train import TrainingConfig


PAPER = {
    "image_sigma": 0.3,
    "frames_per_series": 50,
    "background_frames": 3,
    "epochs": 10,
    "steps_per_epoch": None,
    "batch_size": 1,
    "series_per_batch": 1,
    "lr": 1e-4,
    "final_lr": None,
    "size": 512,
    "enc": [16, 32, 32, 32],
    "dec": [32, 32, 32, 32, 32, 16, 16],
    "int_steps": 0,
    "int_downsize": 2,
    "hyp_units": [32, 64, 128, 128],
    "hyp_rank": None,
    "init": "voxelmorph",
    "oversample_rate": 0.0,
    "lambda_sampling": "ends",
    "intensity": "linear",
    "flip": 0.0,
    "rotate": 0.0,
    "zoom": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
}


LOSSES = ("mse", "minmax", "vle", "truth")
TRAIN_DEFAULTS = {**PAPER, "intensity": "auto", "init": "he"}


SIMILARITY = "similarity; truth, that of noise-free frames without iodine, is for stores of simulated runs (default: vle)"


def add_train(verbs: Any) -> None:
    verb = add_verb(verbs, "train", _train, "Train a registration network on angiographic runs.")
    verb.add_argument("data", nargs="*", metavar="DATA", help="training stores (.h5), DICOM files or folders")
    add_image_lists(verb)
    verb.add_argument("--model-dir", metavar="DIR", default="models", help="where everything is written (default: models)")
    verb.add_argument("--image-loss", type=refuse_ncc, choices=LOSSES, default="vle", help=SIMILARITY)
    summary = "of --image-loss truth, how much dearer an error is that changes the contrast of vessels (default: 0)"
    verb.add_argument("--contrast-weight", type=read_weight, default=0.0, metavar="X", help=summary)
    verb.add_argument("--preset", choices=("paper",), help="every value of the paper, linear intensity included")
    options: list[tuple[str, Callable[[str], Any], str]] = [
        ("image-sigma", float, "alpha_sim, the scale of the similarity"),
        ("frames-per-series", read_count, "contrast frames drawn from a run each epoch"),
        ("background-frames", read_count, "first frames that are background where a run names none"),
        ("epochs", read_count, "visits of every run"),
        ("steps-per-epoch", read_count, "batches an epoch instead of one visit of every run"),
        ("batch-size", read_count, "pairs a step, of one lambda; several GPUs share them"),
        ("series-per-batch", read_count, "runs that the pairs of a step are of, in equal shares"),
        ("lr", float, "Adam's learning rate"),
        ("final-lr", float, "what it falls to at the end, along half a cosine"),
        ("size", read_count, "side of the network's frames in pixels; larger frames shrink to it"),
        ("int-steps", int, "integration steps; 0 for none"),
        ("int-downsize", read_count, "relative pixel size of the flow during integration"),
        ("hyp-rank", read_count, "rank of the generated weights; fewer parameters, faster steps"),
        ("oversample-rate", read_fraction, "probability that lambda is 0 or 1"),
    ]
    for name, kind, summary in options:
        default = TRAIN_DEFAULTS[name.replace("-", "_")]
        verb.add_argument(f"--{name}", type=kind, metavar="X", help=f"{summary} (default: {default})")
    for name, summary in (("enc", "encoder features"), ("dec", "decoder features"), ("hyp-units", "hypernetwork units")):
        default = " ".join(map(str, TRAIN_DEFAULTS[name.replace("-", "_")]))  # type: ignore[arg-type]
        verb.add_argument(f"--{name}", type=read_count, nargs="+", metavar="N", help=f"{summary} (default: {default})")
    _add_augmentation(verb)
    verb.add_argument("--intensity", choices=("auto", "log", "linear"), help="auto: log for LIN runs (default: auto)")
    verb.add_argument("--init", choices=("he", "voxelmorph"), help="first weights (default: he)")
    verb.add_argument(
        "--lambda-sampling",
        choices=("uniform", "ends", "beta"),
        help="how lambda is drawn: uniform; uniform but for --oversample-rate; or Beta(2, 2) (default: ends)",
    )
    verb.add_argument(
        "--lambda",
        dest="hyper",
        type=read_fraction,
        metavar="L",
        help="to register with by default (default: 0.7; 0.5 for minmax and truth)",
    )
    verb.add_argument(
        "--levels",
        type=read_count,
        default=1,
        metavar="N",
        help="to register with by default, as in register (default: 1)",
    )
    verb.add_argument(
        "--finer",
        action="store_true",
        help="train also at twice --size, on windows of frames that the network has moved, as --levels registers",
    )
    verb.add_argument("--load-weights", metavar="M.h5", help="model to begin with, VoxelMorph's too")
    verb.add_argument("--initial-epoch", type=int, default=0, metavar="N", help="epochs counted as done (default: 0)")
    verb.add_argument("--resume", action="store_true", help="go on from the model directory's last checkpoint")
    verb.add_argument(
        "--checkpoint-steps",
        type=read_count,
        default=1000,
        metavar="N",
        help="steps between checkpoints within an epoch (default: 1000)",
    )
    verb.add_argument("--keep", type=read_count, default=3, metavar="N", help="checkpoints kept (default: 3)")
    verb.add_argument(
        "--on-nan",
        choices=("stop", "skip"),
        default="stop",
        help="at a batch whose loss or gradient is not finite: stop, or leave it out (default: stop)",
    )
    verb.add_argument(
        "--validation",
        nargs="+",
        default=(),
        metavar="DATA",
        help="other runs: stores, DICOM files or folders, simulated ones with their truth; the best model is judged by them",
    )
    verb.add_argument(
        "--validation-steps",
        type=read_count,
        metavar="N",
        help="steps between validations within an epoch (default: at its end)",
    )
    verb.add_argument(
        "--mixed-precision",
        action="store_true",
        help="convolve in float16 on a GPU, in bfloat16 on a CPU that has it; flow, warp, losses and weights stay float32",
    )
    verb.add_argument(
        "--best-by",
        choices=("loss", "artefact"),
        default="loss",
        help="what the best model has least of: objective, or artefact and lost contrast of simulated runs (default: loss)",
    )
    verb.add_argument(
        "--patience", type=read_count, metavar="N", help="validations without a better model that stop the training"
    )
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and draws (default: 0)")


def _add_augmentation(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group(
        "augmentation", "How far each training pair is varied, both frames alike but for the noise."
    )
    options: list[tuple[str, Callable[[str], float], str, str]] = [
        ("flip", read_fraction, "P", "probability that a pair is mirrored left to right"),
        ("rotate", read_degrees, "DEGREES", "largest rotation to either side"),
        ("zoom", read_fraction, "F", "largest magnification less 1: scales from 1/(1+F) to 1+F"),
        ("gamma", read_fraction, "F", "attenuation, ln of intensity, times 1/(1+F) to 1"),
        ("noise", read_fraction, "SIGMA", "largest noise added, relative to intensity at the run's bright end"),
    ]
    for name, kind, metavar, summary in options:
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=f"{summary} (default: 0, none)")


def _resolved(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the training options, the preset's where the user gave none."""
    defaults = PAPER if arguments.preset == "paper" else TRAIN_DEFAULTS
    given = {name: getattr(arguments, name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in given.items()}


def read_training_config(arguments: argparse.Namespace) -> TrainingConfig:
    from angiomorph.training.augmentation import Augmentation
    from angiomorph.training.dataset import Sampling
    from angiomorph.training.train import TrainingConfig

    options = _resolved(arguments)
    drawn = (
        *("frames_per_series", "background_frames", "batch_size", "series_per_batch"),
        *("size", "oversample_rate", "lambda_sampling", "intensity"),
    )
    if options["oversample_rate"] and options["lambda_sampling"] != "ends":
        raise InputError(
            f"--oversample-rate {options['oversample_rate']}: expected --lambda-sampling ends with it, got "
            f"{options['lambda_sampling']}; leave one of them out"
        )
    if arguments.contrast_weight and arguments.image_loss != "truth":
        raise InputError(
            f"--contrast-weight {arguments.contrast_weight}: expected --image-loss truth with it, got {arguments.image_loss}; "
            "only the truth tells contrast from motion"
        )
    augmentation = Augmentation(**{name: options.pop(name) for name in ("flip", "rotate", "zoom", "gamma", "noise")})
    sampling = Sampling(
        **{name: options.pop(name) for name in drawn}, finer=arguments.finer, seed=arguments.seed, augmentation=augmentation
    )
    return TrainingConfig(
        image_loss=arguments.image_loss,
        contrast_weight=arguments.contrast_weight,
        levels=arguments.levels,
        sampling=sampling,
        hyper=arguments.hyper,
        load_weights=arguments.load_weights,
        initial_epoch=arguments.initial_epoch,
        checkpoint_steps=arguments.checkpoint_steps,
        keep=arguments.keep,
        on_nan=arguments.on_nan,
        validation_steps=arguments.validation_steps,
        patience=arguments.patience,
        mixed_precision="auto" if arguments.mixed_precision else None,
        best_by=arguments.best_by,
        **options,
    )


def _train(arguments: argparse.Namespace) -> int:
    from angiomorph.training.train import train

    given = read_training_data(arguments)
    if not given.paths and not given.pairs:
        raise InputError("train: expected DATA (training stores, DICOM files or folders) or --img-list, found neither")
    model_dir = Path(arguments.model_dir)
    stores = _stores(given, model_dir, arguments.resume)
    config = read_training_config(arguments)
    validation = [Path(path) for path in arguments.validation]
    path = train(stores, model_dir, config, validation=validation, resume=arguments.resume, gpu=arguments.gpu)
    print(f"trained: {path}")
    return 0


def _stores(given: TrainingData, model_dir: Path, resume: bool) -> list[Path]:
    """Return the training stores among DATA, and one made of the runs that are no store if there are any."""
    from angiomorph.storage.store import is_hdf5

    stores = [path for path in given.paths if is_hdf5(path)]
    archive = [path for path in given.paths if path not in stores]
    if not archive and not given.pairs:
        return stores
    prepared = model_dir / "archive.h5"
    if not (resume and prepared.exists()):
        if os.environ.get("TF_CONFIG"):
            raise InputError(
                "TF_CONFIG: expected training stores as DATA of several workers, found DICOM, which each would prepare; "
                "prepare it once with: angiomorph prepare DICOM... STORE.h5"
            )
        kind = "DICOM" if given.images is None else "image"
        print(f"preparing {prepared} from {len(archive) + len(given.pairs)} {kind} paths")
        write_store(
            archive,
            prepared,
            size=None,
            unsubtracted=False,
            workers=os.cpu_count() or 1,
            images=given.images,
            pairs=given.pairs,
        )
    return [*stores, prepared]
