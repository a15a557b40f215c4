"""A store in the making: finished runs survive a crash, and the store gets its name when it is complete."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from angiomorph.errors import InputError
from angiomorph.storage import store
from angiomorph.storage.durable import DurableFile
from angiomorph.storage.interrupts import defer_interrupts

COLUMNS = ("key", "series_sha256", "frames", "rows", "columns", "relation", "bits_stored", "background", "left_out")


class Preparation:
    """The folder `.<store>.partial` beside the final store; it holds the unfinished store, its manifest, and its log.

    Args:
        path: the store's final name.
        job: a digest of the command and its files, by which an interrupted preparation is recognised.

    Raises:
        InputError: the folder has runs of another job, or another process works in it.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, job: str) -> None:
        self.path = path
        self.folder = path.with_name(f".{path.name}.partial")
        self.manifest = path.with_name(f"{path.stem}.manifest.csv")
        self.lines: list[Mapping[str, Any]] = []
        self._job = job
        self._store: Any = None
        self._lines: Any = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = DurableFile(self.folder / "store.h5")
        try:
            with defer_interrupts():
                self._go_on(json.loads(self._file.note or b"{}"))
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> int:
        """Return how many runs have their line in the manifest."""
        return len(self.lines)

    def add(self, line: Mapping[str, Any], run: store.StoredRun | None) -> None:
        """Add a run's line to the manifest, and the run to the store unless it is skipped.

        A stored run is on disk when this returns. The line of a skipped run is committed with the next stored one.

        Raises:
            OSError: it cannot be written; everything added before is kept.
        """
        self.lines.append(line)
        self._manifest.writerow(line)
        if run is None:
            return
        with defer_interrupts():
            with self._prefer_disk_errors():
                store.append(self._store, str(line["key"]), run)
            self._commit()

    def finish(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """Give store and manifest their final names and remove the folder.

        Args:
            lines: further lines of the final manifest, below the runs, by its columns.
        """
        with defer_interrupts():
            with self._prefer_disk_errors():
                self._store.close()
            self._commit()
            self.close()
        # A copy, so that a process that resumes after a kill here still finds the manifest and can repeat this.
        copy = self.folder / "manifest.copy"
        shutil.copyfile(self.folder / "manifest.csv", copy)
        with copy.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerows(lines)
        os.replace(copy, self.manifest)
        os.replace(self._file.path, self.path)
        self.discard()

    def discard(self) -> None:
        """Remove the folder."""
        self.close()
        # First: without the store, nothing resumes from a half-removed folder.
        self._file.path.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Close all files and discard what is not committed."""
        with defer_interrupts():
            if self._lines:
                with suppress(OSError):  # of lines that are not committed, on a full disk
                    self._lines.close()
            if self._store:
                self._store.close()
            self._file.close()

    def _go_on(self, note: dict[str, Any]) -> None:
        ours = note.get("job") == self._job
        if not ours and note.get("done"):
            raise InputError(
                f"{self.folder}: expected a folder of this command, found {note['done']} runs of other files, options or "
                "version; this folder belongs to another command. Repeat that command, or remove the folder"
            )
        path = self.folder / "manifest.csv"
        if not ours:
            path.unlink(missing_ok=True)
        self._lines = path.open("a+", newline="", encoding="utf-8")
        self._manifest = csv.DictWriter(self._lines, COLUMNS)
        if ours:
            self._lines.truncate(note["manifest"])
            self._lines.seek(0)
            self.lines += csv.DictReader(self._lines)
            self._lines.seek(0, os.SEEK_END)
            self._store = store.extend(self._file)
            return
        self._manifest.writeheader()
        self._store = store.create(self._file)
        self._commit()

    def _commit(self) -> None:
        self._lines.flush()
        os.fsync(self._lines.fileno())
        with self._prefer_disk_errors():
            if self._store:
                self._store.flush()
        size = os.fstat(self._lines.fileno()).st_size
        self._file.commit(json.dumps({"job": self._job, "done": self.done, "manifest": size}).encode())

    @contextmanager
    def _prefer_disk_errors(self) -> Iterator[None]:
        """Raise the disk's error rather than what HDF5 makes of the bytes that are missing."""
        try:
            yield
        except Exception:
            if self._file.failure is not None:
                raise self._file.failure from None
            raise
