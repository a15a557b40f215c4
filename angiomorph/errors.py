"""The one exception that a user is meant to read, and the words for all others."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

logger = logging.getLogger(__name__)
OUT_OF_MEMORY = "ResourceExhaustedError"  # TensorFlow's MemoryError, which this module does not import


class InputError(ValueError):
    """Unusable input or wrong use.

    The message names the subject (file, tag, frame), what was expected, what was found, and the remedy; the command
    line prints it as one paragraph, without a traceback, and exits with status 2 (1 where other runs go on).

        >>> am.read_series("absent.dcm")
        Traceback (most recent call last):
        angiomorph.errors.InputError: absent.dcm: expected a DICOM file, but it cannot be read: No such file or directory
    """


def say_failure(subject: str, error: Exception) -> str:
    """Return in one paragraph why a run failed, whatever was raised; an exception's own text may quote a patient's name.

    Args:
        subject: the run's file.
        error: what was raised for it.
    """
    if isinstance(error, InputError):
        return " ".join(str(error).splitlines())
    logger.debug("%s failed", subject, exc_info=error)
    if isinstance(error, MemoryError) or type(error).__name__ == OUT_OF_MEMORY:
        return (
            f"{subject}: expected a run that fits into memory, found a larger one, or a header that says so; "
            "give it by itself, or on a machine with more memory"
        )
    if isinstance(error, RecursionError):
        return f"{subject}: expected a header of usual depth, found sequences too deep within each other; export the run again"
    if isinstance(error, OSError):
        return (
            f"{subject}: expected to read and write this run's files, but: {error.strerror or type(error).__name__}; try again"
        )
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" in {Path(step.filename).name}, line {step.lineno}" for step in last)
    return (
        f"{subject}: expected a run that this program can process, but it failed ({type(error).__name__}{place}); "
        "export the run again; if that fails too, report these words to the program's authors"
    )
