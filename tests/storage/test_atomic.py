"""Files that get their names whole or not at all."""

import os
import subprocess
import sys
import time

import pytest

from angiomorph.storage.atomic import HOST, make_folder, remove_leftovers, replace_file, replace_together


def write(path, text, *, durable=False, error=None):
    with replace_file(path, durable=durable) as partial:
        partial.write_text(text)
        if error is not None:
            raise error


def write_group(folder, texts, error=None):
    with replace_together():
        for name, text in texts.items():
            write(folder / name, text)
        if error is not None:
            raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_the_place_of_another(tmp_path, durable):
    write(tmp_path / "new" / "a.txt", "old")
    write(tmp_path / "new" / "a.txt", "new", durable=durable)
    assert (tmp_path / "new" / "a.txt").read_text() == "new"
    assert names(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    write(tmp_path / "a.txt", "whole")
    with pytest.raises(error):
        write(tmp_path / "a.txt", "half", error=error)
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert names(tmp_path) == ["a.txt"]


def test_a_group_takes_its_names_at_its_end(tmp_path):
    with replace_together():
        write(tmp_path / "a.txt", "a")
        write(tmp_path / "b" / "c.txt", "c")
        assert not (tmp_path / "a.txt").exists()
        assert not (tmp_path / "b" / "c.txt").exists()
    assert names(tmp_path) == ["a.txt", "b"]
    assert names(tmp_path / "b") == ["c.txt"]


def test_a_group_that_fails_leaves_none_of_its_files(tmp_path):
    write(tmp_path / "a.txt", "before")
    with pytest.raises(KeyboardInterrupt):
        write_group(tmp_path, {"a.txt": "after", "b.txt": "b"}, KeyboardInterrupt)
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_after_a_group_files_take_their_names_at_once(tmp_path):
    with replace_together():
        pass
    write(tmp_path / "a.txt", "a")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("texts", [{"b.txt": "b"}, {"a.txt": "a", "b.txt": "b"}])
def test_a_folder_of_that_name_is_kept_and_named(tmp_path, texts):
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a folder has that name: .*b\.txt'$"):
        write_group(tmp_path, texts)
    assert names(tmp_path) == ["b.txt"]


def test_errors_of_the_disk_name_the_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        write(tmp_path / "file" / "a.txt", "a")
    assert os.fspath(caught.value.filename) == str(tmp_path / "file")


def test_leftovers_of_ended_processes_of_this_host_go(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    gone = f".a.dcm.{HOST}-{ended.stdout.strip()}.partial"
    kept = [f".a.dcm.{HOST}-{os.getpid()}.partial", f".a.dcm.0000ff-{ended.stdout.strip()}.partial", ".a.partial", "a.dcm"]
    for name in (gone, *kept):
        (tmp_path / name).touch()
    assert [path.name for path in remove_leftovers(tmp_path)] == [gone]
    assert names(tmp_path) == sorted(kept)


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="only Linux tells in /proc that a process is dead but not yet waited for"
)
def test_a_process_that_nobody_has_asked_how_it_ended_has_ended(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "print()"], stdout=subprocess.PIPE) as process:
        process.stdout.read()
        left = tmp_path / f".a.dcm.{HOST}-{process.pid}.partial"
        left.touch()
        until = time.monotonic() + 60
        while not remove_leftovers(tmp_path):
            assert time.monotonic() < until
        assert not left.exists()


def test_a_killed_write_is_a_leftover(tmp_path):
    program = (
        "import os, sys; from angiomorph.storage.atomic import replace_file\n"
        "with replace_file(sys.argv[1]) as partial: partial.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.dcm")], check=False)
    assert len(names(tmp_path)) == 1
    assert len(remove_leftovers(tmp_path)) == 1
    assert names(tmp_path) == []
    assert remove_leftovers(tmp_path / "absent") == []


def test_a_folder_that_a_killed_process_left_goes(tmp_path):
    program = (
        "import os, sys; from angiomorph.storage.atomic import make_folder\n"
        "with make_folder(sys.argv[1]) as partial: (partial / 'a.txt').write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "folder")], check=False)
    assert [path.name for path in remove_leftovers(tmp_path)] != []
    assert names(tmp_path) == []


def test_what_another_users_process_writes_stays(tmp_path, monkeypatch):
    def deny(process, signal):
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / f".a.dcm.{HOST}-{2**22 + 1}.partial").touch()  # beyond all that Linux gives, so of none in /proc
    monkeypatch.setattr(os, "kill", deny)
    assert remove_leftovers(tmp_path) == []
    assert len(names(tmp_path)) == 1


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path):
    with make_folder(tmp_path / "new" / "folder") as partial:
        (partial / "a.txt").write_text("a")
        assert not (tmp_path / "new" / "folder").exists()
    assert names(tmp_path / "new") == ["folder"]
    assert names(tmp_path / "new" / "folder") == ["a.txt"]


def write_folder(path, error):
    with make_folder(path) as partial:
        (partial / "a.txt").write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_folder_that_fails_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        write_folder(tmp_path / "folder", error)
    assert names(tmp_path) == []


def test_a_folder_takes_no_name_that_is_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError), make_folder(tmp_path / "folder"):
        raise AssertionError("entered")
    assert names(tmp_path) == ["folder"]
