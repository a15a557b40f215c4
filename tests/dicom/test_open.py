"""An opened run has the frames of a read one, each when it is asked for, and says which it could not read."""

import os

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from angiomorph.dicom import open_series, read_series
from angiomorph.errors import InputError
from angiomorph.preprocessing.lazy_frames import LazyFrames
from tests.dicom.headers import reencoded, setting
from tests.runs import moving_frames

SIGNED = setting(PixelRepresentation=1, BitsStored=16, HighBit=15)
INVERTED = setting(PhotometricInterpretation="MONOCHROME1")


def opens_as_read(source, folder):
    read, opened = read_series(source), open_series(source, folder=folder)
    assert isinstance(opened.frames, LazyFrames)
    np.testing.assert_array_equal(opened.frames, read.frames)
    assert (opened.frames.shape, opened.frames.dtype) == (read.frames.shape, read.frames.dtype)
    assert (opened.relation, opened.bits_stored, opened.places, opened.warnings, opened.name) == (
        read.relation, read.bits_stored, read.places, read.warnings, read.name,
    )  # fmt: skip
    return opened


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_every_encoding_opens_as_it_reads(xa_file, tmp_path, syntax):
    path = reencoded(xa_file(frames=moving_frames((4, 64, 64))), syntax)
    opens_as_read(path, tmp_path / "spool")
    assert [path.name for path in tmp_path.iterdir()] == ["run.dcm"]


@pytest.mark.parametrize("change", [None, SIGNED, INVERTED])
def test_signed_and_inverted_values_open_as_they_read(xa_file, tmp_path, change):
    opens_as_read(xa_file(change=change), tmp_path)


def test_eight_bits_and_single_frames_open_as_they_read(xa_file, xa_folder, tmp_path):
    opens_as_read(xa_file(frames=moving_frames(bits=8)), tmp_path)
    opened = opens_as_read(xa_folder(moving_frames()), tmp_path)
    np.testing.assert_array_equal(opened.frames[2], moving_frames()[2])


def test_a_file_that_vanishes_or_shrinks_is_named_with_its_frame(xa_file):
    path = xa_file()
    opened = open_series(path)
    os.truncate(path, path.stat().st_size - 100)
    opened.frames[2]
    with pytest.raises(InputError, match=rf"{path}: expected PixelData \(7FE0,0010\) of 384 bytes for frame 4, found 284"):
        opened.frames[3]
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: frame 1: expected to read it, but: No such file or directory; leave"):
        opened.frames[0]


def test_a_frame_that_does_not_decode_is_named_at_once(xa_file, tmp_path):
    path = reencoded(xa_file(), RLELossless)
    dataset = pydicom.dcmread(path)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=4))
    frames[2] = bytes(len(frames[2]))
    dataset.PixelData = pydicom.encaps.encapsulate(frames)
    dataset.save_as(path)
    with pytest.raises(InputError) as read:
        read_series(path)
    with pytest.raises(InputError, match=rf"{path}: frame 3: expected 2 segments of RLE") as opened:
        open_series(path, folder=tmp_path)
    assert str(opened.value) == str(read.value)
