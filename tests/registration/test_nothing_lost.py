"""Whatever ends or disturbs a registration: no half file, no other run lost, nothing left over, and the rest is made good."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.uid import JPEGLSLossless

from angiomorph.cli import main
from angiomorph.cli.terminal import RunDisplay
from angiomorph.registration.model import Model
from angiomorph.registration.options import OutputOptions, RegistrationOptions
from angiomorph.registration.runs import register_runs
from tests.registration.killed_runs import STEPS
from tests.runs import phantom, read_result, save_tiny_model
from tests.tools import REPOSITORY

pytestmark = pytest.mark.slow
OPTIONS = RegistrationOptions(background="1", refine=0, batch_size=1, guard=False), OutputOptions(kinds=("dicom", "h5"))
FLAGS = ("--background", "1", "--refine", "0", "--batch-size", "1", "--no-guard", "--save", "dicom,h5", "--skip-existing")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def results_of(*runs, records=True):
    """Return the names of whole results, with the records that `--skip-existing` keeps."""
    names = [f"{run}_bsa{ending}" for run in runs for ending in (".dcm", ".h5")]
    places = [Path(run) for run in runs]
    return sorted(names + [str(place.with_name(f".{place.name}_bsa.json")) for place in places if records])


def check_equal(folder, other):
    """Check that two folders have the same results, to the last bit."""
    expected = [name for name in names_in(other) if not Path(name).name.startswith(".")]
    assert [name for name in names_in(folder) if not Path(name).name.startswith(".")] == expected
    for name in expected:
        assert read_result(Path(folder, name)) == read_result(Path(other, name)), name


def register_all(folder, out, model):
    return list(register_runs([folder], out, model, *OPTIONS, skip_existing=True))


def register_by_command(folder, out, model):
    """Return the exit status of the command that does what `register_all` does."""
    return main(["register", str(folder), "--model", model, "--out", str(out), *FLAGS])


def open_files_in(folder, process="self"):
    """Return the files of a process in a folder, also those without a name."""
    found = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(os.readlink(link))
    return [name for name in found if name.startswith(str(folder))]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Kill registrations of two runs at each step of their writing, let them go on, and return the folder and what was told."""
    from angiomorph.dicom import write_run

    folder = tmp_path_factory.mktemp("killed")
    for name in "ab":
        frames = phantom((4, 64, 64), seed=ord(name))
        write_run(folder / "in" / f"{name}.dcm", frames, BitsStored=12, relation="LIN", frame_time=40.0, entropy=[name])
    command = [sys.executable, "-m", "tests.registration.killed_runs", folder / "in", folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["whole"] == [0, ["", ""]]
    return folder, said


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_of_writing(killed, step):
    folder, said = killed
    (status, _), (again, skipped) = said[step]
    assert (status, again) == (-9, 0)
    named = [name for name in names_in(folder / f"{step} killed") if not name.startswith(".")]
    for name in named:  # whole, as far as they have their names already
        assert read_result(Path(folder, f"{step} killed", name)) == read_result(Path(folder, "whole", name))
    done = [f".{run}_bsa.json" in names_in(folder / f"{step} killed") for run in "ab"]
    assert [bool(reason) for reason in skipped] == done
    assert names_in(folder / step) == results_of("a", "b")
    check_equal(folder / step, folder / "whole")


def wait_for_frames(process, out, run):
    """Wait until a process registers the frames of a run: it holds its name, and has a file without a name open."""
    until = time.monotonic() + 120
    while not ((out / f".{run}.lock").exists() and any("(deleted)" in name for name in open_files_in(out, process.pid))):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists the open files of a process, in /proc")
def test_the_command_killed_and_ended_among_the_frames_of_a_run(tmp_path, model, xa_file):
    shapes = {"a": (4, 64, 64), "b": (24, 96, 80), "c": (4, 64, 64)}
    for name, shape in shapes.items():
        xa_file(f"in/{name}.dcm", frames=phantom(shape, seed=ord(name)))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "angiomorph", "register", tmp_path / "in", "--model", model, "--out", out, *FLAGS]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    with subprocess.Popen(command, **given) as process:
        wait_for_frames(process, out, "b")
        process.kill()
        said = process.communicate()
    assert said[0].startswith(f"{tmp_path / 'in' / 'a.dcm'}: 4 frames of 64x64")
    assert process.returncode == -9
    assert names_in(out) == sorted([*results_of("a"), ".b.lock"])
    with subprocess.Popen(command, **given) as process:
        wait_for_frames(process, out, "b")
        process.terminate()
        said = process.communicate()
    assert process.returncode == 130
    assert said[0] == f"{tmp_path / 'in' / 'a.dcm'}: skipped, its results are there\n"
    assert said[1] == f"registering 3 runs with model {model}\nangiomorph register: interrupted\n"
    assert names_in(out) == results_of("a")
    assert [bool(outcome.skipped) for outcome in register_all(tmp_path / "in", out, model)] == [True, False, False]
    assert names_in(out) == results_of("a", "b", "c")
    register_all(tmp_path / "in", tmp_path / "whole", model)
    check_equal(out, tmp_path / "whole")


