"""How soon the page of `angiomorph view` shows a run, and how fast it plays one, in headless Chromium.

    python -m benchmarks.registration.page RUN --engine openvino

starts the command with the options that stand behind RUN, opens its page at 1280 x 800, and prints seconds and frames a second.
The run plays as fast as the page can draw it, at most 60 frames a second, whatever its own rate. Chromium draws in software
here, as on a machine without a graphics card. It needs chromium, chromedriver, and the extras `test` and `view`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.errors import InputError
from benchmarks.browser import open_browser

if TYPE_CHECKING:
    from selenium import webdriver

VIEWER = "document.getElementById('angiomorph-viewer').viewer"
SHOWN = f"return Boolean({VIEWER}?.run && !{VIEWER}.dirty)"
WARPED = f"return {VIEWER}.parts.progress.textContent === 'All frames are at this λ.' && !{VIEWER}.dirty"
AHEAD = f"return {VIEWER}.ahead >= {VIEWER}.run.frames"
PLAYED = f"""const viewer = {VIEWER}, [seconds, done] = arguments, began = performance.now(), times = [began];
    let last = viewer.state.frame;
    const look = () => {{
      const now = performance.now();
      if (viewer.state.frame !== last) times.push(now);
      last = viewer.state.frame;
      if (now - began < 1000 * seconds) requestAnimationFrame(look);
      else done([(times.length - 1) / seconds, Math.max(...times.slice(1).map((time, i) => time - times[i]))]);
    }};
    look();"""
STEP = f"""const viewer = {VIEWER}, [hyper, done] = arguments, began = performance.now();
    const look = () => {{
      const warp = viewer.findWarp(viewer.state.frame);
      if (warp?.hyper === hyper && !viewer.dirty) done(performance.now() - began);
      else requestAnimationFrame(look);
    }};
    viewer.setHyper(hyper);
    look();"""
FASTEST = 1000 / 60  # ms
HYPERS = (0.15, 0.25, 0.35, 0.45, 0.55)
LONGEST = 300  # s that any of it may take


@dataclass(frozen=True)
class Looked:
    """What the page took, each in seconds since the command unless it says otherwise."""

    address: float
    first_picture: float
    all_warped: float
    all_drawn: float
    frames_a_second: float
    longest_gap: float  # ms between two frames
    at_once: float  # frames a second where a change left no time to draw ahead
    step: float  # ms from another λ to the picture
    peak: float  # MB of the server's resident memory

    def rows(self) -> str:
        """Return a table of what was measured."""
        said = {
            "address": "address printed, s",
            "first_picture": "first picture, s",
            "all_warped": "all frames warped, s",
            "all_drawn": "all pictures drawn ahead, s",
            "frames_a_second": "frames a second",
            "longest_gap": "longest gap between frames, ms",
            "at_once": "frames a second, the first time after a change",
            "step": "another λ, ms (median)",
            "peak": "server's peak memory, MB",
        }
        rows = (f"| {said[each.name]} | {getattr(self, each.name):.1f} |" for each in fields(self))
        return "\n".join(("| of the page | measured |", "| --- | --- |", *rows))


def look(run: Path, options: Sequence[str], seconds: float) -> Looked:
    """Open a run's page and return what it took.

    Args:
        run: what `angiomorph view` takes.
        options: of that command.
        seconds: for which the run is played, each time.

    Raises:
        InputError: Chromium is not there, or the page never shows the run.
    """
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if program is None or driver is None:
        raise InputError("page: expected the programs chromium and chromedriver, found none; install these Debian packages")
    began = time.perf_counter()
    command = [sys.executable, "-m", "angiomorph", "view", str(run), *options]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as server,
        tempfile.TemporaryDirectory() as folder,
        open_browser(program, driver, Path(folder)) as browser,
    ):
        try:
            printed = server.stdout.readline().decode().strip() if server.stdout else ""
            if not printed:
                raise InputError(f"{run}: expected `angiomorph view` to print an address, but it ended; see above")
            address = time.perf_counter() - began
            browser.get(printed)
            first, warped, drawn = (wait_until(browser, each) - began for each in (SHOWN, WARPED, AHEAD))
            played, gap = play(browser, seconds)
            browser.execute_script(f"{VIEWER}.change({{ playing: false, inverted: true }})")
            at_once, _ = play(browser, seconds)
            browser.execute_script(f"{VIEWER}.change({{ playing: false }})")
            steps = sorted(browser.execute_async_script(STEP, hyper) for hyper in HYPERS)
            peak = Path(f"/proc/{server.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
            return Looked(address, first, warped, drawn, played, gap, at_once, steps[len(steps) // 2], int(peak) / 1000)
        finally:
            server.terminate()


def wait_until(browser: webdriver.Chrome, script: str) -> float:
    """Return when a script on the page was true, seconds of `time.perf_counter`.

    Raises:
        InputError: it never was.
    """
    ends = time.perf_counter() + LONGEST
    while time.perf_counter() < ends:
        if browser.execute_script(script):
            return time.perf_counter()
        time.sleep(0.02)
    raise InputError(f"page: expected `{script}` within {LONGEST} s, but it never was; look at the page")


def play(browser: webdriver.Chrome, seconds: float) -> Any:
    """Return how many frames a second were shown, and the longest time between two, ms."""
    browser.execute_script(f"{VIEWER}.gaps = {VIEWER}.gaps.map(() => {FASTEST}); {VIEWER}.change({{ playing: true }})")
    return browser.execute_async_script(PLAYED, seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed of the page of angiomorph view.")
    parser.add_argument("run", type=Path, help="a run; further options are those of angiomorph view")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="to play the run, each time (default: 4)")
    arguments, options = parser.parse_known_args(argv)
    try:
        looked = look(arguments.run, options, arguments.seconds)
    except InputError as error:
        raise SystemExit(str(error)) from None
    print(f"{arguments.run.name}, angiomorph view {' '.join(options)}, {os.cpu_count()} cores\n\n{looked.rows()}")


if __name__ == "__main__":
    main()
