"""Broken DICOM files by the thousand through the reading of a run: each is refused in words, or read as it was.

    python -m benchmarks.dicom.fuzz --files 2000 --trees 200 --seed 1

Every file of `benchmarks.dicom.mutations` is looked for in its folder, found by its name and read, in a child process; so is
every folder, archive and DICOMDIR of `benchmarks.dicom.trees`. Of each it is asked that nothing but `InputError` is raised,
that it takes less than 5 s of processor time, that memory grows by less than 1 GB, that nothing is written beside it or left
behind, and that the outcome is one that the mutation allows. Counts are printed, then each fault with its seed; the exit
status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from tempfile import TemporaryDirectory

from angiomorph.dicom import find_series, read_series
from angiomorph.errors import InputError
from benchmarks.dicom.mutations import Base, Mutation, bases, mutations
from benchmarks.dicom.trees import GIVEN, OUTSIDE, Tree, good_trees, outside, trees

SECONDS = 5.0
MEMORY = 1 << 30
HARD_SECONDS = 60.0  # of the clock, after which a child is killed
HARD_MEMORY = 6 << 30  # above the child's own, as RLIMIT_AS: a read of 4 GB takes their addresses, not their memory
TEMPORARY = "temporary"
CHILD = (sys.executable, "-m", "benchmarks.dicom.fuzz", "--child")


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
    """Return what becomes of a file, folder, archive or DICOMDIR: looked for in its folder, found by its name, and read.

    Files that are passed over count as warnings; of several runs those that are read count.

    Raises:
        Exception: whatever the reader raises but for `InputError`.
    """
    with suppress(InputError):  # in a tree what is no run is passed over
        find_series([path.parent])
    passed_over = collections.Counter[str]()
    try:
        runs = find_series([path], passed_over=passed_over)
    except InputError as error:
        return Outcome("refused", str(error))
    digest, warnings, refusals = hashlib.sha256(), passed_over.total(), list[str]()
    for run in runs:
        try:
            series = read_series(run)
        except InputError as error:
            refusals.append(str(error))
            continue
        frames = series.frames
        digest.update(f"{frames.shape} {frames.dtype.str}".encode() + frames.tobytes())
        warnings += len(series.warnings)
    if len(refusals) == len(runs):
        return Outcome("refused", "; ".join(refusals))
    return Outcome("read", digest=digest.hexdigest(), warnings=warnings + len(refusals))


def measure(reader: Callable[[Path], Outcome], path: Path) -> Outcome:
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
    """Read a path and a folder for temporary files from standard input, and write the outcome, a line of JSON each."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HARD_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        path, temporary = json.loads(line)
        tempfile.tempdir = temporary
        print(json.dumps(asdict(measure(reader, Path(path)))), flush=True)


class Child:
    """A process that reads files, started anew after it died or was killed.

    Args:
        command: that runs `serve`.
        hard_seconds: of the clock, after which a file is given up.
    """

    def __init__(self, command: Sequence[str] = CHILD, hard_seconds: float = HARD_SECONDS) -> None:
        self._command, self._hard_seconds = command, hard_seconds
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path, temporary: Path | None = None) -> Outcome:
        """Return what becomes of a file; `temporary` is where temporary files go, None for where they always do."""
        process = self._process = self._process or subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the child has no pipes")
        process.stdin.write(json.dumps([str(path), None if temporary is None else str(temporary)]) + "\n")
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


def fault(mutation: Mutation | Tree, found: Outcome, good: Outcome) -> str:
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


def run_trees(chosen: Iterable[Tree], child: Child) -> tuple[list[tuple[Tree, Outcome, str]], float]:
    """Return each tree with its outcome and fault, and the most processor time that one took, s.

    Args:
        chosen: the trees.
        child: that keeps its temporary files in `TEMPORARY` of the folder that it is started for, see `Child`.
    """
    as_they_were: dict[str, Outcome] = {}
    for tree in good_trees():
        found, _ = _in_place(tree, child)
        if found.kind != "read":
            raise InputError(f"{tree.base}: expected a tree that is read, found {found}; mend the base")
        as_they_were[tree.base] = found
    outcomes, most = [], 0.0
    for tree in chosen:
        found, stray = _in_place(tree, child)
        most = max(most, found.seconds)
        wrong = f"left behind or changed: {', '.join(stray)}" if stray else fault(tree, found, as_they_were[tree.base])
        outcomes.append((tree, found, wrong))
    return outcomes, most


def _in_place(tree: Tree, child: Child) -> tuple[Outcome, list[str]]:
    """Return what becomes of a tree in a folder of its own, and the files there that it was not to touch."""
    with TemporaryDirectory() as name:
        root = Path(name).resolve()
        files = {f"{GIVEN}/{path}": data for path, data in tree.make(root).items()}
        files |= {f"{OUTSIDE}/{path}": data for path, data in outside().items()}
        for path, data in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        (root / TEMPORARY).mkdir()
        found = child.read(root / GIVEN / tree.path, root / TEMPORARY)
        there = {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}
        stray = {path for path, place in there.items() if path not in files or place.read_bytes() != files[path]}
        return found, sorted(stray | (set(files) - set(there)))


def table(found: Sequence[tuple[Mutation | Tree, Outcome, str]]) -> str:
    """Return the counts by what was done and what became of it, as Markdown."""
    columns = ("files", "refused", "read as it was meant", "faults")
    counts: dict[str, collections.Counter[str]] = {}
    for mutation, outcome, wrong in found:
        kind = f"{mutation.base}: {mutation.kind}" if isinstance(mutation, Tree) else mutation.kind
        count = counts.setdefault(kind, collections.Counter())
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
    parser.add_argument("--trees", type=int, default=200, metavar="N", help="broken folders and archives (default: 200)")
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
        of_files, slowest_file = run(mutations(good, given.seed, given.files), good, child)
        of_trees, slowest_tree = run_trees(trees(given.seed, given.trees), child)
    finally:
        child.close()
    found: list[tuple[Mutation | Tree, Outcome, str]] = [*of_files, *of_trees]
    print(table(found))
    print(f"most processor time of one: {max(slowest_file, slowest_tree):.2f} s")
    faults = [(mutation, wrong) for mutation, _, wrong in found if wrong]
    for number, (mutation, wrong) in enumerate(faults):
        print(f"FAULT seed {given.seed}: {mutation.name}: {wrong}")
        if given.keep and isinstance(mutation, Mutation):
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{number:04d}.dcm").write_bytes(mutation.make())
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