def test_replaced_results_are_not_taken_for_the_older_ones(tmp_path, model, xa_file):
    """Of several λ at least two give DICOM files of one size; the digits of UIDs differ."""
    run, out, output = (
        str(xa_file("in/run.dcm", frames=phantom((3, 64, 64)))),
        tmp_path / "out",
        OutputOptions(kinds=("dicom",)),
    )

    def register_at(hyper, **given):
        chosen = RegistrationOptions(background="1", refine=0, guard=False, hyper=hyper)
        return next(register_runs([run], out, model, chosen, output, **given)).skipped

    assert register_at(0.1, skip_existing=True) == ""
    first = (out / "run_bsa.dcm").read_bytes()
    for hyper in (0.2, 0.3, 0.4, 0.5):
        assert register_at(hyper) == ""
        if (out / "run_bsa.dcm").stat().st_size == len(first):
            break
    assert (out / "run_bsa.dcm").stat().st_size == len(first)
    assert register_at(0.1, skip_existing=True) == ""


def test_a_run_that_changes_while_it_is_read_is_read_again(tmp_path, model, xa_file, monkeypatch):
    """A file that is still being copied."""
    run = xa_file("in/run.dcm", frames=phantom((3, 64, 64)))
    save = Model.register

    def copied_meanwhile(self, series, *given):
        result = save(self, series, *given)
        os.utime(run, ns=(5, 5))
        return result

    with monkeypatch.context() as patched:
        patched.setattr(Model, "register", copied_meanwhile)
        register_all(run, tmp_path / "out", model)
    (outcome,) = register_all(run, tmp_path / "out", model)
    assert outcome.skipped == ""


def damage(path, frame):
    """Overwrite the first bytes of a compressed frame, from 0."""
    data = bytearray(path.read_bytes())
    place = [place for place in range(len(data)) if data[place : place + 4] == b"\xff\xd8\xff\xf7"][frame]
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)


