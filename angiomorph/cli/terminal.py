"""Lines, progress and errors on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

SILENCE = 60  # seconds without a line on progress
FRAMES = "frames registered"
FIRST_WORD, SEARCHING = 0.5, 10  # seconds until the first line of a search, and between two of them


def complain(verb: str, message: str) -> None:
    """Print one paragraph on standard error; what HDF5 and TensorFlow say of a file may have several lines."""
    with _above_bars():
        print(f"angiomorph {verb}: {' '.join(message.splitlines())}", file=sys.stderr)


def say(line: str) -> None:
    with _above_bars():
        print(line, file=sys.stderr, flush=True)


def print_line(line: str) -> None:
    """Print a line on standard output, which takes no names that are not of its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    with _above_bars():
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


@contextmanager
def _above_bars() -> Iterator[None]:
    """Let what the block prints stand above the bars of a terminal, and not within them."""
    if "tqdm" not in sys.modules:  # so there is none
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode():
        yield


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
            say(f"{what}: {done}/{total}{_say_time_left(now - first[0][0], done - first[0][1], total - done)}")

    return line


def _say_time_left(elapsed: float, done: int, left: int) -> str:
    """Return ", about 1:02:03 left" for `left` runs at the speed of `done` runs in `elapsed` seconds."""
    if not done or not left:
        return ""
    return f", about {timedelta(seconds=round(elapsed / done * left))} left"


def show_search(*, quiet: bool) -> Callable[[int], None] | None:
    """Return a callback that tells how many files a search has looked at, once it takes a while."""
    if quiet:
        return None
    due = [time.monotonic() + FIRST_WORD]

    def line(files: int) -> None:
        if time.monotonic() >= due[0]:
            due[0] = time.monotonic() + SEARCHING
            say(f"looking for runs: {files} files looked at")

    return line


def show_runs(model: str, *, quiet: bool) -> Callable[[int, int], None]:
    """Return a callback that says what begins, and counts several runs on a terminal; elsewhere the runs' own lines tell.

    Args:
        model: its name.
        quiet: say nothing.
    """
    if quiet:
        return show_nothing
    shown: list[Callable[[int, int], None]] = []

    def update(done: int, total: int) -> None:
        if not done:
            say(f"registering {total} run{'' if total == 1 else 's'} with model {model}")
        if total > 1 and sys.stderr.isatty():
            shown[:] = shown or [show_progress("runs registered")]
            shown[0](done, total)

    return update


class RunDisplay:
    """What is shown of the run under way: on a terminal its stage, or a bar of its frames; elsewhere a line after each minute.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._on_terminal = quiet, sys.stderr.isatty()
        self._bar: tqdm | None = None
        self._last = time.monotonic()

    def stage(self, what: str) -> None:
        """Show what is done of the run."""
        if self._on_terminal and not self._quiet:
            self._open(bar_format="{desc}", desc=what)

    def frames(self, done: int, total: int) -> None:
        """Show how many frames are done."""
        if self._quiet:
            return
        if self._on_terminal:
            bar = self._bar if self._bar is not None and self._bar.total == total else self._open(total=total, desc=FRAMES)
            bar.update(done - bar.n)
        elif time.monotonic() - self._last >= SILENCE:
            self._last = time.monotonic()
            say(f"{FRAMES}: {done}/{total}")

    def close(self) -> None:
        """Show nothing more of this run."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, **given: Any) -> tqdm:
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(**given, leave=False)
        return self._bar


def show_nothing(done: int, total: int) -> None:
    """Show no progress."""
