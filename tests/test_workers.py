"""Results come in the order of the tasks, whatever becomes of the processes, and never too many at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from angiomorph.errors import InputError
from angiomorph.workers import Died, map_in_order


def slow_if_even(task):
    time.sleep(0.05 * (task % 2 == 0))
    return task, os.getpid()


def deadly(task):
    if task == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "exit":
        os._exit(3)
    if task == "raise":
        raise InputError("no good")
    return task


def noting(task):
    folder, number = task
    (folder / str(number)).touch()
    return number


def test_results_are_in_order_and_by_several_processes():
    results = list(map_in_order(slow_if_even, range(12), 2))
    assert [task for task, _ in results] == list(range(12))
    processes = {process for _, process in results}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_without_tasks_nothing_is_started():
    assert list(map_in_order(deadly, [], 2)) == []


def test_a_death_is_the_result_of_its_task_alone():
    tasks = ["a", "segfault", "b", "exit", "segfault", "c"]
    died, left = Died(-signal.SIGSEGV), Died(3)
    assert list(map_in_order(deadly, tasks, 2)) == ["a", died, "b", left, died, "c"]
    assert (str(died), str(left)) == ("signal SIGSEGV", "exit status 3")


def test_an_error_is_raised_here():
    with pytest.raises(InputError, match="no good"):
        list(map_in_order(deadly, ["a", "raise", "b"], 1))


@pytest.mark.slow
def test_work_runs_ahead_by_two_tasks_a_worker(tmp_path):
    results = map_in_order(noting, [(tmp_path, number) for number in range(20)], 2)
    for wanted in range(3):
        assert next(results) == wanted
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) <= wanted + 4
    results.close()


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from angiomorph.workers import map_in_order\nprint(list(map_in_order(abs, [-1], 1)))\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "expected a process to start, but it ended with exit status 1" in done.stderr
    assert '`if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_an_interrupt_from_the_terminal_is_the_parents_alone(tmp_path, seconds):
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, sys, time\n"
        "from angiomorph.workers import map_in_order\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "    try:\n"
        "        print('started', flush=True)\n"
        "        list(map_in_order(time.sleep, [20, 20], 2))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, script]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    process.stdout.readline()
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)
    assert (process.returncode, *said) == (130, "", "")


@pytest.mark.slow
def test_a_process_that_dies_between_two_tasks_is_told():
    """It has no task when it is killed; the next one meets its end."""
    results = map_in_order(slow_if_even, [1, 3, 5, 7], 1)
    _, process = next(results)
    time.sleep(0.2)  # the tasks ahead are done
    os.kill(process, signal.SIGKILL)
    time.sleep(0.1)
    assert [result for result in results if isinstance(result, Died)] == [Died(-signal.SIGKILL)]
