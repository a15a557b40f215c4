"""`angiomorph train`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from angiomorph.cli.arguments import add_options, add_verb, name_flags
from angiomorph.cli.images import TrainingData, add_image_lists, read_training_data
from angiomorph.cli.prepare import write_store
from angiomorph.cli.terminal import say
from angiomorph.cli.voxelmorph import refuse_ncc
from angiomorph.errors import InputError
from angiomorph.evaluation.find import sort_out
from angiomorph.storage import model_file
from angiomorph.storage.store import is_hdf5
from angiomorph.training.config import Augmentation, Sampling, TrainingConfig
from angiomorph.training.model_dir import check_model_dir

Options = TypeVar("Options", TrainingConfig, Sampling, Augmentation)
PRESETS: Mapping[str | None, Callable[[], TrainingConfig]] = {None: TrainingConfig, "paper": TrainingConfig.paper}


def add_train(verbs: Any) -> None:
    verb = add_verb(verbs, "train", _train, "Train a registration network on angiographic runs.")
    verb.add_argument("data", nargs="*", metavar="DATA", help="training stores (.h5), DICOM files or folders")
    add_image_lists(verb)
    verb.add_argument("--model-dir", metavar="DIR", default="models", help="where everything is written (default: models)")
    verb.add_argument("--preset", choices=("paper",), help="every value of the paper, linear intensity included")
    verb.add_argument("--resume", action="store_true", help="continue from the model directory's last checkpoint")
    verb.add_argument(
        "--validation",
        nargs="+",
        default=(),
        metavar="DATA",
        help="other runs: stores, DICOM files or folders, simulated ones with their truth; the best model is judged by them",
    )
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    add_options(verb, TrainingConfig, leave=("sampling", "mixed_precision"), first={"image_loss": refuse_ncc})
    precision = next(part for part in fields(TrainingConfig) if part.name == "mixed_precision")
    verb.add_argument("--mixed-precision", action="store_const", const="auto", help=precision.metadata["help"])
    pairs = verb.add_argument_group("pairs", "Which pairs of frames and which lambda a step is trained on.")
    add_options(pairs, Sampling, leave=("augmentation",))
    varied = verb.add_argument_group(
        "augmentation", "How far each training pair is varied, both frames alike but for the noise."
    )
    add_options(varied, Augmentation)
    # What is not given is None, so that a preset may decide.
    names = [part.name for options in (TrainingConfig, Sampling, Augmentation) for part in fields(options)]
    verb.set_defaults(**dict.fromkeys(names))


def read_training_config(arguments: argparse.Namespace) -> TrainingConfig:
    """Return the configuration that the arguments ask for: the preset's, but for what is given.

    Raises:
        InputError: options do not go together.
    """
    base = PRESETS[arguments.preset]()
    augmentation = _change(base.sampling.augmentation, arguments)
    sampling = _change(base.sampling, arguments, augmentation=augmentation)
    return _change(base, arguments, sampling=sampling)


def _change(options: Options, arguments: argparse.Namespace, **given: Any) -> Options:
    for part in fields(options):
        value = getattr(arguments, part.name, None)
        if value is not None:
            given[part.name] = tuple(value) if isinstance(value, list) else value
    return replace(options, **given)


def _train(arguments: argparse.Namespace) -> int:
    config = read_training_config(arguments)
    validation = [Path(path) for path in arguments.validation]
    config.check_validation(validation)
    given = read_training_data(arguments)
    if not given.paths and not given.pairs:
        raise InputError(
            "expected DATA (training stores, DICOM files or folders) or --img-list, found neither; give one of them"
        )
    model_dir = Path(arguments.model_dir)
    check_model_dir(model_dir, resume=arguments.resume)
    _check_files(given, config, validation, arguments.resume)
    if arguments.gpu is not None:  # before an archive is decoded for nothing
        from angiomorph.backend import configure_gpu

        configure_gpu(arguments.gpu)
    stores = _stores(given, model_dir, arguments.resume, arguments.parser)

    from angiomorph.training.train import train

    def tell(line: str) -> None:
        say(name_flags(line, arguments.parser))

    path = train(stores, model_dir, config, validation=validation, resume=arguments.resume, gpu=arguments.gpu, say=tell)
    print(f"trained: {path}")
    return 0


def _check_files(given: TrainingData, config: TrainingConfig, validation: list[Path], resume: bool) -> None:
    """Refuse files that are not there or of another kind, before TensorFlow is imported and an archive is decoded.

    Raises:
        InputError: names the file.
    """
    for path in given.paths:
        if path.suffix == ".h5" and not is_hdf5(path):
            raise InputError(f"{path}: expected a training store, found {'no HDF5 file' if path.exists() else 'no such file'}")
    sort_out(validation)
    if config.load_weights is not None and not resume:
        model_file.check_path(config.load_weights, *model_file.INITIAL)


def _stores(given: TrainingData, model_dir: Path, resume: bool, parser: argparse.ArgumentParser) -> list[Path]:
    """Return the training stores among DATA, and one made of the runs that are no store if there are any."""
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
            parser,
            size=None,
            unsubtracted=False,
            workers=os.cpu_count() or 1,
            images=given.images,
            pairs=given.pairs,
        )
    return [*stores, prepared]
