"""Arrays on the disk come back as they were, from any thread, and leave no file."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.storage.spool import Spool


def test_arrays_come_back_in_any_order(tmp_path):
    spool = Spool(tmp_path / "new", (3, 2), np.float32)
    rng = np.random.default_rng(0)
    given = rng.random((50, 3, 2), np.float32)
    order = rng.permutation(50)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: spool.__setitem__(index, given[index]), order))
        found = list(pool.map(spool.__getitem__, range(50)))
    np.testing.assert_array_equal(found, given)
    spool[0] = given[1].astype(np.float64).T.copy().T  # another type, and not in one piece
    np.testing.assert_array_equal(spool[0], given[1])
    assert os.listdir(tmp_path) == []
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        spool[0]


def test_another_shape_and_what_is_not_there_are_refused(tmp_path):
    spool = Spool(None, (3, 2), np.uint16)
    with pytest.raises(ValueError, match=r"expected an array of shape \(3, 2\), got \(2, 3\)"):
        spool[0] = np.zeros((2, 3))
    with pytest.raises(OSError, match="expected array 4, found the end"):
        spool[4]


def test_a_killed_process_leaves_nothing(tmp_path):
    program = (
        "import numpy, sys, time; from angiomorph.storage.spool import Spool\n"
        "spool = Spool(sys.argv[1], (100, 100), 'f4'); spool[3] = numpy.ones((100, 100)); print('written', flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.kill()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "of Jane Doe")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(InputError, match=rf"{tmp_path}: expected room there for temporary .*: Permission denied; make room"):
        Spool(tmp_path, (2, 2), np.float32)


def test_a_full_disk_is_named(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool(tmp_path, (100, 100), np.float32)
    spool[0] = np.ones((100, 100))
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(InputError, match=rf"{tmp_path}: expected room there .*: File too large; make room, or name"):
            spool[1] = np.ones((100, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(spool[0], 1)
