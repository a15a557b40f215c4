"""Whatever a run raises becomes one paragraph that names the file, quotes nothing of it, and says what to do."""

import pytest

from angiomorph.errors import InputError, say_failure


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


class ResourceExhaustedError(Exception):
    """What TensorFlow raises for lack of memory is called so."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("run.dcm: expected this,\nfound that; do so"), "run.dcm: expected this, found that; do so"),
        (MemoryError("Quartz"), "in/run.dcm: expected a run that fits into memory, found a larger one"),
        (ResourceExhaustedError("Quartz"), "in/run.dcm: expected a run that fits into memory"),
        (RecursionError("Quartz"), "in/run.dcm: expected a header of usual depth"),
        (PermissionError(13, "Permission denied", "Quartz"), "but: Permission denied; try again"),
        (OSError(), "but: OSError; try again"),
        (ValueError("Quartz\nZebulon"), "it failed (ValueError in test_errors.py, line 10); export the run again"),
        (KeyError("Quartz"), "it failed (KeyError in test_errors.py, line 10)"),
    ],
)
def test_each_kind_of_failure_is_said_without_its_own_text(error, said):
    message = say_failure("in/run.dcm", raised(error))
    assert said in message
    assert message.startswith(("in/run.dcm: expected", "run.dcm: expected"))
    assert "\n" not in message
    assert "Quartz" not in message


def test_an_exception_that_was_never_raised_has_no_place():
    assert "it failed (ZeroDivisionError); export" in say_failure("run.dcm", ZeroDivisionError())
