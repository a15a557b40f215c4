"""`angiomorph import-weights | compact | bake | export | info`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.cli.arguments import add_verb, read_count, read_fraction
from angiomorph.errors import InputError
from angiomorph.paper import DEFAULT_LAMBDA, FRAME_SIZE
from angiomorph.preprocessing.intensity import INTENSITIES
from angiomorph.storage import model_file


def add_import_weights(verbs: Any) -> None:
    verb = add_verb(verbs, "import-weights", _import_weights, "Turn weights of VxmDense(hyp_model=...) into a model.")
    verb.add_argument("weights", metavar="FILE", help="weights-only .h5 of the paper's network")
    verb.add_argument("out", metavar="OUT.h5", help="the model to write")
    trained = "frame size that it was trained on (default: %(default)s)"
    verb.add_argument("--size", type=read_count, default=FRAME_SIZE, help=trained)
    verb.add_argument(
        "--intensity",
        choices=INTENSITIES,
        default="linear",
        help="what the network sees of a run (default: linear, as the paper)",
    )
    verb.add_argument(
        "--image-loss", choices=("mse", "minmax", "vle"), default="vle", help="loss it was trained with (default: vle)"
    )
    verb.add_argument(
        "--lambda",
        dest="hyper",
        type=read_fraction,
        default=DEFAULT_LAMBDA["vle"],
        metavar="L",
        help="default lambda of the model (default: %(default)s)",
    )


def _import_weights(arguments: argparse.Namespace) -> int:
    _check_name(arguments.out)
    model_file.check_path(arguments.weights, *model_file.IMPORTED)
    from angiomorph import networks

    metadata = {
        "version": __version__,
        "size": arguments.size,
        "intensity": arguments.intensity,
        "image_loss": arguments.image_loss,
        "lambda": arguments.hyper,
    }
    model = networks.import_weights(arguments.weights, (arguments.size, arguments.size), **metadata)
    return _save_model(model, arguments.out)


def add_compact(verbs: Any) -> None:
    verb = add_verb(verbs, "compact", _compact, "Make a model file small by a low-rank head.")
    verb.add_argument("model", metavar="M.h5")
    verb.add_argument("out", metavar="OUT.h5")
    verb.add_argument("--rank", type=read_count, default=8, help="rank of the generated weights (default: 8)")


def _compact(arguments: argparse.Namespace) -> int:
    _check_name(arguments.out)
    model_file.check_path(arguments.model, *model_file.MODEL)
    from angiomorph import networks

    return _save_model(networks.compact(networks.AngioMorph.load(arguments.model), arguments.rank), arguments.out)


def add_bake(verbs: Any) -> None:
    verb = add_verb(verbs, "bake", _bake, "Turn a model at one lambda into a plain VoxelMorph VxmDense.")
    verb.add_argument("model", metavar="M.h5")
    verb.add_argument("out", metavar="OUT.h5")
    verb.add_argument("--lambda", dest="hyper", type=read_fraction, required=True, metavar="L", help="lambda to fix, 0 to 1")
    verb.add_argument("--size", type=read_count, metavar="N", help="side of the frames it takes (default: the model's)")


def _bake(arguments: argparse.Namespace) -> int:
    _check_name(arguments.out)
    model_file.check_path(arguments.model, *model_file.MODEL)
    from angiomorph import networks

    source = {"source_sha256": networks.sha256(arguments.model), "version": __version__}
    model = networks.AngioMorph.load(arguments.model)
    return _save_model(networks.bake(model, arguments.hyper, arguments.size, **source), arguments.out)


def add_export(verbs: Any) -> None:
    summary = "Write the registration of pairs at one lambda as ONNX or as a SavedModel, for programs without this one."
    verb = add_verb(verbs, "export", _export, summary)
    verb.add_argument("model", metavar="M.h5", help="the file of a model, or the name of a shipped one")
    verb.add_argument("out", metavar="OUT", help="OUT.onnx, or the name of a new folder for a SavedModel")
    verb.add_argument(
        "--lambda", dest="hyper", type=read_fraction, metavar="L", help="lambda to fix, 0 to 1 (default: the model's own)"
    )
    verb.add_argument("--licence", metavar="TEXT", help="licence text written into the file (default: a shipped model's own)")


def _export(arguments: argparse.Namespace) -> int:
    from angiomorph.registration.model_defaults import MODELS, find_model, read_model_defaults
    from angiomorph.registration.options import RegistrationOptions

    path, out = find_model(arguments.model), Path(arguments.out)
    hyper = read_model_defaults(path).complete(RegistrationOptions(hyper=arguments.hyper)).hyper
    if out.suffix.lower() in (".h5", ".keras", ".pb", ".tflite"):
        raise InputError(f"{out}: expected a name that ends in .onnx, or a folder's, got {out.suffix}; rename it")

    from angiomorph.backend import configure_gpu
    from angiomorph.networks import export, sha256
    from angiomorph.networks.baked import load_any

    configure_gpu("-1")
    licence = arguments.licence or ("Apache-2.0" if path in MODELS.values() else "not stated")
    said = {"source": path.name, "sha256": sha256(path), "version": __version__, "licence": licence}
    write = export.export_onnx if out.suffix.lower() == ".onnx" else export.export_saved_model
    write(load_any(path), out, hyper, **said)
    print(f"{out}: lambda {hyper}, of {path.name}, SHA-256 {said['sha256']}")
    return 0


def add_info(verbs: Any) -> None:
    verb = add_verb(verbs, "info", _info, "Tell what a model, checkpoint, weights, training store or result file holds.")
    verb.add_argument("file", metavar="FILE.h5")
    verb.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _info(arguments: argparse.Namespace) -> int:
    from angiomorph.storage.inspection import describe, lines

    found = describe(Path(arguments.file))
    print(json.dumps(found) if arguments.json else "\n".join(lines(found)))
    return 0


def _check_name(out: str) -> None:
    """Refuse the name of Keras 3's format, which other programs would take the file for."""
    if out.lower().endswith(".keras"):
        raise InputError(f"{out}: expected a name that ends in .h5, the format that is written, got .keras; rename it")


def _save_model(model: Any, out: str) -> int:
    from angiomorph import networks

    networks.save(model, out)
    print(f"{out}: {model.count_params():,} parameters, SHA-256 {networks.sha256(out)}")
    return 0
