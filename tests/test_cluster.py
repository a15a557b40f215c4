"""Tasks on a cluster: in order, each once in its results, whatever becomes of workers."""

import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest

from angiomorph.archive.prepare import prepare
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.registration import runs
from angiomorph.registration.options import OutputOptions, RegistrationOptions
from angiomorph.registration.runs import register_runs
from angiomorph.storage import store
from angiomorph.workers import Died, cluster, map_tasks, open_cluster
from tests.runs import phantom, read_result, save_tiny_model
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
def test_a_second_cluster_beside_it_warns_of_nothing(local):
    """dask's usual port is taken by the first; a warning would be an error here."""
    with open_cluster("local:1") as other:
        assert (local.count_workers(), other.count_workers()) == (2, 1)


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


@pytest.fixture
def here():
    """A scheduler and a worker that are threads of this process, but talk as processes do."""
    import distributed

    given = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **given) as started,
        distributed.Client(started, set_as_default=False) as client,
    ):
        yield cluster.Cluster("here", client)


class Foreign:
    """A function of a program that workers do not have."""

    def __reduce__(self):
        return importlib.import_module, ("absent_program",)

    def __call__(self, task):
        return task


def update(task):
    """Give the worker another version of the program; the tasks that come later meet it."""
    cluster.__version__ = "0"
    return task


def leave(task):
    """Remove the folder in which the worker is."""
    shutil.rmtree(os.getcwd())
    return task


def fail(task):
    raise RuntimeError("no good")


def test_workers_without_the_program_are_told(here):
    with pytest.raises(
        InputError, match=r"`cluster` here: .* with each worker, found none \(No module named 'absent_program'\)"
    ):
        list(map_tasks(Foreign(), range(3), 0, here))


def test_a_tasks_own_failure_is_not_the_clusters(here):
    with pytest.raises(RuntimeError, match=r"^no good$"):
        list(map_tasks(fail, range(3), 0, here))


