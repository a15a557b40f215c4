"""The benchmark of storage stores what it says and measures all kinds."""

import h5py
import numpy as np
import pytest

from benchmarks import storage


@pytest.mark.parametrize("shape", [(3, 40, 30), (2, 600, 1030)])
def test_frames_are_repeated_and_cropped(shape):
    frames = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    fitted = storage.fitted(frames)
    assert fitted.shape == (shape[0], 512, 512)
    for row, column in ((0, 0), (511, 511), (45, 200)):
        np.testing.assert_array_equal(fitted[:, row, column], frames[:, row % shape[1], column % shape[2]])


def test_each_kind_is_measured(xa_file, tmp_path, capsys):
    storage.main([str(xa_file()), "--reads", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 frames of 512 x 512, uint16")
    rows = {cells[1].strip(): [float(cell) for cell in cells[2:5]] for cells in (line.split("|") for line in lines[4:])}
    assert list(rows) == list(storage.KINDS)
    assert rows["none"][0] == pytest.approx(1, abs=0.01)
    assert rows["gzip 1, shuffled"][0] < rows["none"][0]
    assert all(speed > 0 for _, *speeds in rows.values() for speed in speeds)


@pytest.mark.parametrize(("kind", "options"), storage.KINDS.items())
def test_kinds_are_lossless_and_chunked_as_a_store(tmp_path, kind, options):
    frames = storage.fitted(np.random.default_rng(0).integers(0, 4096, (2, 16, 16)).astype(np.uint16))
    storage.write(tmp_path / "s.h5", frames, kind)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["frames"].chunks == (1, 512, 512)
        assert file["frames"].compression == options.get("compression")
        assert file["frames"].fletcher32 == (kind == "Fletcher-32")
        np.testing.assert_array_equal(file["frames"][()], frames)


def test_a_crc32_beside_the_frames_is_checked(tmp_path):
    storage.write(tmp_path / "s.h5", np.zeros((1, 512, 512), np.uint16), storage.CRC32)
    assert storage.read(tmp_path / "s.h5", 2) > 0
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["frames"][0, 5, 5] = 1
    with pytest.raises(OSError, match="frame 1 is not what was written"):
        storage.read(tmp_path / "s.h5", 2)
