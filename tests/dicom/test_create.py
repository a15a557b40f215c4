"""A run written from an array: valid, reproducible, and what was put in."""

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut

from angiomorph.dicom import write_run
from angiomorph.errors import InputError
from tests.dicom_tools import dciodvfy_errors

GEOMETRY = {
    "PositionerPrimaryAngle": -30.123456789012345,
    "PositionerSecondaryAngle": 0.1 + 0.2,
    "DistanceSourceToDetector": 1200.0,
    "DistanceSourceToPatient": 800,
    "ImagerPixelSpacing": [0.308, 0.308],
    "KVP": 80,
}


def frames_of(bits: int, shape: tuple[int, int, int] = (4, 6, 5)) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(bits).integers(0, 1 << bits, shape).astype(dtype)


@pytest.mark.parametrize(("bits", "relation"), [(8, "LIN"), (10, "LIN"), (12, "DISP"), (16, "LIN")])
@pytest.mark.parametrize("numbers", [(), (1,), (1, 2)])
def test_dciodvfy_finds_no_error(tmp_path, bits, relation, numbers):
    path = tmp_path / "run.dcm"
    attributes = GEOMETRY | {"MaskFrameNumbers": numbers}
    write_run(path, frames_of(bits), BitsStored=bits, relation=relation, frame_time=100 / 3, attributes=attributes)
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_logarithmic_run_carries_the_table_back_to_intensity(tmp_path, bits):
    path, table = tmp_path / "run.dcm", np.linspace(5, 60000, 1 << bits).astype(np.uint16)
    write_run(path, frames_of(bits), BitsStored=bits, relation="LOG", frame_time=40, modality_lut=table, attributes=GEOMETRY)
    assert dciodvfy_errors(path) == []
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(apply_modality_lut(dataset.pixel_array, dataset), table[dataset.pixel_array])


def test_pixels_and_attributes_come_back(tmp_path):
    frames = frames_of(12, (3, 5, 7))
    write_run(
        tmp_path / "run.dcm",
        frames,
        BitsStored=12,
        relation="LIN",
        frame_time=40,
        attributes=GEOMETRY | {"MaskFrameNumbers": [1, 2]},
    )
    dataset = pydicom.dcmread(tmp_path / "run.dcm")
    np.testing.assert_array_equal(dataset.pixel_array, frames)
    assert (dataset.BitsStored, dataset.HighBit, dataset.FrameTime) == (12, 11, 40)
    assert dataset.PositionerPrimaryAngle == pytest.approx(-30.123456789)
    assert dataset.ImagerPixelSpacing == [0.308, 0.308]
    assert dataset.MaskSubtractionSequence[0].MaskFrameNumbers == [1, 2]
    assert str(dataset.PatientName) == "SIMULATED^RUN"


def test_bytes_depend_on_the_arguments_alone(tmp_path):
    def written(name, frame_time=40.0, entropy=()):
        path = tmp_path / name
        write_run(path, frames_of(8), BitsStored=8, relation="LIN", frame_time=frame_time, entropy=entropy)
        return path.read_bytes()

    first = written("a.dcm")
    assert written("b.dcm") == first
    uids = {
        pydicom.dcmread(tmp_path / "b.dcm").SOPInstanceUID,
        *(written(f"{seed}.dcm", entropy=[seed]) and pydicom.dcmread(tmp_path / f"{seed}.dcm").SOPInstanceUID for seed in "12"),
    }
    assert len(uids) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((2, 3), np.uint8)}, r"shape \(2, 3\)"),
        ({"frames": np.zeros((2, 3, 3), np.int16)}, "int16"),
        ({"BitsStored": 14}, "BitsStored 14"),
        ({"frames": np.full((2, 3, 3), 4096, np.uint16)}, "found 4096"),
        ({"relation": "LOG"}, "LOG with a modality_lut of 4096 values, got 'LOG' with None"),
        ({"relation": "LOG", "modality_lut": np.zeros(256, np.uint16)}, r"of 4096 values, got 'LOG' with \(256,\)"),
        ({"relation": "LIN", "modality_lut": np.zeros(4096, np.uint16)}, "got 'LIN' with"),
        ({"frame_time": 0.0}, "above 0 ms"),
        ({"attributes": {"KVp": 80}}, "KVp: no such DICOM keyword"),
    ],
)
def test_illegal_input_names_itself_and_leaves_nothing(tmp_path, change, message):
    arguments = {"frames": frames_of(12), "BitsStored": 12, "relation": "LIN", "frame_time": 40.0} | change
    with pytest.raises(InputError, match=message):
        write_run(tmp_path / "run.dcm", arguments.pop("frames"), **arguments)
    assert list(tmp_path.iterdir()) == []
