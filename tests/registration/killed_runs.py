"""Kill a registration of several runs at each step of its writing, and let it go on.

    python -m tests.registration.killed_runs TREE OUT

A registration without a network, which needs no TensorFlow, stands for the real one, so that a process costs little.
Prints for each step, as JSON, what became of the killed process, and what the next one skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from angiomorph.preprocessing.background import Background
from angiomorph.preprocessing.lazy_frames import LazyFrames
from angiomorph.registration.options import EngineOptions, OutputOptions, RegistrationOptions
from angiomorph.registration.result import Registration
from angiomorph.registration.runs import register_runs

FRAMES = 4
# Of each run: the frames of a file that is made (DICOM, then h5), names that files get (these two, the record), the lock.
STEPS = {f"frame {number}": ("frame", number) for number in (2, FRAMES + 2, 3 * FRAMES + 1)}
STEPS |= {f"name {number}": ("name", number) for number in range(1, 7)}
STEPS |= {"lock 1": ("lock", 1), "lock 2": ("lock", 2)}
counts = {"frame": 0, "name": 0, "lock": 0}
deadly: tuple[str, int] | None = None


def pass_step(kind: str) -> None:
    """Count a step, and die where it is the one to die at."""
    counts[kind] += 1
    if deadly == (kind, counts[kind]):
        os.kill(os.getpid(), signal.SIGKILL)


class Subtraction:
    """Plain subtraction in the place of a model."""

    def __init__(self, path: Path, engine: EngineOptions) -> None:
        self.path = path

    def register(self, series, options, spooling, hypers=()):
        """Return the run, minus its first frame."""

        def subtract(index):
            pass_step("frame")
            return np.subtract(series.frames[index], series.frames[0], dtype=np.float32)

        shape = series.frames.shape
        bsa = LazyFrames(shape, np.float32, subtract)
        plain = np.asarray(series.frames, np.float32) - np.float32(series.frames[0])
        return Registration(
            series=series,
            bsa=bsa,
            dsa=plain,
            moved=plain,
            warp=np.zeros((*shape, 2), np.float32),
            background=Background((1,), "number"),
            units="stored value",
            intensity="linear",
            hyper=0.5,
            levels=1,
            rounds=0,
            refine=0,
            field=np.ones(shape[1:], bool),
            weights=np.zeros(len(plain)),
        )


def stand_in() -> None:
    """Let the registration be found where the real one would be, and steps be counted."""
    sys.modules["angiomorph.registration.model"] = SimpleNamespace(Model=Subtraction)
    sys.modules["angiomorph.backend"] = SimpleNamespace(configure_gpu=lambda gpu: None)
    replace, unlink = os.replace, os.unlink

    def replace_counted(source, target):
        pass_step("name")
        replace(source, target)

    def unlink_counted(path, **given):
        if str(path).endswith(".lock"):
            pass_step("lock")
        unlink(path, **given)

    os.replace, os.unlink = replace_counted, unlink_counted


def register_in_child(tree: str, out: Path, step: tuple[str, int] | None) -> tuple[int, list[str]]:
    """Register a tree in a process of its own; return how it ended, and why it skipped each run, "" if it did not."""
    global deadly
    told = out.with_name(f"{out.name}.json")
    process = os.fork()
    if not process:
        deadly = step
        options, output = RegistrationOptions(background="1"), OutputOptions(kinds=("dicom", "h5"))
        outcomes = list(register_runs([tree], out, None, options, output, skip_existing=True))
        told.write_text(json.dumps([outcome.error or outcome.skipped for outcome in outcomes]))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status, json.loads(told.read_text()) if status == 0 else []


def main(tree: str, out: str) -> None:
    """Register once undisturbed, and once a step killed at it and then again."""
    stand_in()
    said = {"whole": register_in_child(tree, Path(out, "whole"), None)}
    for name, step in STEPS.items():
        folder = Path(out, name)
        killed = register_in_child(tree, folder, step)
        shutil.copytree(folder, Path(out, f"{name} killed"))
        said[name] = (killed, register_in_child(tree, folder, None))
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
