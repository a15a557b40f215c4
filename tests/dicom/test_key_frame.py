"""The key frame: one valid Secondary Capture picture of the same values as the subtracted run."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from angiomorph.dicom import anonymize, read_series, write_key_frame
from angiomorph.dicom.encoding import COMPRESSIONS, Encoding
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN
from tests.dicom.headers import setting, write
from tests.dicom_tools import dciodvfy_errors, run_tool
from tests.runs import moving_frames


def write_key(path, series, frame, number=3, **options):
    write_key_frame(path, series, frame, number=number, units=LN, hyper=0.7, **options)
    return pydicom.dcmread(path)


def subtracted(series):
    values = np.log(series.frames.astype(np.float32))
    return values - values[0]


@pytest.mark.parametrize("depth", [12, 16])
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_the_picture_is_that_frame_of_the_run(xa_file, tmp_path, depth, compress):
    series = read_series(xa_file(frames=moving_frames((3, 48, 32))))
    encoding = Encoding(depth, compress)
    bsa = subtracted(series)
    run = write(tmp_path / "bsa.dcm", series, bsa, encoding=encoding)
    key = write_key(tmp_path / "key.dcm", series, bsa[2], encoding=encoding)
    np.testing.assert_array_equal(key.pixel_array, run.pixel_array[2])
    assert (key.SOPClassUID, key.BitsStored) == (SecondaryCaptureImageStorage, depth)
    assert "NumberOfFrames" not in key
    assert dciodvfy_errors(tmp_path / "key.dcm") == []


def test_what_the_picture_says(xa_file, tmp_path):
    source = read_series(xa_file(change=setting(SeriesNumber=3, PatientName="Doe^Jane", BurnedInAnnotation="NO")))
    key = write_key(tmp_path / "key.dcm", source, subtracted(source)[2])
    assert (key.Modality, key.ConversionType, key.SeriesNumber) == ("XA", "WSD", 305)
    assert (key.PatientName, key.BurnedInAnnotation) == ("Doe^Jane", "NO")
    assert (key.WindowCenter, key.PhotometricInterpretation) == (2048, "MONOCHROME2")
    assert key.DerivationDescription.endswith("lambda 0.7; frame 3")
    (reference,) = key.SourceImageSequence
    assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (source.headers[0].SOPInstanceUID, 3)
    assert key.StudyInstanceUID == source.headers[0].StudyInstanceUID
    rendered = run_tool("dcm2pnm", "--use-window", "1", tmp_path / "key.dcm", tmp_path / "key.pgm")
    assert rendered.returncode == 0, rendered.stderr


def test_of_single_frames_the_file_is_named(xa_folder, tmp_path):
    source = read_series(xa_folder(moving_frames((3, 8, 6))))
    key = write_key(tmp_path / "key.dcm", source, subtracted(source)[1], number=2)
    (reference,) = key.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.headers[1].SOPInstanceUID
    assert "ReferencedFrameNumber" not in reference


def test_it_is_anonymous_with_its_run(xa_file, tmp_path):
    source = anonymize(read_series(xa_file(change=setting(PatientName="Doe^Jane"))))
    key = write_key(tmp_path / "key.dcm", source, subtracted(source)[2])
    assert b"Doe" not in (tmp_path / "key.dcm").read_bytes()
    assert (key.StudyInstanceUID, key.PatientIdentityRemoved) == (source.headers[0].StudyInstanceUID, "YES")
    assert dciodvfy_errors(tmp_path / "key.dcm") == []


@pytest.mark.parametrize(
    ("frame", "number"),
    [(np.zeros((16, 11)), 1), (np.full((16, 12), np.inf), 1), (np.zeros((16, 12)), 0), (np.zeros((16, 12)), 5)],
)
def test_illegal_input_leaves_nothing(xa_file, tmp_path, frame, number):
    with pytest.raises(InputError, match=r"expected finite values of shape \(16, 12\) of a frame from 1 to 4"):
        write_key(tmp_path / "key.dcm", read_series(xa_file()), frame, number)
    assert not (tmp_path / "key.dcm").exists()
