"""The command line: one verb for each job, `angiomorph train | register | view | evaluate | prepare | simulate | ...`.

TensorFlow is imported by the verbs that compute with it, so that `--help` and data preparation are instant.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from angiomorph import __version__
from angiomorph.cli.arguments import EXAMPLES, name_flags
from angiomorph.cli.terminal import complain
from angiomorph.errors import InputError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None for `sys.argv`.

    Returns:
        exit status: 0 all done; 1 some runs failed; 2 wrong use or unusable input; 130 interrupted.
    """
    try:
        with end_as_interrupted():
            return _run(parser().parse_args(argv))
    except KeyboardInterrupt:  # before it is known what to do
        print("angiomorph: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
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
    except KeyboardInterrupt as error:
        kept = name_flags("".join(f"; {part}" for part in error.args), arguments.parser)
        print(f"angiomorph {arguments.verb}: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    return status


@contextmanager
def end_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which schedulers end a program, do within the block what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # which alone may change it
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    # Here, as what verbs import takes half a second, in which an interrupt is to end the program in one line too.
    from angiomorph.cli.evaluate import add_evaluate
    from angiomorph.cli.models import add_bake, add_compact, add_export, add_import_weights, add_info
    from angiomorph.cli.prepare import add_prepare
    from angiomorph.cli.readers import add_readers
    from angiomorph.cli.register import add_register
    from angiomorph.cli.simulate import add_simulate
    from angiomorph.cli.sweep import add_sweep
    from angiomorph.cli.train import add_train
    from angiomorph.cli.view import add_view

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
        add_view,
        add_sweep,
        add_import_weights,
        add_compact,
        add_bake,
        add_export,
        add_info,
        add_readers,
    ):
        add(verbs)
    return top
