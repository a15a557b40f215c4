"""The command line: `angiomorph train | register | prepare | simulate | evaluate | import-weights | compact | bake | info`.

TensorFlow is imported by the verbs that compute with it, so that `--help` and data preparation are instant.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from angiomorph import __version__
from angiomorph.cli.arguments import EXAMPLES, name_flags
from angiomorph.cli.evaluate import add_evaluate
from angiomorph.cli.models import add_bake, add_compact, add_import_weights, add_info
from angiomorph.cli.prepare import add_prepare
from angiomorph.cli.register import add_register
from angiomorph.cli.simulate import add_simulate
from angiomorph.cli.terminal import complain
from angiomorph.cli.train import add_train
from angiomorph.errors import InputError


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
        complain(arguments.verb, name_flags(str(error), arguments.parser))
        return 2
    except OSError as error:
        subject = f"{error.filename}: " if error.filename else ""
        complain(arguments.verb, f"{subject}cannot be read or written: {error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        print(f"angiomorph {arguments.verb}: interrupted", file=sys.stderr)
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="angiomorph", description="Motion-free background-subtraction angiography.", epilog=EXAMPLES
    )
    top.add_argument("--version", action="version", version=f"angiomorph {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (
        add_train,
        add_register,
        add_prepare,
        add_simulate,
        add_evaluate,
        add_import_weights,
        add_compact,
        add_bake,
        add_info,
    ):
        add(verbs)
    return top
