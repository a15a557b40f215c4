"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Unusable input or wrong use.

    The message names the subject (file, tag, frame), what was expected, what was found, and the remedy; the command
    line prints it as one paragraph, without a traceback, and exits with status 2 (1 inside a batch that goes on).
    """