def test_workers_of_another_version_are_told(here, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(InputError, match=r"`cluster`: expected AngioMorph 9\.9 with each worker, found 0; install the same"):
        list(map_tasks(update, range(3), 0, here))


def test_workers_without_the_folder_are_told(here, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    monkeypatch.chdir(tmp_path / "shared")
    with pytest.raises(InputError, match="shared: expected this folder on each worker's machine, but No such file"):
        list(map_tasks(leave, range(3), 0, here))


def test_a_scheduler_that_went_between_two_results_is_told(here):
    results = map_tasks(abs, range(30), 0, here, ahead=3)
    assert next(results) == 0
    here.client.close()
    with pytest.raises(InputError, match="`cluster` here: expected its scheduler until the last run, but it has gone"):
        list(results)


@slow
def test_a_scheduler_that_goes_within_a_task_is_told(scheduler):
    with open_cluster(address_of(scheduler)) as opened:
        process = opened.client.run_on_scheduler(os.getpid)
        results = map_tasks(time.sleep, [0, *[60] * 9], 0, opened)
        assert next(results) is None
        killer = threading.Timer(0.5, os.kill, (process, signal.SIGKILL))
        killer.start()
        with pytest.raises(
            InputError, match="expected its scheduler until the last run, but it has gone; what is finished is kept"
        ):
            next(results)
        killer.join()


@slow
def test_names_by_a_pattern_are_those_of_one_process(here, tmp_path, xa_file):
    model, frames = save_tiny_model(tmp_path / "tiny.h5"), phantom((3, 64, 64))
    same = {"entropy": ["same"], "attributes": {"SeriesDescription": "one"}}
    paths = [xa_file("0.dcm", frames=frames), *(xa_file(f"{name}.dcm", frames=frames, **same) for name in "123")]
    paths[2].write_bytes(paths[2].read_bytes()[:-500])
    other = pydicom.dcmread(paths[3])
    other.PixelData = (frames + 5).tobytes()
    other.save_as(paths[3])
    found = {}
    for way, given in (("one", None), ("many", here)):
        options = RegistrationOptions(background="1", refine=0), OutputOptions(kinds=("h5",), name="{SeriesNumber}")
        outcomes = register_runs(paths, tmp_path / way, model, *options, cluster=given)
        found[way] = [(outcome.name, bool(outcome.error), outcome.summary.get("result")) for outcome in outcomes]
    assert found["many"] == found["one"]
    assert [failed for _, failed, _ in found["one"]] == [False, False, True, False]
    first, second, _, last = (place for _, _, place in found["one"])
    assert (first != second, last) == (True, f"{second}-2")
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == sorted(
        f"{place}_bsa.h5" for place in (first, second, last)
    )


def test_a_run_that_kills_every_worker_is_told(tmp_path, xa_file, monkeypatch):
    def die_at_each(function, tasks, *_, **__):
        return iter([Died(-signal.SIGKILL) for _ in tasks])

    monkeypatch.setattr(runs, "map_tasks", die_at_each)
    path = xa_file()
    (outcome,) = register_runs([path], tmp_path / "out", cluster=cluster.Cluster("here", None))
    assert outcome.source == str(path)
    assert outcome.error.startswith(f"{path}: expected a run, but every process that registered it ended with signal SIGKILL")


def test_in_this_process(tmp_path):
    results = list(map_tasks(partial(note, folder=tmp_path), range(3), 0))
    assert [(task, process) for task, process, _ in results] == [(task, os.getpid()) for task in range(3)]


@pytest.mark.parametrize("address", ["local:0", "local:", "local:two", "somewhere", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="expected local:N"), open_cluster(address):
        pass


@slow
def test_a_scheduler_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECTING", 0.5)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9: expected a dask scheduler"), open_cluster("127.0.0.1:9"):
        pass


def test_workers_that_do_not_start_are_told(monkeypatch):
    def fail(**given):
        raise RuntimeError("Cluster failed to start: Nanny failed to start worker process")

    monkeypatch.setattr("distributed.LocalCluster", fail)
    with (
        pytest.raises(InputError, match=r"local:2: expected worker processes to start here, .* give fewer"),
        open_cluster("local:2"),
    ):
        pass


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'angiomorph\[cluster\]'"), open_cluster("local:1"):
        pass


@slow
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


def address_of(scheduler):
    """Return the address of a scheduler that both workers have joined."""
    address = json.loads(scheduler[0].read_text())["address"]
    with open_cluster(address) as opened:
        wait_for(lambda: opened.count_workers() == 2)
    return address


@slow
def test_prepare_on_a_scheduler_writes_the_same(tmp_path, scheduler, xa_file, capsys):
    for number in range(5):
        xa_file(f"in/{number}.dcm", frames=phantom((3, 32, 32), seed=number))
    (tmp_path / "in" / "2.dcm").write_bytes((tmp_path / "in" / "2.dcm").read_bytes()[:-500])
    ways = {"here": ("--workers", "1"), "there": ("--cluster", address_of(scheduler))}
    said = {}
    for way, flags in ways.items():
        assert main(["prepare", str(tmp_path / "in"), str(tmp_path / way / "s.h5"), *flags]) == 1
        said[way] = capsys.readouterr()
    assert said["there"].out.partition(":")[2] == said["here"].out.partition(":")[2] == " 4 runs taken, 1 left out\n"
    lines = said["there"].err.splitlines()
    assert lines[0] == f"cluster {ways['there'][1]}: 2 workers"
    left_out = [line for line in said["here"].err.splitlines() if line.startswith("left out")]
    assert [line for line in lines if line.startswith("left out")] == left_out
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["s.h5", "s.manifest.csv"]
    assert (tmp_path / "there" / "s.manifest.csv").read_bytes() == (tmp_path / "here" / "s.manifest.csv").read_bytes()
    check_stores(tmp_path / "there" / "s.h5", tmp_path / "here" / "s.h5")


def check_stores(one, other):
    """Check that two stores hold the same runs, to the last bit."""
    with store.open_store(one) as ours, store.open_store(other) as theirs:
        assert store.keys(ours) == store.keys(theirs)
        for key in store.keys(ours):
            pairs = zip(vars(store.read(ours, key)).values(), vars(store.read(theirs, key)).values(), strict=True)
            for value, expected in pairs:
                np.testing.assert_array_equal(value, expected)


@slow
def test_simulate_is_the_same_though_a_worker_is_killed(tmp_path, scheduler):
    require_package("numba", "simulate")
    flags = ["--runs", "4", "--seed", "5", "--size", "64", "--frames", "3", "--background", "1"]
    places = {way: ["--out", str(tmp_path / way), "--store", str(tmp_path / f"{way}.h5")] for way in ("here", "there")}
    assert main(["simulate", *flags, *places["here"], "--workers", "1"]) == 0
    killer = subprocess.Popen([sys.executable, "-c", KILL_WRITER, str(tmp_path / "there"), *map(str, scheduler[1])])
    assert main(["simulate", *flags, *places["there"], "--cluster", address_of(scheduler)]) == 0
    assert killer.wait() == 0
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == [f"run-{number:06d}{ending}" for number in range(1, 5) for ending in (".dcm", "_truth.h5")]
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == names
    for name in names:
        assert read_result(tmp_path / "there" / name) == read_result(tmp_path / "here" / name)
    check_stores(tmp_path / "there.h5", tmp_path / "here.h5")


# Kills the worker that writes the first of several runs, while it does.
KILL_WRITER = """
import os, signal, sys, time
from pathlib import Path
out, workers = Path(sys.argv[1]), set(sys.argv[2:])
while True:
    for path in out.glob(".*.partial") if out.exists() else ():
        if (worker := path.name.split("-")[-1].split(".")[0]) in workers:
            os.kill(int(worker), signal.SIGKILL)
            sys.exit()
"""


@slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="only Linux lists the processes of a session, in /proc")
@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130),
        (lambda process: process.terminate(), 130),
        (lambda process: process.kill(), -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_no_worker_outlives_the_command(tmp_path, xa_file, send, status):
    for number in range(60):
        xa_file(f"in/{number:02d}.dcm", frames=phantom((2, 32, 32), seed=number))
    command = [sys.executable, "-m", "angiomorph", "prepare", tmp_path / "in", tmp_path / "s.h5", "--cluster", "local:2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True) as process:
        said = [process.stderr.readline(), process.stderr.readline(), process.stderr.readline()]
        assert [line.split(",")[0].strip() for line in said] == [
            "cluster local:2: 2 workers",
            "runs read: 0/60",
            "runs read: 6/60",
        ]
        assert len(list_session(process.pid)) > 3
        send(process)
        said = process.stderr.read().splitlines()
        assert process.wait(60) == status
    if status == 130:  # else the system's own words may follow
        assert [line for line in said if not line.startswith("runs read")] == ["angiomorph prepare: interrupted"]
    wait_for(lambda: not list_session(process.pid))
    assert main(["prepare", str(tmp_path / "in"), str(tmp_path / "s.h5"), "--workers", "1"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "s.h5", "s.manifest.csv"]


@slow
def test_an_interrupt_waits_until_the_workers_have_started(tmp_path):
    """It comes from within their start."""
    program = (
        "import os, signal, sys, distributed; from angiomorph.cli import main\n"
        "start = distributed.Nanny.start_unsafe\n"
        "async def interrupted(nanny): os.kill(os.getpid(), signal.SIGTERM); return await start(nanny)\n"
        "distributed.Nanny.start_unsafe = interrupted\n"
        "if __name__ == '__main__': sys.exit(main(['prepare', 'in', 's.h5', '--cluster', 'local:1']))"
    )
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "angiomorph prepare: interrupted\n")


def list_session(leader):
    """Return the numbers of the processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(session) == leader and state != "Z":
            found.append(int(folder.name))
    return found


@slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists the open files of a process, in /proc")
def test_a_worker_killed_in_a_run_loses_nothing(tmp_path, scheduler, xa_file):
    file, workers = scheduler
    model = save_tiny_model(tmp_path / "tiny.h5")
    given = [xa_file(f"in/{number}.dcm", frames=phantom((3, 64, 64), seed=number)) for number in range(4)]
    (tmp_path / "in" / "3.dcm").write_bytes(Path(given[0]).read_bytes()[:-500])  # fails wherever it is read
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
    list(register_runs(given[:3], tmp_path / "here", model, *options))
    for name in names:
        assert read_result(out / name) == read_result(tmp_path / "here" / name)


# Kills a worker as soon as frames of a run that it registers are on the disk, in a file without a name.
KILL = """
import os, signal, sys
from pathlib import Path
out, worker = str(Path(sys.argv[1]).resolve()), sys.argv[2]
while True:
    for number in os.listdir(f"/proc/{worker}/fd"):
        try:
            status, name = os.stat(f"/proc/{worker}/fd/{number}"), os.readlink(f"/proc/{worker}/fd/{number}")
        except OSError:  # closed meanwhile
            continue
        if name.startswith(out) and name.endswith("(deleted)") and status.st_size:
            os.kill(int(worker), signal.SIGKILL)
            sys.exit()
"""