def test_lost_and_damaged_runs_fail_alone(tmp_path, model, xa_file, monkeypatch, capsys):
    """Of six runs two are damaged in the middle, one vanishes before it is read, and one while its frames are registered."""
    frames = {name: phantom((12 if name == "d" else 5, 64, 64), seed=ord(name)) for name in "abcdef"}

    def compress(dataset):
        dataset.compress(JPEGLSLossless)

    files = {name: xa_file(f"in/{name}/run.dcm", compress if name in "abf" else None, frames[name]) for name in frames}
    whole = {name: path.read_bytes() for name, path in files.items()}
    register_all(tmp_path / "in", tmp_path / "whole", model)
    damage(files["b"], 2)
    files["e"].write_bytes(whole["e"][:-5000])
    done = []

    def lose(display, frame, count):
        done.append(frame)
        if done == [0, 1]:
            files["c"].unlink()
        if done[-2:] == [0, 1] and count == 12:
            files["d"].unlink()

    monkeypatch.setattr(RunDisplay, "frames", lose)
    out = tmp_path / "out"
    assert register_by_command(tmp_path / "in", out, model) == 1
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.out.splitlines()] == [str(files[name]) for name in "af"]
    _, *failures, last = said.err.splitlines()
    assert last == "angiomorph register: 4 of 6 runs failed, the others are written"
    words = {
        "b": "frame 3: expected pixels in JPEG-LS Lossless",
        "c": "expected a DICOM file, but it cannot be read: No such file or directory",
        "d": "expected to read it, but: No such file or directory; ",
        "e": "expected PixelData (7FE0,0010) of 40960 bytes (5 frames), found 35960 bytes; ",
    }
    for (name, text), line in zip(words.items(), failures, strict=True):
        assert line.startswith(f"angiomorph register: failed: {files[name]}: "), line
        assert text in line
    assert names_in(out) == results_of("a/run", "f/run")
    for name in "bcde":
        files[name].write_bytes(whole[name])
    again = register_all(tmp_path / "in", out, model)
    assert [(outcome.error, bool(outcome.skipped)) for outcome in again] == [("", name in "af") for name in frames]
    assert names_in(out) == results_of(*(f"{name}/run" for name in frames))
    check_equal(out, tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of its own and what sets the disk's size, in kB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*given):
        return subprocess.run(["mount", *given, folder], capture_output=True, check=False).returncode == 0

    if not (sys.platform == "linux" and os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")):
        pytest.skip("to fill a disk safely takes a small one of its own (tmpfs), which Linux mounts for root alone")
    yield folder, lambda option: mount("-o", f"remount,{option}") or pytest.fail(option)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(("room", "words"), [(1000, "temporary files of the run"), (1700, "expected to write the results")])
def test_a_full_disk_loses_the_large_run_alone(tmp_path, model, xa_file, small_disk, capsys, room, words):
    out, remount = small_disk
    shapes = {"a": (4, 64, 64), "b": (6, 128, 128), "c": (4, 64, 64)}
    for name, shape in shapes.items():
        xa_file(f"in/{name}.dcm", frames=phantom(shape, seed=ord(name)))
    register_all(tmp_path / "in", tmp_path / "whole", model)
    remount(f"size={room}k")
    assert register_by_command(tmp_path / "in", out, model) == 1
    _, failure, last = capsys.readouterr().err.splitlines()
    assert failure.startswith(f"angiomorph register: failed: {out}")
    assert words in failure
    assert "but: No space left on device; make room, or name another folder with --out" in failure
    assert last.endswith("1 of 3 runs failed, the others are written")
    assert names_in(out) == results_of("a", "c")
    remount("size=20000k")
    again = register_all(tmp_path / "in", out, model)
    assert [(outcome.error, bool(outcome.skipped)) for outcome in again] == [("", True), ("", False), ("", True)]
    assert names_in(out) == results_of("a", "b", "c")
    check_equal(out, tmp_path / "whole")


def test_a_read_only_folder_is_named_before_anything_is_computed(tmp_path, model, xa_file, small_disk, monkeypatch, capsys):
    out, remount = small_disk
    for name in "ab":
        xa_file(f"in/{name}/run.dcm", frames=phantom((3, 64, 64)))
    (out / "a").mkdir()
    (out / "a" / ".run.lock").touch()  # of a process that was killed
    remount("ro")
    with monkeypatch.context() as patched:
        patched.setattr(Model, "register", lambda *given: pytest.fail("registered"))
        assert register_by_command(tmp_path / "in", out, model) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[1:] == [
        f"angiomorph register: failed: {out / name / 'run'}: expected to write the results there, but: Read-only file system; "
        "make room, or name another folder with --out"
        for name in "ab"
    ] + ["angiomorph register: all runs failed"]
    remount("rw,size=20000k")
    assert [outcome.error for outcome in register_all(tmp_path / "in", out, model)] == [""] * 2
    assert names_in(out) == results_of("a/run", "b/run")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists the open files of a process, in /proc")
def test_each_run_gives_its_room_on_the_disk_back(tmp_path, model, xa_file, monkeypatch):
    """At once: Python looks for circles of references rarely, and a tree of runs would fill the disk."""
    import gc

    def compress(dataset):
        dataset.compress(JPEGLSLossless)

    files = {name: xa_file(f"in/{name}.dcm", compress if name in "ac" else None, phantom((12, 64, 64))) for name in "abcd"}
    out, left = tmp_path / "out", []

    def lose(frame, count):
        if len(left) == 3 and frame:
            files["d"].unlink(missing_ok=True)

    gc.collect()
    gc.disable()
    try:
        for outcome in register_runs([tmp_path / "in"], out, model, *OPTIONS, frame_progress=lose):
            left.append((outcome.name, bool(outcome.error), open_files_in(out)))
    finally:
        gc.enable()
    assert left == [("a", False, []), ("b", False, []), ("c", False, []), ("d", True, [])]
