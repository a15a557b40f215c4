"""A file is what an ordinary one would be, and after a crash at any moment what it was at its last commit."""

import io
import shutil
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiomorph.errors import InputError
from angiomorph.storage import durable
from angiomorph.storage.atomic import replace_file
from angiomorph.storage.durable import PAGE, DurableFile

PLACES = st.integers(0, 4 * PAGE)
STEPS = st.one_of(
    st.tuples(st.just("write"), PLACES, st.integers(0, 3 * PAGE)),
    st.tuples(st.just("read"), PLACES, st.integers(0, 3 * PAGE)),
    st.tuples(st.just("truncate"), PLACES, st.just(0)),
    st.tuples(st.sampled_from(["commit", "crash"]), st.just(0), st.just(0)),
)


def content(file):
    file.seek(0)
    return file.read()


def opened(path):
    """Return the file at `path` as the next process finds it."""
    return DurableFile(path)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=25), seed=st.integers(0, 99))
def test_it_is_a_file_that_a_crash_takes_back_to_its_last_commit(tmp_path_factory, steps, seed):
    path, rng = tmp_path_factory.mktemp("durable") / "file", np.random.default_rng(seed)
    file, model, committed = opened(path), io.BytesIO(), b""
    for kind, place, count in steps:
        if kind == "commit":
            file.commit(b"%d" % len(model.getvalue()))
            committed = model.getvalue()
        elif kind == "crash":
            file.close()
            file, model = opened(path), io.BytesIO(committed)
        elif kind == "truncate":
            file.truncate(place)
            model = io.BytesIO(model.getvalue()[:place].ljust(place, b"\0"))
        elif kind == "write":
            data = rng.bytes(count)
            file.seek(place), model.seek(place)
            assert file.write(data) == model.write(data)
        else:
            file.seek(place), model.seek(place)
            assert file.read(count) == model.read(count)
            assert file.tell() == place + len(model.getvalue()[place : place + count])
        assert content(file) == model.getvalue()
    file.close()
    file = opened(path)
    assert content(file) == committed
    assert file.note in (None, b"%d" % len(committed))
    file.close()


def add_run(hdf5, index):
    group = hdf5.create_group(f"run-{index:06d}")
    group.create_dataset("frames", data=np.full((3, 40, 40), index, np.uint16), chunks=(1, 40, 40))
    group.attrs["relation"] = "LIN"


def test_hdf5_is_whole_whichever_write_was_the_last(tmp_path, monkeypatch):
    """Take the files as they are after every single write, as a kill would leave them, and open each of them again."""
    work, states = tmp_path / "work", []
    work.mkdir()

    def keep_state():
        states.append(shutil.copytree(work, tmp_path / f"state-{len(states):04d}"))

    @contextmanager
    def replace_and_keep(path, *, durable):
        with replace_file(path, durable=durable) as partial:
            yield partial
        keep_state()

    class Disk(io.FileIO):
        def write(self, data):
            count = super().write(data)
            keep_state()
            return count

        def truncate(self, size):
            super().truncate(size)
            keep_state()

    monkeypatch.setattr(durable, "replace_file", replace_and_keep)
    monkeypatch.setattr(durable, "open", lambda path, mode, buffering: Disk(path, mode), raising=False)
    file = opened(work / "s.h5")
    for start, mode in ((0, "w"), (3, "r+")):
        with h5py.File(file, mode) as hdf5:
            for index in range(start, start + 3):
                add_run(hdf5, index)
                hdf5.flush()
                file.commit(b"%d" % (index + 1))
    file.close()
    monkeypatch.undo()
    assert len(states) > 50
    seen = set()
    for state in states:
        file = opened(state / "s.h5")
        count = int(file.note or b"0")
        if count:
            with h5py.File(file, "r") as hdf5:
                assert sorted(hdf5) == [f"run-{index:06d}" for index in range(count)]
                for index in range(count):
                    assert np.all(hdf5[f"run-{index:06d}/frames"][()] == index)
        seen.add(count)
        file.close()
    assert seen == set(range(7))


def test_without_its_log_a_killed_store_is_lost(tmp_path):
    """That the last test can fail: what is in the file alone, between two commits, is not the store."""
    file = opened(tmp_path / "s.h5")
    with h5py.File(file, "w") as hdf5:
        add_run(hdf5, 0)
    assert (tmp_path / "s.h5").stat().st_size > 0
    file.close()
    file = opened(tmp_path / "s.h5")
    assert (content(file), file.note) == (b"", None)
    file.close()


def test_a_full_disk_leaves_the_last_commit_and_lets_hdf5_close(tmp_path, monkeypatch):
    class Disk(io.FileIO):
        full = False

        def write(self, data):
            if Disk.full:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "open", lambda path, mode, buffering: Disk(path, mode), raising=False)
        file = opened(tmp_path / "s.h5")
    with h5py.File(file, "w") as hdf5:
        add_run(hdf5, 0)
    file.commit(b"1")
    before = content(file)
    Disk.full = True
    with h5py.File(file, "r+") as hdf5:
        for index in range(1, 5):
            add_run(hdf5, index)
    with pytest.raises(OSError, match="No space left"):
        file.commit(b"5")
    file.close()
    file = opened(tmp_path / "s.h5")
    assert (content(file), file.note) == (before, b"1")
    file.close()


def fail(*_):
    raise OSError(5, "Input/output error")


def check_lost(file, path):
    """Check that a file with a commit, failing since, says so again, and that its next process finds that commit."""
    with pytest.raises(OSError, match="Input/output error"):
        file.commit(b"3")
    file.close()
    file = opened(path)
    assert (content(file), file.note) == (b"words", b"1")
    file.close()


def test_a_commit_that_fails_once_is_told_again(tmp_path, monkeypatch):
    file = opened(tmp_path / "s.h5")
    file.write(b"words")
    file.commit(b"1")
    file.write(b" and more")
    with monkeypatch.context() as patched:
        patched.setattr(durable.os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output error"):
            file.commit(b"2")
    check_lost(file, tmp_path / "s.h5")


def test_a_disk_that_does_not_give_room_is_told_at_the_commit(tmp_path, monkeypatch):
    class Disk(io.FileIO):
        broken = False

        def truncate(self, size):
            return fail() if Disk.broken else super().truncate(size)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "open", lambda path, mode, buffering: Disk(path, mode), raising=False)
        file = opened(tmp_path / "s.h5")
    file.write(b"words")
    file.commit(b"1")
    Disk.broken = True
    assert file.truncate(3 * PAGE) == 3 * PAGE
    Disk.broken = False
    check_lost(file, tmp_path / "s.h5")


@pytest.mark.skipif(durable.sys.platform == "win32", reason="files are not locked there")
def test_two_processes_do_not_write_one_file(tmp_path):
    file = opened(tmp_path / "s.h5")
    with pytest.raises(InputError, match=r"s\.h5: expected to be alone at it, found another process"):
        opened(tmp_path / "s.h5")
    file.close()
    opened(tmp_path / "s.h5").close()


def test_the_log_of_a_file_that_is_gone_is_of_no_use(tmp_path):
    file = opened(tmp_path / "s.h5")
    file.write(b"words")
    file.commit(b"1")
    file.close()
    (tmp_path / "s.h5").unlink()
    file = opened(tmp_path / "s.h5")
    assert (content(file), file.note) == (b"", None)
    file.close()
