"""The table of throughput: rows by hand; the whole with workers that are here."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from angiomorph.dicom import find_series, read_series
from angiomorph.registration.runs import Outcome
from benchmarks.registration import cluster
from tests.runs import phantom


def test_rows_by_hand():
    alone, two = cluster.Throughput(1, 5.0, 40.0, 8), cluster.Throughput(2, 6.25, 25.0, 8)
    assert alone.row(alone) == "| 1 | 5.0 | 5.00 | 720 | 1.00 |"
    assert two.row(alone) == "| 2 | 6.2 | 3.12 | 1152 | 1.60 |"
    assert cluster.days(alone, 10) == pytest.approx(100_000 / 7200 / 24)


def test_each_run_is_another_and_a_failure_ends_it(tmp_path, monkeypatch, xa_file, capsys):
    given = []

    @contextmanager
    def opened(address):
        yield address

    def register(paths, out, *, output, cluster):
        given.append((cluster, {find_series([path])[0].uid for path in paths}, Path(out)))
        return [Outcome("run", "no good" if cluster == "local:3" else "", (), {})]

    monkeypatch.setattr(cluster, "open_cluster", opened)
    monkeypatch.setattr(cluster, "register_runs", register)
    run = xa_file("run.dcm", frames=phantom((3, 32, 32)))
    cluster.main([str(run), "--runs", "3"])
    assert [(address, len(uids)) for address, uids, _ in given] == [
        ("local:1", 1),
        ("local:1", 3),
        ("local:2", 2),
        ("local:2", 3),
    ]
    assert len({out for _, _, out in given}) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")] == ["workers", "---", "1", "2"]
    assert lines[-1].startswith("100,000 runs by 100 such machines: ")
    with pytest.raises(cluster.InputError, match="no good"):
        cluster.register_like(read_series(find_series([run])[0]), 1, tmp_path / "more", "local:3")
