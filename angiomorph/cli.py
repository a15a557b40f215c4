"""The command line: `angiomorph train | register | prepare | simulate | evaluate | import-weights | compact | bake | info`.

TensorFlow is imported by the verbs that compute with it, so that `--help` and data preparation are instant.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph import __version__, kept
from angiomorph.encoding import CLASSES, COMPRESSIONS, DEPTHS, Encoding
from angiomorph.errors import InputError

if TYPE_CHECKING:
    from angiomorph.batch import Outcome
    from angiomorph.simulate.settings import SimulationSettings
    from angiomorph.training import TrainingConfig

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
TRAIN_DEFAULTS = {**PAPER, "intensity": "auto", "init": "he"}
SIMILARITY = "similarity; truth, that of noise-free frames without iodine, is for stores of simulated runs (default: vle)"
SILENCE = 60  # seconds without a line on progress
EXAMPLES = "Research use only. Exit status: 0 all done; 1 some runs failed; 2 wrong use or unusable input."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None for `sys.argv`.

    Returns:
        exit status: 0 all done; 1 some runs failed; 2 wrong use or unusable input.
    """
    arguments = parser().parse_args(argv)
    logging.captureWarnings(True)
    try:
        status: int = arguments.run(arguments)
    except InputError as error:
        _complain(arguments.verb, str(error))
        return 2
    except OSError as error:
        subject = f"{error.filename}: " if error.filename else ""
        _complain(arguments.verb, f"{subject}cannot be read or written: {error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        print(f"angiomorph {arguments.verb}: interrupted", file=sys.stderr)
        return 130
    return status


def _complain(verb: str, message: str) -> None:
    """Print one paragraph on standard error; what HDF5 and TensorFlow say of a file may have several lines."""
    print(f"angiomorph {verb}: {' '.join(message.splitlines())}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="angiomorph", description="Motion-free background-subtraction angiography.", epilog=EXAMPLES
    )
    top.add_argument("--version", action="version", version=f"angiomorph {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (
        _add_train,
        _add_register,
        _add_prepare,
        _add_simulate,
        _add_evaluate,
        _add_import_weights,
        _add_compact,
        _add_bake,
        _add_info,
    ):
        add(verbs)
    return top


def _verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, epilog=EXAMPLES)
    verb.set_defaults(run=run)
    return verb


