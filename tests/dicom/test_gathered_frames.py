"""Gathered frames are what NumPy and pydicom make of them in memory."""

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from angiomorph.dicom.compress import CODERS
from angiomorph.dicom.gathered_frames import GatheredFrames, percentile
from angiomorph.dicom.save import derived_uid
from tests.runs import moving_frames


def gather(frames, folder, dtype="<u2", **options):
    field = np.ones(frames.shape[1:], bool)
    return GatheredFrames(iter(frames), frames.shape, dtype, **{"field": field, "folder": folder} | options)


@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 40)), st.floats(0, 100))
def test_a_percentile_of_counts_is_that_of_the_values(values, share):
    counts = np.bincount(values)
    np.testing.assert_allclose(percentile(counts, share), np.percentile(values, share), atol=1e-9)
    rising = np.arange(counts.size) * 3.0
    np.testing.assert_allclose(percentile(counts, share, rising), np.percentile(3.0 * values, share), atol=1e-9)


def test_what_is_said_of_all_frames(tmp_path):
    frames = moving_frames((5, 16, 12))
    field = np.zeros((16, 12), bool)
    field[3:9, 2:7] = True
    gathered = gather(frames, tmp_path, field=field, every=2)
    assert (gathered.shape, gathered.smallest, gathered.largest) == (frames.shape, frames.min(), frames.max())
    np.testing.assert_array_equal(gathered.counts, np.bincount(frames[::2][:, field].ravel(), minlength=65536))
    assert b"".join(gathered) == frames.tobytes()
    assert derived_uid("image", gathered) == derived_uid("image", frames.tobytes())
    with gathered.open() as file:
        assert file.read() == frames.tobytes()
    assert list(tmp_path.iterdir()) == []


def test_an_odd_number_of_bytes_is_made_even(tmp_path):
    frames = moving_frames((3, 5, 5), bits=8)
    gathered = gather(frames, tmp_path, "u1")
    with gathered.open() as file:
        assert file.read() == frames.tobytes() + b"\0"


@pytest.mark.parametrize("name", sorted(CODERS))
def test_compressed_frames_are_those_of_pydicom(xa_file, tmp_path, name):
    frames = moving_frames((3, 33, 35))
    dataset = pydicom.dcmread(xa_file(frames=frames))
    with gather(frames, tmp_path).compress(dataset, CODERS[name], tmp_path) as file:
        found = file.read()
    dataset.compress(CODERS[name].syntax, encoding_plugin=CODERS[name].plugin, generate_instance_uid=False)
    assert found == dataset.PixelData


def test_frames_beyond_4_gib_have_the_extended_table(xa_file, tmp_path, monkeypatch):
    monkeypatch.setattr("angiomorph.dicom.gathered_frames.MOST_OFFSET", 1000)
    frames = moving_frames((3, 33, 35))
    dataset = pydicom.dcmread(xa_file(frames=frames))
    with gather(frames, tmp_path).compress(dataset, CODERS["rle"], tmp_path) as file:
        found = file.read()
    dataset.compress(CODERS["rle"].syntax, encoding_plugin="gdcm", generate_instance_uid=False)
    fragments = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
    expected, offsets, lengths = pydicom.encaps.encapsulate_extended(fragments)
    assert (found, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) == (expected, offsets, lengths)
