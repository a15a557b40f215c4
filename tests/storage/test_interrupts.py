"""Interrupts that come while HDF5 calls back into Python: they wait, are not lost, and leave nothing half-written."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from angiomorph.storage.interrupts import defer_interrupts
from tests.tools import REPOSITORY


@pytest.fixture
def handled():
    """Return the signals that handlers of this test have seen."""
    seen = []
    before = {number: signal.signal(number, lambda *given: seen.append(given[0])) for number in (signal.SIGINT, signal.SIGTERM)}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def test_they_wait_for_the_end_or_for_a_good_moment(handled):
    with defer_interrupts() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
        assert handled == []
        interrupt()
        assert handled == [signal.SIGTERM]
    assert handled == [signal.SIGTERM, signal.SIGINT]
    os.kill(os.getpid(), signal.SIGINT)
    assert len(handled) == 3


def test_an_error_of_the_block_gives_way_to_the_interrupt():
    def work():
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_interrupts_to_wait_for():
    said = []

    def work():
        with defer_interrupts() as interrupt:
            interrupt()
            said.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [signal.getsignal(signal.SIGINT)]


# Interrupts itself in the 1st, 2nd, ... call of a file's `write`, until the whole is written undisturbed; prints how often.
AT_EACH_WRITE = """
import itertools, os, signal, sys
from pathlib import Path
import numpy as np
from angiomorph.archive.work_folder import Preparation
from angiomorph.storage import store

folder, calls, last = Path(sys.argv[2]), 0, 0

def watch(frame, event, argument):
    global calls
    if event == "call" and frame.f_code.co_name == "write":
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGINT)

def write_arrays():
    store.write_arrays(folder / "a.h5", {"frames": np.random.default_rng(0).random((3, 64, 64))}, {"a": 1}, "lzf")

def prepare():
    work = Preparation(folder / "s.h5", "job")
    try:
        for number in range(work.done, 3):
            run = store.StoredRun(np.full((2, 64, 64), number, np.uint16), "LIN", 12)
            work.add({"key": f"run-{number}"}, run)
        work.finish()
    finally:
        work.close()

signal.signal(signal.SIGINT, signal.default_int_handler)
for last in itertools.count(1):
    calls = 0
    sys.setprofile(watch)
    try:
        {"arrays": write_arrays, "store": prepare}[sys.argv[1]]()
    except KeyboardInterrupt:
        sys.setprofile(None)
        assert not (folder / "a.h5").exists() and not (folder / "s.h5").exists()
    else:
        break
sys.setprofile(None)
print(last - 1, sorted(os.listdir(folder)))
"""


@pytest.mark.parametrize(("what", "names"), [("arrays", ["a.h5"]), ("store", ["s.h5", "s.manifest.csv"])])
def test_whichever_write_is_interrupted_nothing_breaks(tmp_path, what, names):
    command = [sys.executable, "-c", AT_EACH_WRITE, what, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    count, _, left = done.stdout.strip().partition(" ")
    assert int(count) >= 3
    assert left == str(names)
