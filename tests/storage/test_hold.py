"""One process at a time for each result, and nothing left of those that are gone."""

import subprocess
import sys

from filelock import FileLock

from angiomorph.storage.hold import hold_name, remove_dead_hold


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_name_is_held_once_and_leaves_nothing(tmp_path):
    with hold_name(tmp_path / "new" / "run") as held:
        assert held
        assert names(tmp_path / "new") == [".run.lock"]
        with hold_name(tmp_path / "new" / "run") as again, hold_name(tmp_path / "new" / "other") as other:
            assert (again, other) == (False, True)
    assert names(tmp_path / "new") == []


def test_a_lock_that_its_last_holder_removes_is_no_lock(tmp_path, monkeypatch):
    """It was opened here before it was removed, and locked after."""
    acquire, calls = FileLock.acquire, []

    def acquire_late(lock, **given):
        found = acquire(lock, **given)
        calls.append(lock)
        if len(calls) == 1:
            (tmp_path / ".run.lock").unlink()
        return found

    monkeypatch.setattr(FileLock, "acquire", acquire_late)
    with hold_name(tmp_path / "run") as held:
        assert held
        assert names(tmp_path) == [".run.lock"]
    assert len(calls) == 2
    assert names(tmp_path) == []


def test_what_a_killed_holder_leaves_is_removed(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from angiomorph.storage.hold import hold_name\n"
        "with hold_name(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "run"], check=False)
    assert names(tmp_path) == [".run.lock"]
    remove_dead_hold(tmp_path / "run")
    assert names(tmp_path) == []
    remove_dead_hold(tmp_path / "absent" / "run")
    assert names(tmp_path) == []


def test_what_another_holds_is_left_alone(tmp_path):
    with hold_name(tmp_path / "run"):
        remove_dead_hold(tmp_path / "run")
        assert names(tmp_path) == [".run.lock"]
