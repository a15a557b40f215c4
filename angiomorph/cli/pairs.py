"""`angiomorph register --moving A --fixed B --moved C --warp W`: one pair, by the options of VoxelMorph's `register.py`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from angiomorph.cli.arguments import read_options
from angiomorph.cli.terminal import complain, print_line
from angiomorph.cli.voxelmorph import add_answer
from angiomorph.errors import InputError
from angiomorph.images.pairs import check_outputs, join_pair, read_image, write_results
from angiomorph.registration.engines import configure_engine
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import EngineOptions, RegistrationOptions

OF_RUNS = ("background", "kinds", "frame", "require_clean", "frame_time", "unsubtracted")


def add_pair(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group(
        "one pair", "As VoxelMorph's register.py: .npz, .npy, .nii, .nii.gz, PNG and other images, and DICOM of one frame."
    )
    group.add_argument("--moving", metavar="A", help="the image to warp")
    group.add_argument("--fixed", metavar="B", help="the image it is warped onto")
    group.add_argument("--moved", metavar="C", help="the warped image to write: .npz, .nii, .nii.gz or .png")
    group.add_argument("--warp", metavar="W", help="the warp to write: .npz, .nii or .nii.gz")
    add_answer(group, "--multichannel", "images have one grey channel here; save it by itself")


def is_pair(arguments: argparse.Namespace) -> bool:
    """Return whether the user gives a pair and no runs.

    Raises:
        InputError: both, neither, or not all of a pair.
    """
    given = [name for name in ("moving", "fixed", "moved", "warp") if getattr(arguments, name) is not None]
    if not given:
        if not arguments.runs:
            raise InputError("expected RUN, or --moving, --fixed and --moved, got neither; name a DICOM file or folder")
        return False
    if arguments.runs:
        raise InputError(f"--{given[0]}: expected no RUN beside a pair, got {arguments.runs[0]}; register them apart")
    for name in ("moving", "fixed", "moved"):
        if name not in given:
            raise InputError(f"--{given[0]}: expected --moving, --fixed and --moved together, got no --{name}; add it")
    return True


def register_pair_of(arguments: argparse.Namespace, usual: argparse.Namespace) -> int:
    """Register the pair that the arguments name.

    Args:
        arguments: the verb's arguments.
        usual: its defaults, to refuse options that say something of runs alone.
    """
    for name in OF_RUNS:
        if getattr(arguments, name) != getattr(usual, name):
            raise InputError(f"`{name}`: expected with RUN alone, got with --moving; leave it out")
    paths = Path(arguments.moving), Path(arguments.fixed), Path(arguments.moved)
    warp_path = Path(arguments.warp) if arguments.warp else None
    options = read_options(arguments, RegistrationOptions)
    check_outputs(*paths, warp_path)
    moving, fixed = map(read_image, paths[:2])
    join_pair(moving, fixed, arguments.relation)
    engine = read_options(arguments, EngineOptions)
    read_model_defaults(arguments.model).complete(options)
    configure_engine(engine, arguments.gpu)

    from angiomorph.registration.model import Model
    from angiomorph.registration.pairs import register_pair

    result = register_pair(moving, fixed, Model(arguments.model, engine), arguments.relation, options)
    write_results(paths[2], result.moved, warp_path, result.warp, (moving, fixed))
    _tell(result.summary(), arguments)
    return 0


def _tell(summary: dict[str, float], arguments: argparse.Namespace) -> None:
    if not summary["weight"] and not arguments.quiet:
        complain("register", "warning: the pair is left unwarped, as nothing shows that it moves; --no-guard warps it")
    if arguments.json:
        print(json.dumps({"moved": arguments.moved, "warp": arguments.warp, **summary}))
    elif not arguments.quiet:
        print_line(
            f"{arguments.moved}: lambda {summary['lambda']:.2f}, largest shift {summary['largest_shift']:.1f} px, "
            f"folded {summary['folding']:.3%}"
        )
