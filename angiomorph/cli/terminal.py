"""Lines, progress and errors on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta

SILENCE = 60  # seconds without a line on progress


def complain(verb: str, message: str) -> None:
    """Print one paragraph on standard error; what HDF5 and TensorFlow say of a file may have several lines."""
    print(f"angiomorph {verb}: {' '.join(message.splitlines())}", file=sys.stderr)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_line(line: str) -> None:
    """Print a line on standard output, which takes no names that are not of its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def show_progress(what: str) -> Callable[[int, int], None]:
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
            say(f"{what}: {done}/{total}{_left(now - first[0][0], done - first[0][1], total - done)}")

    return line


def _left(elapsed: float, done: int, left: int) -> str:
    """Return ", about 1:02:03 left" for `left` runs at the speed of `done` runs in `elapsed` seconds."""
    if not done or not left:
        return ""
    return f", about {timedelta(seconds=round(elapsed / done * left))} left"


def show_runs(*, quiet: bool) -> Callable[[int, int], None]:
    """Return a callback that shows how many of several runs are done, on a terminal; elsewhere the runs' own lines tell."""
    if quiet or not sys.stderr.isatty():
        return show_nothing
    shown: list[Callable[[int, int], None]] = []

    def update(done: int, total: int) -> None:
        if total > 1:
            shown[:] = shown or [show_progress("runs registered")]
            shown[0](done, total)

    return update


def show_nothing(done: int, total: int) -> None:
    """Show no progress."""
