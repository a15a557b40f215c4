"""Broken DICOM files by the thousand through the reading of a run: each is refused in words, or read as it was.

    python -m benchmarks.fuzz --files 2000 --seed 1

Every file of `benchmarks.mutations` is looked for in its folder, found by its name and read, in a child process. Of each it
is asked that nothing but `InputError` is raised, that it takes less than 5 s of processor time, that memory grows by less than
1 GB, and that the outcome is one that the mutation allows. Counts are printed, then each fault with its seed; the exit status
is 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from tempfile import TemporaryDirectory

from angiomorph.dicom import find_series, read_series
from angiomorph.errors import InputError
from benchmarks.mutations import Base, Mutation, bases, mutations

SECONDS = 5.0
MEMORY = 1 << 30
HARD_SECONDS = 60.0  # of the clock, after which a child is killed
HARD_MEMORY = 6 << 30  # above the child's own, as RLIMIT_AS: a read of 4 GB takes their addresses, not their memory
CHILD = (sys.executable, "-m", "benchmarks.fuzz", "--child")


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Args:
        kind: "refused", "read", or a fault: "traceback", "slow", "memory", "died".
        said: the refusal, or what was raised.
        digest: of the frames that were read, shape and type included.
        warnings: number of the run's warnings.
        seconds: processor time.
    """

    kind: str
    said: str = ""
    digest: str = ""
    warnings: int = 0
    seconds: float = 0.0


def read(path: Path) -> Outcome:
    """Return what becomes of a file: looked for in its folder, found by its name, and read.

    Raises:
        Exception: whatever the reader raises but for `InputError`.
    """
    with suppress(InputError):  # in a tree what is no run is passed over
        find_series([path.parent])
    try:
        (run,) = find_series([path])
        series = read_series(run)
    except InputError as error:
        return Outcome("refused", str(error))
    frames = series.frames
    digest = hashlib.sha256(f"{frames.shape} {frames.dtype.str}".encode() + frames.tobytes()).hexdigest()
    return Outcome("read", digest=digest, warnings=len(series.warnings))


def measured(reader: Callable[[Path], Outcome], path: Path) -> Outcome:
    """Return what a reader makes of a file, with tracebacks, time and memory counted as faults."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    memory, start = _peak(), time.process_time()
    try:
        found = reader(path)
    except Exception as error:  # whatever it is, it is what is looked for
        found = Outcome("traceback", f"{type(error).__name__}: {error}"[:300])
    seconds, grown = time.process_time() - start, _peak() - memory
    # An allocation that the limit forbade may come back as any refusal, which then names it.
    if grown > MEMORY or "MemoryError" in found.said:
        return Outcome("memory", f"{grown >> 20} MB more; {found.said}"[:300], seconds=seconds)
    if seconds > SECONDS:
        return Outcome("slow", f"{seconds:.1f} s; {found.said}"[:300], seconds=seconds)
    return Outcome(**{**asdict(found), "seconds": seconds})


def _peak() -> int:
    """Return the most memory that this process has held, bytes; of `getrusage` a child inherits its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def serve(reader: Callable[[Path], Outcome] = read) -> None:
    """Read paths from standard input and write each one's outcome to standard output, a line of JSON each."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HARD_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        print(json.dumps(asdict(measured(reader, Path(line.rstrip("\n"))))), flush=True)


class Child:
    """A process that reads files, started anew after it died or was killed.

    Args:
        command: that runs `serve`.
        hard_seconds: of the clock, after which a file is given up.
    """

    def __init__(self, command: Sequence[str] = CHILD, hard_seconds: float = HARD_SECONDS) -> None:
        self._command, self._hard_seconds = command, hard_seconds
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> Outcome:
        """Return what becomes of a file."""
        process = self._process = self._process or subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the child has no pipes")
        process.stdin.write(f"{path}\n")
        with DefaultSelector() as selector:
            selector.register(process.stdout, EVENT_READ)
            answered = selector.select(self._hard_seconds)
        line = process.stdout.readline() if answered else ""
        if not line:
            self.close()
            waited = f"no answer within {self._hard_seconds:g} s"
            return Outcome("died", f"exit status {process.returncode}") if answered else Outcome("slow", waited)
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None


def fault(mutation: Mutation, found: Outcome, good: Outcome) -> str:
    """Return what is wrong with an outcome, "" if nothing is.

    Args:
        mutation: of the file.
        found: its outcome.
        good: of the file as it was.
    """
    if found.kind == "refused":
        return ""
    if found.kind != "read":
        return f"{found.kind}: {found.said}"
    same = found.digest == good.digest
    if mutation.allowed == "refuse":
        return f"read ({'the same' if same else 'other'} pixels), where the file has no such pixels"
    if same or mutation.allowed == "any" or (mutation.allowed == "told" and found.warnings > good.warnings):
        return ""
    return "other pixels without a word"


def run(chosen: Iterable[Mutation], good: Sequence[Base], child: Child) -> tuple[list[tuple[Mutation, Outcome, str]], float]:
    """Return each mutation with its outcome and fault, and the most processor time that one took, s."""
    found, most = [], 0.0
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.dcm")
        as_they_were: dict[str, Outcome] = {}
        for one in good:
            path.write_bytes(one.data)
            as_they_were[one.name] = child.read(path)
            if as_they_were[one.name].kind != "read":
                raise InputError(f"{one.name}: expected a file that is read, found {as_they_were[one.name]}; mend the base")
        for mutation in chosen:
            path.write_bytes(mutation.make())
            outcome = child.read(path)
            most = max(most, outcome.seconds)
            wrong = fault(mutation, outcome, as_they_were.get(mutation.base, Outcome("refused")))
            found.append((mutation, outcome, wrong))
    return found, most


def table(found: Sequence[tuple[Mutation, Outcome, str]]) -> str:
    """Return the counts by what was done and what became of it, as Markdown."""
    columns = ("files", "refused", "read as it was meant", "faults")
    counts: dict[str, collections.Counter[str]] = {}
    for mutation, outcome, wrong in found:
        count = counts.setdefault(mutation.kind, collections.Counter())
        count["files"] += 1
        count["faults" if wrong else "refused" if outcome.kind == "refused" else "read as it was meant"] += 1
    counts["all"] = sum(counts.values(), collections.Counter())
    lines = [f"| what was done | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    lines += [f"| {kind} | {' | '.join(str(count[name]) for name in columns)} |" for kind, count in counts.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="broken files (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of their choice (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files that are faults there")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        serve()
        return 0
    good, child = bases(), Child()
    print(f"seed {given.seed}, {given.files} files of: {', '.join(one.name for one in good)}", flush=True)
    try:
        found, most = run(mutations(good, given.seed, given.files), good, child)
    finally:
        child.close()
    print(table(found))
    print(f"most processor time of a file: {most:.2f} s")
    faults = [(mutation, wrong) for mutation, _, wrong in found if wrong]
    for number, (mutation, wrong) in enumerate(faults):
        print(f"FAULT seed {given.seed}: {mutation.name}: {wrong}")
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{number:04d}.dcm").write_bytes(mutation.make())
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
