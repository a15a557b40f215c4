"""Logs on the disk: rolled back to a checkpoint, and named where there is no room."""

import pytest

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.training import checkpoints
from angiomorph.training.logs import Table, roll_back
from tests.training.trainings import board, largest_file


def test_logs_are_rolled_back_to_a_checkpoint(tmp_path):
    (tmp_path / "steps.csv").write_text("step,loss\n0,0.5\n1,0.4\n2,0.3\n3,0.")
    (tmp_path / "history.csv").write_text("epoch,loss\n0,0.5\n1,0.4\n")
    (tmp_path / "validation.csv").write_text("step,lambda,loss\n2,0,0.5\n2,1,0.4\n3,0,0.3\n3,1,0.")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".00000004.h5.123.partial").write_text("cut short")
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    with writer.as_default():
        for step in range(5):
            tf.summary.scalar("loss", 0.1, step)
    writer.close()
    events = next((tmp_path / "tensorboard").iterdir())
    events.write_bytes(events.read_bytes()[:-3])
    checkpoints.remove_partial(tmp_path)
    roll_back(tmp_path, 2, 1)
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n0,0.5\n1,0.4\n"
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n0,0.5\n"
    assert (tmp_path / "validation.csv").read_text() == "step,lambda,loss\n2,0,0.5\n2,1,0.4\n"
    assert board(tmp_path) == [(0, "loss"), (1, "loss"), (2, "loss")]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_full_disk_under_the_logs_is_told_by_their_names(tmp_path):
    log = Table(tmp_path / "steps.csv")
    for step in range(1000):
        log.add({"step": step, "loss": 0.5})
    with largest_file(1000), pytest.raises(InputError, match=r"steps.csv: expected room .*`resume`"):
        log.flush()
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="expected room and permission to write, found"):
        checkpoints.write(tmp_path / "taken" / "x.h5", b"x")
