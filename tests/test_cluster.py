"""Tasks on a cluster: in order, each once in its results, whatever becomes of workers."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from angiomorph.archive.prepare import prepare
from angiomorph.errors import InputError
from angiomorph.registration.options import OutputOptions, RegistrationOptions
from angiomorph.registration.runs import register_runs
from angiomorph.workers import Died, cluster, map_tasks, open_cluster
from tests.runs import phantom, save_tiny_model
from tests.tools import REPOSITORY, require_package

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def dask():
    """Ask for dask, which a user's machine need not have."""
    require_package("distributed", "cluster")


def note(task, folder):
    (folder / f"{task}.{os.getpid()}").touch()
    return task, os.getpid(), os.getcwd()


def die_once(task, folder):
    """Do a task; the first worker that is given task 3 dies of it."""
    mark = folder / "died"
    if task == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return note(task, folder)


def die(task):
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def refuse(task):
    raise InputError(f"{task} is no good")


@pytest.fixture(scope="module")
def local():
    with open_cluster("local:2") as opened:
        yield opened


@slow
def test_results_are_in_order_and_each_is_there_once(local, tmp_path):
    results = list(map_tasks(partial(die_once, folder=tmp_path), range(12), 0, local))
    assert [task for task, _, _ in results] == list(range(12))
    assert {folder for _, _, folder in results} == {os.getcwd()}
    processes = {process for _, process, _ in results}
    assert os.getpid() not in processes
    assert {int(path.stem) for path in tmp_path.glob("*.*")} == set(range(12))


@slow
def test_a_task_that_kills_every_worker_is_told(local):
    assert list(map_tasks(die, range(3), 0, local)) == [0, Died(None), 2]
    assert str(Died(None)).startswith("no exit status")


@slow
def test_errors_come_here_and_later_tasks_are_cancelled(local):
    with pytest.raises(InputError, match="0 is no good"):
        list(map_tasks(refuse, range(9), 0, local))
    assert list(map_tasks(die, [0], 0, local)) == [0]


@slow
def test_work_runs_ahead_no_farther_than_asked(local, tmp_path):
    results = map_tasks(partial(note, folder=tmp_path), range(30), 0, local, ahead=3)
    for wanted in range(3):
        assert next(results)[0] == wanted
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) <= wanted + 6
    results.close()


@slow
def test_a_store_is_the_same_as_from_workers_of_this_machine(local, tmp_path, xa_file):
    for number in range(4):
        xa_file(f"in/{number}.dcm", frames=phantom((3, 32, 32), seed=number))
    (tmp_path / "in" / "2.dcm").write_bytes((tmp_path / "in" / "2.dcm").read_bytes()[:-500])
    reports = [
        prepare([tmp_path / "in"], tmp_path / f"{each}.h5", cluster=given) for each, given in (("a", None), ("b", local))
    ]
    assert (reports[1].taken, reports[1].left_out) == (reports[0].taken, reports[0].left_out)
    assert reports[0].taken == 3
    assert reports[1].manifest.read_text() == reports[0].manifest.read_text()


def test_in_this_process(tmp_path):
    results = list(map_tasks(partial(note, folder=tmp_path), range(3), 0))
    assert [(task, process) for task, process, _ in results] == [(task, os.getpid()) for task in range(3)]


@pytest.mark.parametrize("address", ["local:0", "local:", "local:two", "somewhere", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="expected local:N"), open_cluster(address):
        pass


def test_a_scheduler_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECTING", 0.5)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9: expected a dask scheduler"), open_cluster("127.0.0.1:9"):
        pass


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'angiomorph\[cluster\]'"), open_cluster("local:1"):
        pass


def test_dask_is_not_imported_unless_asked_for():
    code = "import sys, angiomorph.cli, angiomorph.registration.runs; sys.exit(bool({'dask', 'distributed'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler and two workers, each a process of its own, as on two machines; its file and the workers by their number."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    given = {"cwd": tmp_path, "env": environment, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file], **given
        )
    ]
    worker = [
        *dask,
        "worker",
        "--scheduler-file",
        file,
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    try:
        wait_for(file.exists)
        started += [subprocess.Popen(worker, **given) for _ in range(2)]
        yield file, {process.pid: process for process in started[1:]}
    finally:
        for process in started:
            process.kill()
            process.wait()


@slow
def test_a_worker_killed_in_a_run_loses_nothing(tmp_path, scheduler, xa_file):
    import json

    file, workers = scheduler
    model = save_tiny_model(tmp_path / "tiny.h5")
    runs = [xa_file(f"in/{number}.dcm", frames=phantom((3, 64, 64), seed=number)) for number in range(4)]
    (tmp_path / "in" / "3.dcm").write_bytes(Path(runs[0]).read_bytes()[:-500])  # fails wherever it is read
    out = tmp_path / "out"
    with open_cluster(json.loads(file.read_text())["address"]) as opened:
        wait_for(lambda: opened.count_workers() == 2)
        options = RegistrationOptions(background="1", refine=0), OutputOptions(kinds=("dicom", "h5"))
        outcomes = register_runs([tmp_path / "in"], out, model, *options, skip_existing=True, cluster=opened)
        killer = subprocess.Popen([sys.executable, "-c", KILL, str(out), str(next(iter(workers)))])
        outcomes = list(outcomes)
        assert killer.wait() == 0
        assert opened.count_workers() == 1
    assert [Path(outcome.source).name for outcome in outcomes] == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert [bool(outcome.error) for outcome in outcomes] == [False, False, False, True]
    written = [Path(name).name for outcome in outcomes[:3] for name in outcome.summary["outputs"]]
    names = [f"{number}_bsa.{ending}" for number in range(3) for ending in ("dcm", "h5")]
    assert sorted(written) == names
    assert sorted(path.name for path in out.iterdir() if path.suffix in (".dcm", ".h5", ".lock", ".partial")) == names
    again = register_runs([tmp_path / "in"], out, model, *options, skip_existing=True)
    assert [bool(outcome.skipped) for outcome in again] == [True, True, True, False]


# Kills a worker as soon as a run is held, which is before its model is loaded.
KILL = """
import os, signal, sys, time
from pathlib import Path
out, worker = Path(sys.argv[1]), int(sys.argv[2])
while len(list(out.glob(".*.lock")) if out.exists() else ()) < 2:
    time.sleep(0.01)
os.kill(worker, signal.SIGKILL)
"""
