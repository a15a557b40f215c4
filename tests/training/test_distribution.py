"""Trainings of several workers and of several devices beside one of a single process: the same steps; no end is a hang."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.networks.model import AngioMorph
from angiomorph.training import distribution
from angiomorph.training.config import Sampling
from angiomorph.training.distribution import TrainingWorkers, join, meet, read_workers
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.source import Source
from tests.tools import REPOSITORY, require_tool
from tests.training.trainings import TINY, table

pytestmark = pytest.mark.slow

PATIENCE = 400  # seconds, on a machine that has much else to do
# 6 pairs a visit: batches of 4 and 2, so that the last one is smaller and has to be cut too.
OPTIONS = [*TINY, "--frames-per-series", 6, "--batch-size", 4, "--seed", 3, "--epochs", 2, "--steps-per-epoch", 40]
OPTIONS += ["--checkpoint-steps", 5, "--on-nan", "skip"]
SEVERAL_DEVICES = """
import sys
from angiomorph.training import distribution
from angiomorph.backend import tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
distribution.list_devices = lambda gpus: ["CPU:0", "CPU:1"]
from angiomorph.cli import main
sys.exit(main(sys.argv[1:]))
"""


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def config(ports, index):
    workers = [f"127.0.0.1:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def started(command, log, **environment):
    """Return a process whose output goes to `log`."""
    given = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment}
    with log.open("w") as file:
        return subprocess.Popen([sys.executable, *map(str, command)], stdout=file, stderr=file, env=given)


@pytest.fixture
def workers(tmp_path):
    """Return a starter of two workers, given the arguments of each; they end with the test."""
    processes = []

    def start(arguments):
        ports = free_ports(2)
        found = [
            started(["-m", "angiomorph", "train", *each], tmp_path / f"log{index}", TF_CONFIG=config(ports, index))
            for index, each in enumerate(arguments)
        ]
        processes.extend(found)
        return found

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def options(moving_archive):
    return [moving_archive, *OPTIONS, "--validation", moving_archive]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, options):
    """The model directory of one process with the joint batch."""
    model_dir = tmp_path_factory.mktemp("undisturbed") / "m"
    assert main(["train", *map(str, options), "--model-dir", str(model_dir)]) == 0
    return model_dir


def check_equal(found, expected):
    """Check that a model directory tells of the same training."""
    one, other = (table(each / "steps.csv") for each in (found, expected))
    for column in ("step", "epoch", "lambda"):
        np.testing.assert_array_equal(one[column], other[column])
    for column in ("loss", "gradient_norm"):
        # Sums in another order differ in the last digits, the more the longer the training.
        np.testing.assert_allclose(one[column][:20], other[column][:20], rtol=1e-4, err_msg=column)
        np.testing.assert_allclose(one[column], other[column], rtol=1e-2, err_msg=column)
    for column, values in table(expected / "history.csv").items():
        np.testing.assert_allclose(table(found / "history.csv")[column], values, rtol=1e-3, atol=1e-7, err_msg=column)
    models = [AngioMorph.load(each / "model.h5") for each in (found, expected)]
    for weights, others in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(weights, others, atol=1e-4)


def test_two_workers_train_as_one_process_with_the_joint_batch(tmp_path, workers, options, undisturbed):
    # Only the chief writes, so that the other's directory never comes to be.
    processes = workers([[*options, "--model-dir", tmp_path / name] for name in ("chief", "other")])
    for index, process in enumerate(processes):
        assert process.wait(PATIENCE) == 0, (tmp_path / f"log{index}").read_text()
    assert not (tmp_path / "other").exists()
    assert {path.name for path in (tmp_path / "chief").iterdir()} == {path.name for path in undisturbed.iterdir()}
    check_equal(tmp_path / "chief", undisturbed)
    assert "Epoch" not in (tmp_path / "log1").read_text()


def test_a_killed_worker_ends_the_other_and_one_resumes(tmp_path, workers, options, undisturbed):
    model_dir = tmp_path / "m"
    chief, other = workers([[*options, "--model-dir", model_dir]] * 2)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and chief.poll() is None and len(list_checkpoints(model_dir)) < 2:
        time.sleep(0.01)
    other.send_signal(signal.SIGKILL)
    assert chief.wait(PATIENCE) == 2, (tmp_path / "log0").read_text()
    said = (tmp_path / "log0").read_text().splitlines()[-1]
    assert said.startswith("angiomorph train: worker 0 of 2 (from 0): expected all of them until the end"), said
    assert "restart all with --resume" in said
    assert 0 < int(list_checkpoints(model_dir)[-1].stem) < 80
    assert main(["train", *map(str, options), "--model-dir", str(model_dir), "--resume"]) == 0
    check_equal(model_dir, undisturbed)


def test_two_devices_train_as_one_and_go_on_from_what_one_left(tmp_path, options, undisturbed):
    given = [*options, "--model-dir", tmp_path / "m"]
    begun = [*given, "--epochs", 1]
    assert main(["train", *map(str, begun)]) == 0
    process = started(["-c", SEVERAL_DEVICES, "train", *given, "--resume"], tmp_path / "log")
    assert process.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    check_equal(tmp_path / "m", undisturbed)


def test_all_parts_together_are_the_joint_batch(moving_archive):
    sampling = Sampling(frames_per_series=12, batch_size=8, size=32)
    with Source([moving_archive], sampling) as whole:
        joint = [whole.batch(step) for step in range(2)]
        assert [len(pairs.fixed) for pairs in joint] == [8, 4]
    moving, fixed, hypers = ([], []), ([], []), []
    for index in range(2):
        with Source([moving_archive], sampling, (index, 2)) as part:
            assert len(part.draw_step(0).draws[0].contrast) == 8
            for number, (inputs, _, _) in enumerate(make_dataset(part, (32, 32, 2), slices=2).take(4)):
                moving[number // 2].append(inputs[0].numpy()[..., 0])
                fixed[number // 2].append(inputs[1].numpy()[..., 0])
                hypers.append(inputs[2].numpy())
    assert [len(each) for each in fixed[0]] == [2, 2, 2, 2]
    for step in range(2):
        np.testing.assert_array_equal(np.concatenate(moving[step]), joint[step].moving)
        np.testing.assert_array_equal(np.concatenate(fixed[step]), joint[step].fixed)
    np.testing.assert_array_equal(np.unique(np.concatenate(hypers)), np.unique(np.float32([pairs.hyper for pairs in joint])))


@pytest.mark.parametrize(("batch", "frames", "said"), [(3, 6, "batch-size 3"), (4, 5, "frames-per-series 5")])
def test_a_batch_that_cannot_be_cut_is_refused_at_once(
    tmp_path,
    moving_archive,
    capsys,
    monkeypatch,
    batch,
    frames,
    said,
):
    monkeypatch.setenv("TF_CONFIG", config(free_ports(2), 0))
    options = ["--model-dir", tmp_path / "m", *TINY, "--batch-size", batch, "--frames-per-series", frames]
    assert main(["train", *map(str, [moving_archive, *options])]) == 2
    error = capsys.readouterr().err
    assert f"--{said}: expected a multiple of 2" in error
    assert not (tmp_path / "m").exists()
    with pytest.raises(InputError, match="`{}` {}: expected a multiple of 2".format(*said.replace("-", "_").split())):
        join(None, 2, Sampling(batch_size=batch, frames_per_series=frames), {})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '["a"]',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_malformed_tf_config_is_refused(tmp_path, moving_archive, capsys, monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert main(["train", str(moving_archive), "--model-dir", str(tmp_path / "m"), *TINY]) == 2
    error = capsys.readouterr().err
    assert "TF_CONFIG: expected JSON such as" in error
    assert "unset it to train on this machine alone" in error
    assert "Traceback" not in error
    assert not (tmp_path / "m").exists()


def test_the_chief_is_the_first_worker_and_one_worker_is_none(monkeypatch):
    given = {"cluster": {"worker": ["b:2", "[::1]:3"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(given))
    assert read_workers() == TrainingWorkers(("a:1", "b:2", "[::1]:3"), 2)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}')
    assert read_workers() is None
    monkeypatch.delenv("TF_CONFIG")
    assert read_workers() is None


def met(descriptions, seconds):
    """Return what each worker hears, of those that have a description."""
    team, heard = tuple(f"127.0.0.1:{port}" for port in free_ports(len(descriptions))), {}

    def run(index):
        try:
            meet(TrainingWorkers(team, index), descriptions[index], seconds)
            heard[index] = ""
        except InputError as error:
            heard[index] = str(error)

    threads = [threading.Thread(target=run, args=[index]) for index, each in enumerate(descriptions) if each is not None]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def test_workers_hear_of_one_that_differs_or_stays_away():
    same = {"batch_size": 4, "enc": (4, 4)}
    assert met([same, same, same], 30) == {0: "", 1: "", 2: ""}
    differing = met([same, same, {**same, "batch_size": 2}], 30)
    assert len(differing) == 3
    assert all("found batch_size: 4 of worker 0, 2 of worker 2" in each for each in differing.values())
    absent = met([same, same, None], 1)
    assert sorted(absent) == [0, 1]
    assert "expected 3 workers, found that worker 2 did not come" in absent[0]
    assert absent[1] == absent[0]
    assert "expected worker 0 at 127.0.0.1:" in met([None, same], 0.5)[1]


def test_an_address_that_is_taken_is_told():
    with socket.create_server(("", 0)) as taken:
        team = TrainingWorkers((f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"), 0)
        with pytest.raises(InputError, match=r"to be free for worker 0, but: Address already in use"):
            meet(team, {}, 1)


def test_dicom_is_not_prepared_by_each_of_several_workers(tmp_path, xa_file, capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(free_ports(2), 1))
    assert main(["train", str(xa_file()), "--model-dir", str(tmp_path / "m"), *TINY]) == 2
    assert "prepare it once with: angiomorph prepare" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_only_the_loss_of_a_worker_is_told_as_such():
    team = distribution.Distribution(None, 1, 2)
    with (
        pytest.raises(InputError, match=r"worker 1 of 2 \(from 0\): .*`resume`.*says: peer is down$"),
        team.explain_lost_workers(),
    ):
        raise tf.errors.UnavailableError(None, None, "peer is down\nmore")
    with pytest.raises(InputError, match=r"says: peer is down$"), team.explain_lost_workers():
        raise tf.errors.InternalError(None, None, "Graph error:\nCollective ops is aborted by: peer is down\nmore")
    with pytest.raises(tf.errors.ResourceExhaustedError), team.explain_lost_workers():
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    with pytest.raises(tf.errors.UnavailableError), distribution.Distribution().explain_lost_workers():
        raise tf.errors.UnavailableError(None, None, "no worker is meant")


@pytest.mark.parametrize("resumed", [False, True])
def test_the_slurm_example_configures_workers_and_resumes(tmp_path, monkeypatch, resumed):
    bash = require_tool("bash")
    programs = {
        "scontrol": 'echo "$*" >> "$OUT/scontrol"; printf "gpu03\\ngpu17\\n"',
        "srun": 'while [[ $1 == --* ]]; do shift; done; for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@"; done',
        "angiomorph": 'echo "$TF_CONFIG" >> "$OUT/configs"; printf "%s|" "$@" >> "$OUT/arguments"; echo >> "$OUT/arguments"',
    }
    (tmp_path / "bin").mkdir()
    for name, body in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!{bash}\n{body}\n")
        program.chmod(0o755)
    model_dir = tmp_path / "my models"
    (model_dir / "checkpoints").mkdir(parents=True)
    if resumed:
        (model_dir / "checkpoints" / "00001000.h5").touch()
    variables = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "OUT": str(tmp_path), "MODEL_DIR": str(model_dir)}
    variables |= {"SLURM_JOB_NODELIST": "gpu[03,17]", "SLURM_JOB_ID": "1234567", "DATA": "a store.h5"}
    subprocess.run([bash, REPOSITORY / "docs" / "slurm.sbatch", "--lr", "3e-4"], env={**os.environ, **variables}, check=True)
    assert (tmp_path / "scontrol").read_text() == "show hostnames gpu[03,17]\n"
    for index, line in enumerate((tmp_path / "configs").read_text().splitlines()):
        workers = {"worker": ["gpu03:24567", "gpu17:24567"]}
        assert json.loads(line) == {"cluster": workers, "task": {"type": "worker", "index": index}}
        monkeypatch.setenv("TF_CONFIG", line)
        assert read_workers() == TrainingWorkers(("gpu03:24567", "gpu17:24567"), index)
    rows = list(csv.reader((tmp_path / "arguments").read_text().splitlines(), delimiter="|"))
    expected = ["train", "a store.h5", "--model-dir", str(model_dir), "--batch-size", "16", "--frames-per-series", "48"]
    assert rows == [[*expected, *(["--resume"] if resumed else []), "--lr", "3e-4", ""]] * 2