def _fraction(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")


def _degrees(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 180:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected degrees from 0 to 180, got {text}")


def _count(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in map(str.strip, text.split(",")) if word))


def _steps(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text}")


def _weight(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0, got {text}")


def _add_unsubtracted(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--unsubtracted", action="store_true", help="take runs as acquired, whatever headers say of subtraction")


def _add_refine(verb: argparse.ArgumentParser) -> None:
    summary = "sizes at which the network sees the frames, each twice the one before, the first its own (default: the model's)"
    verb.add_argument("--levels", type=_count, metavar="N", help=summary)
    summary = "further passes of the network through its finer sizes; each takes about as long as the network (default: 0)"
    verb.add_argument("--rounds", type=_steps, default=0, metavar="N", help=summary)
    summary = "steps that improve the warp after the network, by the loss of its training; not for one of truth (default: 40)"
    verb.add_argument("--refine", type=_steps, metavar="STEPS", help=summary)
    verb.add_argument("--no-guard", action="store_true", help="warp every frame, also where nothing shows that it moves")


def _add_train(verbs: Any) -> None:
    verb = _verb(verbs, "train", _train, "Train a registration network on angiographic runs.")
    verb.add_argument("data", nargs="*", metavar="DATA", help="training stores (.h5), DICOM files or folders")
    verb.add_argument("--img-list", metavar="FILE", help="text file that names DATA, one a line")
    verb.add_argument("--model-dir", metavar="DIR", default="models", help="where everything is written (default: models)")
    verb.add_argument("--image-loss", choices=("mse", "minmax", "vle", "truth"), default="vle", help=SIMILARITY)
    summary = "of --image-loss truth, how much dearer an error is that changes the contrast of vessels (default: 0)"
    verb.add_argument("--contrast-weight", type=_weight, default=0.0, metavar="X", help=summary)
    verb.add_argument("--preset", choices=("paper",), help="every value of the paper, linear intensity included")
    options: list[tuple[str, Callable[[str], Any], str]] = [
        ("image-sigma", float, "alpha_sim, the scale of the similarity"),
        ("frames-per-series", _count, "contrast frames drawn from a run each epoch"),
        ("background-frames", _count, "first frames that are background where a run names none"),
        ("epochs", _count, "visits of every run"),
        ("steps-per-epoch", _count, "batches an epoch instead of one visit of every run"),
        ("batch-size", _count, "pairs a step, of one lambda; several GPUs share them"),
        ("series-per-batch", _count, "runs that the pairs of a step are of, in equal shares"),
        ("lr", float, "Adam's learning rate"),
        ("final-lr", float, "what it falls to at the end, along half a cosine"),
        ("size", _count, "side of the network's frames in pixels; larger frames shrink to it"),
        ("int-steps", int, "integration steps; 0 for none"),
        ("int-downsize", _count, "relative pixel size of the flow during integration"),
        ("hyp-rank", _count, "rank of the generated weights; fewer parameters, faster steps"),
        ("oversample-rate", _fraction, "probability that lambda is 0 or 1"),
    ]
    for name, kind, summary in options:
        default = TRAIN_DEFAULTS[name.replace("-", "_")]
        verb.add_argument(f"--{name}", type=kind, metavar="X", help=f"{summary} (default: {default})")
    for name, summary in (("enc", "encoder features"), ("dec", "decoder features"), ("hyp-units", "hypernetwork units")):
        default = " ".join(map(str, TRAIN_DEFAULTS[name.replace("-", "_")]))  # type: ignore[arg-type]
        verb.add_argument(f"--{name}", type=_count, nargs="+", metavar="N", help=f"{summary} (default: {default})")
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
        type=_fraction,
        metavar="L",
        help="to register with by default (default: 0.7; 0.5 for minmax and truth)",
    )
    verb.add_argument(
        "--levels",
        type=_count,
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
        type=_count,
        default=1000,
        metavar="N",
        help="steps between checkpoints within an epoch (default: 1000)",
    )
    verb.add_argument("--keep", type=_count, default=3, metavar="N", help="checkpoints kept (default: 3)")
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
        "--validation-steps", type=_count, metavar="N", help="steps between validations within an epoch (default: at its end)"
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
    verb.add_argument("--patience", type=_count, metavar="N", help="validations without a better model that stop the training")
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and draws (default: 0)")


def _add_augmentation(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group(
        "augmentation", "How far each training pair is varied, both frames alike but for the noise."
    )
    options: list[tuple[str, Callable[[str], float], str, str]] = [
        ("flip", _fraction, "P", "probability that a pair is mirrored left to right"),
        ("rotate", _degrees, "DEGREES", "largest rotation to either side"),
        ("zoom", _fraction, "F", "largest magnification less 1: scales from 1/(1+F) to 1+F"),
        ("gamma", _fraction, "F", "attenuation, ln of intensity, times 1/(1+F) to 1"),
        ("noise", _fraction, "SIGMA", "largest noise added, relative to intensity at the run's bright end"),
    ]
    for name, kind, metavar, summary in options:
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=f"{summary} (default: 0, none)")


def _resolved(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the training options, the preset's where the user gave none."""
    defaults = PAPER if arguments.preset == "paper" else TRAIN_DEFAULTS
    given = {name: getattr(arguments, name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in given.items()}


def _training_config(arguments: argparse.Namespace) -> TrainingConfig:
    from angiomorph.augmentation import Augmentation
    from angiomorph.dataset import Sampling
    from angiomorph.training import TrainingConfig

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
    from angiomorph.training import train

    data = [Path(path) for path in arguments.data]
    if arguments.img_list:
        data += _listed(Path(arguments.img_list))
    if not data:
        raise InputError("train: expected DATA (training stores, DICOM files or folders) or --img-list, found neither")
    model_dir = Path(arguments.model_dir)
    stores = _stores(data, model_dir, arguments.resume)
    config = _training_config(arguments)
    validation = [Path(path) for path in arguments.validation]
    path = train(stores, model_dir, config, validation=validation, resume=arguments.resume, gpu=arguments.gpu)
    print(f"trained: {path}")
    return 0


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--img-list {path}: expected a text file of paths, one a line, but: {error}") from error
    return [Path(line.strip()) for line in lines if line.strip()]


def _stores(data: list[Path], model_dir: Path, resume: bool) -> list[Path]:
    """Return the training stores among DATA, and one made of the DICOM runs if there are any."""
    from angiomorph.store import is_hdf5

    stores = [path for path in data if is_hdf5(path)]
    archive = [path for path in data if path not in stores]
    if not archive:
        return stores
    prepared = model_dir / "archive.h5"
    if not (resume and prepared.exists()):
        if os.environ.get("TF_CONFIG"):
            raise InputError(
                "TF_CONFIG: expected training stores as DATA of several workers, found DICOM, which each would prepare; "
                "prepare it once with: angiomorph prepare DICOM... STORE.h5"
            )
        print(f"preparing {prepared} from {len(archive)} DICOM paths")
        _prepare_into(archive, prepared, size=None, unsubtracted=False, workers=os.cpu_count() or 1)
    return [*stores, prepared]


def _add_prepare(verbs: Any) -> None:
    verb = _verb(verbs, "prepare", _prepare, "Turn a DICOM archive into a training store without identities.")
    verb.add_argument("dicom", nargs="+", metavar="DICOM", help="DICOM files, folders, or trees of them")
    verb.add_argument("store", metavar="STORE.h5", help="the training store to write; the same command goes on if stopped")
    verb.add_argument("--size", type=_count, metavar="N", help="shrink frames whose longer side is larger, pixels")
    _add_unsubtracted(verb)
    verb.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="processes (default: one a core)")


def _prepare(arguments: argparse.Namespace) -> int:
    dicom = [Path(path) for path in arguments.dicom]
    return _prepare_into(
        dicom, Path(arguments.store), size=arguments.size, unsubtracted=arguments.unsubtracted, workers=arguments.workers
    )


def _prepare_into(dicom: Sequence[Path], path: Path, *, size: int | None, unsubtracted: bool, workers: int) -> int:
    from angiomorph.dicom import say_passed_over
    from angiomorph.prepare import prepare
    from angiomorph.store import is_hdf5

    if path.exists() and not is_hdf5(path):
        raise InputError(
            f"{path}: expected a new file or an older store to replace, found something else; name the store last: "
            "angiomorph prepare DICOM... STORE.h5"
        )
    report = prepare(
        dicom, path, size=size, unsubtracted=unsubtracted, workers=workers, progress=_progress("runs read"), say=_say
    )
    for name, reason in report.left_out:
        print(f"left out {name}: {reason}", file=sys.stderr)
    passed_over = f"; {line}" if (line := say_passed_over(report.passed_over)) else ""
    _print(f"{path}: {report.taken} runs taken, {len(report.left_out)} left out{passed_over}")
    return 1 if report.left_out else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """Return a callback that shows (done, total) and the time left, as a bar on a terminal and as plain lines elsewhere.

    Lines come at each tenth and after a minute without one. What the first call counts as done counts for no speed.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(desc=what)

        def update(done: int, total: int) -> None:
            if bar.total is None:
                bar.total, bar.initial, bar.n = total, done, done
                bar.refresh()
            bar.update(done - bar.n)
            if done == total:
                bar.close()

        return update

    first: list[tuple[float, int]] = []  # time and count of the first call
    last = [time.monotonic()]

    def line(done: int, total: int) -> None:
        now = time.monotonic()
        if not first:
            first.append((now, done))
        if done == total or done * 10 // total != (done - 1) * 10 // total or now - last[0] >= SILENCE:
            last[0] = now
            _say(f"{what}: {done}/{total}{_left(now - first[0][0], done - first[0][1], total - done)}")

    return line


def _left(elapsed: float, done: int, left: int) -> str:
    """Return ", about 1:02:03 left" for `left` runs at the speed of `done` runs in `elapsed` seconds."""
    if not done or not left:
        return ""
    return f", about {timedelta(seconds=round(elapsed / done * left))} left"


def _add_simulate(verbs: Any) -> None:
    verb = _verb(verbs, "simulate", _simulate, "Make angiographic runs with known truth from a CT.")
    verb.add_argument("--out", metavar="DIR", help="folder for DICOM runs and their truth")
    verb.add_argument("--store", metavar="STORE.h5", help="training store to write")
    verb.add_argument(
        "--ct", metavar="CT", help="CT of head, neck or chest: NIfTI, DICOM folder; without one, a procedural head"
    )
    verb.add_argument("--vessels", metavar="NII", help="CT angiography of a head without bone; without one, vessels are grown")
    verb.add_argument("--runs", type=_count, default=1, help="how many (default: 1)")
    verb.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    verb.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    verb.add_argument("--picture", metavar="PNG", help="contact sheet to write of the runs in --out")
    drawn = verb.add_argument_group(
        "what is drawn (ranges and shares: anew for each run; defaults: those of SimulationSettings)"
    )
    for name, metavar, summary in (
        ("frames", "N", "frames a run"),
        ("background", "N", "frames before the contrast agent"),
        ("size", "N", "rows and columns, pixels, a multiple of 4"),
    ):
        drawn.add_argument(f"--{name}", type=_count, metavar=metavar, help=summary)
    for name, summary in (
        ("motion-mm", "largest shift of the patient, mm"),
        ("motion-deg", "largest turn, degrees"),
        ("kv", "tube voltage, kV"),
        ("copper", "filter, mm"),
        ("dose", "photons behind the patient per mm^2 and frame"),
        ("frame-time", "ms"),
        ("field-of-view", "detector width over 300 mm"),
        ("iodine", "in arteries, mg/ml"),
        ("blush", "blood shown in capillaries over what flows in, 0 to 1"),
    ):
        drawn.add_argument(f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"), help=summary)
    for name, summary in (
        ("still", "share of runs in which nothing moves but the blood"),
        ("parts", "share of runs in which jaw, throat, shoulders or diaphragm move, and a heart beats"),
        ("objects", "share of runs with a table, with leads, with a catheter"),
        ("metal", "share of runs with a clip or a coil"),
        ("grown", "share of runs with grown vessels although --vessels is given"),
        ("collimated", "share of runs with a visible collimator"),
    ):
        drawn.add_argument(f"--{name}", type=_fraction, metavar="SHARE", help=summary)
    drawn.add_argument("--deformation", type=float, metavar="MM", help="elastic change of the anatomy, standard deviation, mm")
    drawn.add_argument("--views", nargs="+", metavar="VIEW", help="of frontal, lateral, oblique")
    drawn.add_argument("--relations", nargs="+", metavar="RELATION", help="PixelIntensityRelationship, of LIN, LOG, DISP")
    drawn.add_argument("--bits-stored", nargs="+", type=_count, metavar="BITS", help="BitsStored, of 8, 10, 12, 16")


def _simulate(arguments: argparse.Namespace) -> int:
    from angiomorph.simulate.batch import run_path, simulate

    out = None if arguments.out is None else Path(arguments.out)
    if arguments.picture and out is None:
        raise InputError("simulate: expected --out DIR with --picture, whose runs it shows; name a folder")
    simulate(
        out,
        runs=arguments.runs,
        seed=arguments.seed,
        ct=arguments.ct,
        vessels=arguments.vessels,
        settings=_simulation_settings(arguments),
        store=arguments.store,
        workers=arguments.workers,
        progress=_progress("runs made"),
    )
    if arguments.picture and out is not None:
        from angiomorph.view.contact import contact_sheet

        contact_sheet([run_path(out, number) for number in range(1, arguments.runs + 1)], arguments.picture)
    return 0


def _simulation_settings(arguments: argparse.Namespace) -> SimulationSettings:
    from dataclasses import fields

    from angiomorph.simulate.settings import SimulationSettings

    given = {field.name: getattr(arguments, field.name) for field in fields(SimulationSettings)}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    for name in ("relations", "bits_stored"):
        if name in chosen:
            usual = dict(getattr(SimulationSettings, name))
            chosen[name] = tuple((value, usual.get(value, 1.0)) for value in chosen[name])
    return SimulationSettings(**chosen)


def _add_evaluate(verbs: Any) -> None:
    verb = _verb(verbs, "evaluate", _evaluate, "Measure registration on runs, against their truth where they are simulated.")
    verb.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders of them; simulated ones with their truth beside")
    verb.add_argument("--model", nargs="+", metavar="M.h5", help="models, or names of shipped ones (default: truth)")
    verb.add_argument("--lambda", dest="hyper", type=_fraction, nargs="+", metavar="L", help="(default: each model's own)")
    verb.add_argument("--background", default="auto", metavar="B", help="auto, tag, or frame numbers N or N-M (default: auto)")
    _add_refine(verb)
    verb.add_argument(
        "--out", metavar="DIR", help="folder for evaluation.md, .csv and .json, runs.csv and, of several lambda, lambda.png"
    )
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but the table and errors")
    verb.add_argument("--json", action="store_true", help="what evaluation.json holds on standard output, instead of the table")


def _evaluate(arguments: argparse.Namespace) -> int:
    from angiomorph import evaluate
    from angiomorph.backend import configure_gpu
    from angiomorph.registration import SHIPPED, Model

    configure_gpu(arguments.gpu)
    runs = evaluate.find_runs(arguments.runs)
    models = [Model(path) for path in arguments.model or [SHIPPED]]
    settings = evaluate.Settings(
        background=arguments.background,
        levels=arguments.levels,
        rounds=arguments.rounds,
        refine_steps=arguments.refine,
        guard=not arguments.no_guard,
    )
    progress = _silent if arguments.quiet else _progress("runs evaluated")
    entries, failed = evaluate.evaluate(runs, models, arguments.hyper or [], settings, progress)
    for reason in failed.values():
        _complain("evaluate", f"failed: {reason}")
    if len(failed) == len(runs):
        return 2
    report = evaluate.report(entries, models, settings)
    print(report.json() if arguments.json else report.text(), flush=True)
    if arguments.out:
        for path in report.write(Path(arguments.out)):
            if not arguments.quiet and not arguments.json:
                print(path)
    return 1 if failed else 0


def _silent(done: int, total: int) -> None:
    """Show no progress."""


def _add_register(verbs: Any) -> None:
    verb = _verb(verbs, "register", _register, "Register the background of DICOM runs and write subtracted runs.")
    verb.add_argument("runs", nargs="+", metavar="RUN", help="DICOM files, folders of frames, or trees of series")
    verb.add_argument("--model", metavar="M.h5", help="model, or the name of a shipped one (default: truth)")
    verb.add_argument("--lambda", dest="hyper", type=_fraction, metavar="L", help="0 to 1 (default: the model's own)")
    verb.add_argument("--out", metavar="DIR", default="registered", help="where to write (default: registered)")
    verb.add_argument("--background", default="auto", metavar="B", help="auto, tag, or frame numbers N or N-M (default: auto)")
    verb.add_argument(
        "--require-clean",
        action="store_true",
        help="refuse runs whose background shows iodine or may show it, instead of a warning",
    )
    verb.add_argument("--intensity", choices=("auto", "log", "linear"), help="what the network sees (default: the model's)")
    _add_unsubtracted(verb)
    _add_refine(verb)
    verb.add_argument(
        "--save",
        type=_kinds,
        default="dicom,h5",
        metavar="KINDS",
        help="of dicom,h5,png,dsa,dsa-state,shift-state,key,nifti (default: dicom,h5)",
    )
    verb.add_argument(
        "--pixel-depth",
        type=int,
        choices=DEPTHS,
        default=Encoding.pixel_depth,
        help="bits of the subtracted run (default: %(default)s)",
    )
    verb.add_argument(
        "--compress",
        choices=COMPRESSIONS,
        default=Encoding.compress,
        help="lossless compression of the subtracted run (default: %(default)s)",
    )
    verb.add_argument(
        "--save-class",
        choices=CLASSES,
        default=Encoding.save_class,
        help="DICOM class of the subtracted run, XA or Enhanced XA (default: %(default)s)",
    )
    verb.add_argument(
        "--keep-frames",
        default=kept.ALL,
        metavar="F",
        help="frames of the DICOM subtracted run: all, contrast, or numbers N or N-M (default: %(default)s)",
    )
    verb.add_argument(
        "--name",
        metavar="P",
        help="names of results by a pattern, as in '{SeriesNumber}_{stem}-{hash}' (default: the sources' own)",
    )
    verb.add_argument(
        "--anonymize",
        action="store_true",
        help="take the patient's identity out of all that is written, names too (DICOM PS3.15, basic profile)",
    )
    verb.add_argument("--frame", type=_count, metavar="N", help="frame of picture and key frame (default: the most iodine)")
    verb.add_argument("--batch-size", type=_count, default=4, metavar="N", help="frames at a time (default: 4)")
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument("--json", action="store_true", help="one JSON object a run on standard output")


def _register(arguments: argparse.Namespace) -> int:
    from angiomorph.batch import Options, register_runs
    from angiomorph.dicom import say_passed_over

    options = Options(
        hyper=arguments.hyper,
        background=arguments.background,
        intensity=arguments.intensity,
        save=arguments.save,
        frame=arguments.frame,
        levels=arguments.levels,
        rounds=arguments.rounds,
        refine=arguments.refine,
        guard=not arguments.no_guard,
        batch_size=arguments.batch_size,
        require_clean=arguments.require_clean,
        unsubtracted=arguments.unsubtracted,
        encoding=Encoding(arguments.pixel_depth, arguments.compress, arguments.save_class),
        keep_frames=arguments.keep_frames,
        name=arguments.name,
        anonymize=arguments.anonymize,
    )
    passed_over = Counter[str]()
    outcomes = register_runs(
        arguments.runs, Path(arguments.out), arguments.model, options, gpu=arguments.gpu, passed_over=passed_over
    )
    failed, total = [], 0
    for outcome in outcomes:
        total += 1
        if outcome.error:
            failed.append(outcome)
        _tell(outcome, as_json=arguments.json, quiet=arguments.quiet)
    for outcome in failed:
        _complain("register", f"failed: {outcome.error}")
    last = [f"{len(failed)} of {total} runs failed, the others are written"] if failed and total > 1 else []
    if passed_over and not arguments.quiet:
        last.append(say_passed_over(passed_over))
    if last:
        _complain("register", "; ".join(last))
    return 0 if not failed else 1 if total > 1 else 2


def _tell(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    if not quiet:
        for warning in outcome.warnings:
            _complain("register", f"warning: {warning}")
    if as_json:
        print(json.dumps(outcome.summary or {"name": outcome.name, "error": outcome.error}), flush=True)
    elif not quiet and not outcome.error:
        _print(outcome.line())


def _print(line: str) -> None:
    """Print a line on standard output, which takes no names that are not of its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _add_import_weights(verbs: Any) -> None:
    verb = _verb(verbs, "import-weights", _import_weights, "Turn weights of VxmDense(hyp_model=...) into a model.")
    verb.add_argument("weights", metavar="FILE", help="weights-only .h5 of the paper's network")
    verb.add_argument("out", metavar="OUT.h5", help="the model to write")
    verb.add_argument("--size", type=_count, default=512, help="frame size that it was trained on (default: 512)")
    verb.add_argument(
        "--intensity", choices=("auto", "log", "linear"), default="linear", help="(default: linear, as the paper)"
    )
    verb.add_argument("--image-loss", choices=("mse", "minmax", "vle"), default="vle", help="of its training (default: vle)")
    verb.add_argument(
        "--lambda", dest="hyper", type=_fraction, default=0.7, metavar="L", help="to register with (default: 0.7)"
    )


def _import_weights(arguments: argparse.Namespace) -> int:
    from angiomorph import networks

    metadata = {
        "version": __version__,
        "size": arguments.size,
        "intensity": arguments.intensity,
        "image_loss": arguments.image_loss,
        "lambda": arguments.hyper,
    }
    model = networks.import_weights(arguments.weights, (arguments.size, arguments.size), **metadata)
    return _saved(model, arguments.out)


def _add_compact(verbs: Any) -> None:
    verb = _verb(verbs, "compact", _compact, "Make a model file small by a low-rank head.")
    verb.add_argument("model", metavar="M.h5")
    verb.add_argument("out", metavar="OUT.h5")
    verb.add_argument("--rank", type=_count, default=8, help="of the generated weights (default: 8)")


def _compact(arguments: argparse.Namespace) -> int:
    from angiomorph import networks

    return _saved(networks.compact(networks.AngioMorph.load(arguments.model), arguments.rank), arguments.out)


def _add_bake(verbs: Any) -> None:
    verb = _verb(verbs, "bake", _bake, "Turn a model at one lambda into a plain VoxelMorph VxmDense.")
    verb.add_argument("model", metavar="M.h5")
    verb.add_argument("out", metavar="OUT.h5")
    verb.add_argument("--lambda", dest="hyper", type=_fraction, required=True, metavar="L", help="0 to 1")


def _bake(arguments: argparse.Namespace) -> int:
    from angiomorph import networks

    return _saved(networks.bake(networks.AngioMorph.load(arguments.model), arguments.hyper), arguments.out)


def _add_info(verbs: Any) -> None:
    verb = _verb(verbs, "info", _info, "Tell what a model, checkpoint, weights, training store or result file holds.")
    verb.add_argument("file", metavar="FILE.h5")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _info(arguments: argparse.Namespace) -> int:
    from angiomorph.info import describe, lines

    found = describe(Path(arguments.file))
    print(json.dumps(found) if arguments.json else "\n".join(lines(found)))
    return 0


def _saved(model: Any, out: str) -> int:
    from angiomorph import networks

    networks.save(model, out)
    print(f"{out}: {model.count_params():,} parameters, SHA-256 {networks.sha256(out)}")
    return 0
