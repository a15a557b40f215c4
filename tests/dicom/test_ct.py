"""CT series written slice by slice with pydicom, read back as one volume."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from angiomorph.dicom.ct import is_dicom, read_ct
from angiomorph.errors import InputError
from angiomorph.simulate.scene.anatomy import load_ct

AXIAL = (1, 0, 0, 0, 1, 0)
RNG = np.random.default_rng(0)
VALUES = RNG.integers(-1000, 1200, (6, 5, 4)).astype(np.int16)  # CT numbers [slice, row, column]


def write_series(folder: Path, values=VALUES, *, orientation=AXIAL, step=(0, 0, 2.5), change=None, uid=None, **options):
    """Write one file a slice, names in another order than the slices; `change(dataset, index)` edits it."""
    folder.mkdir(exist_ok=True)
    uid = uid or generate_uid(entropy_srcs=[str(folder)])
    for index, pixels in enumerate(values):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = options.get("syntax", ExplicitVRLittleEndian)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = options.get("sop_class", CTImageStorage)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientName = uid, "CT", "Secret^Patient"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", options.get("kind", "AXIAL")]
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = list(np.array((-20.0, -30.0, 100.0)) + index * np.array(step))
        dataset.PixelSpacing = [1.5, 0.75]  # between rows, between columns
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        signed, slope, intercept = options.get("stored", (0, 1, -1024))
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, signed
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "HU"
        stored = np.rint((pixels.astype(float) - intercept) / slope).astype(np.int64) & 0x0FFF
        dataset.PixelData = stored.astype("<u2").tobytes()
        if dataset.file_meta.TransferSyntaxUID == RLELossless:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.compress(RLELossless)
        if change is not None:
            change(dataset, index)
        dataset.save_as(folder / f"{(index * 5) % 7}.dcm", enforce_file_format=True)
    return folder


def test_axial_slices_in_any_order_become_a_ras_volume(tmp_path):
    """DICOM's x and y run to the left and back: columns and rows are turned, and the origin is at the other corner.

    x: columns at -20, -19.25, -18.5, -17.75 to the left, so 17.75 to 20 to the right; y: -30 to -24 back, so 24 to 30 front.
    """
    values, spacing, origin = read_ct(write_series(tmp_path / "ct"))
    assert spacing == (0.75, 1.5, 2.5)
    assert origin == (17.75, 24.0, 100.0)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES[:, ::-1, ::-1])


@pytest.mark.parametrize(
    "options",
    [
        {"step": (0, 0, -2.5)},
        {"stored": (1, 1, 0)},
        {"stored": (1, 2, -512)},
        {"syntax": RLELossless},
        {"orientation": (0, 1, 0, 0, 0, -1), "step": (2.5, 0, 0)},
        {"orientation": (1, 0, 0, 0, 0, -1), "step": (0, 2.5, 0)},
        {"orientation": (0.999, 0.04, 0, -0.04, 0.999, 0)},
        {"step": (0, 0.1, 2.5)},
    ],
    ids=["downwards", "signed", "slope", "rle", "sagittal", "coronal", "turned", "sheared"],
)
def test_a_series_equals_the_nifti_file_of_the_same_volume(tmp_path, options):
    values = (VALUES // 2) * 2
    folder = write_series(tmp_path / "ct", values, **options)
    row, column = np.array(options.get("orientation", AXIAL), float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3] = np.stack([row * 0.75, column * 1.5, options.get("step", (0, 0, 2.5)), (-20, -30, 100)], axis=1)
    affine[:2] *= -1  # LPS to RAS
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine), tmp_path / "ct.nii")
    one, other = load_ct(folder), load_ct(tmp_path / "ct.nii")
    np.testing.assert_array_equal(one.attenuation, other.attenuation)
    np.testing.assert_allclose(one.spacing, other.spacing, rtol=1e-3)
    np.testing.assert_allclose(one.origin, other.origin, atol=0.01)


def test_one_file_stands_for_its_series(tmp_path):
    folder = write_series(tmp_path / "ct")
    write_series(tmp_path / "other", VALUES[:3])
    for index, file in enumerate(sorted((tmp_path / "other").iterdir())):
        file.rename(folder / f"other-{index}.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    assert is_dicom(folder / "0.dcm")
    assert read_ct(folder / "0.dcm")[0].shape == (6, 5, 4)
    assert read_ct(folder / "other-0.dcm")[0].shape == (3, 5, 4)
    with pytest.raises(InputError, match=r"found 2 \(.*6 files such as 0.dcm.*give one file of the series") as error:
        read_ct(folder)
    assert "Secret" not in str(error.value)


def test_localizers_and_other_objects_in_a_tree_are_passed_over(tmp_path):
    (tmp_path / "study").mkdir()
    write_series(tmp_path / "study" / "axial")
    write_series(tmp_path / "study" / "scout", VALUES[:1], kind="LOCALIZER")
    write_series(tmp_path / "study" / "mr", sop_class=MRImageStorage)
    assert read_ct(tmp_path / "study")[0].shape == (6, 5, 4)


def delete(keyword):
    def change(dataset, index):
        if index == 3:
            delattr(dataset, keyword)

    return change


def edit(keyword, value, at=3):
    def change(dataset, index):
        if at is None or index == at:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (delete("PixelSpacing"), r"PixelSpacing \(0028,0030\) with 2 numbers"),
        (delete("ImagePositionPatient"), r"ImagePositionPatient \(0020,0032\) with 3 numbers"),
        (delete("ImageOrientationPatient"), r"ImageOrientationPatient \(0020,0037\) with 6 numbers"),
        (delete("RescaleSlope"), "RescaleSlope"),
        (delete("PixelData"), "found no top-level PixelData"),
        (edit("PixelSpacing", [0.0, 0.75]), "above 0 mm"),
        (edit("PixelSpacing", [1.5, 1.5]), "of the series' other slices"),
        (edit("RescaleType", "Z_EFF"), "Hounsfield"),
        (edit("ImagePositionPatient", [-20.0, -30.0, 105.0]), "at the same ImagePositionPatient"),
        (edit("ImagePositionPatient", [-20.0, -30.0, 108.5]), "slices 2.5 mm apart, found"),
        (edit("ImageOrientationPatient", [1, 0, 0, 0, 0.9, 0.1]), "parallel slices"),
        (edit("ImageOrientationPatient", [0.9, 0.43589, 0, -0.43589, 0.9, 0], None), "oblique by 26 degrees"),
        (edit("BitsAllocated", 32), "BitsAllocated"),
        (edit("PixelData", b"\0\0"), "truncated"),
    ],
)
def test_unusable_slices_are_refused_with_file_and_remedy(tmp_path, change, told):
    folder = write_series(tmp_path / "ct", change=change)
    with pytest.raises(InputError, match=told) as error:
        read_ct(folder)
    assert ".dcm" in str(error.value)
    assert "Secret" not in str(error.value)


def test_a_missing_slice_is_named(tmp_path):
    folder = write_series(tmp_path / "ct")
    (folder / "1.dcm").unlink()  # the slice of index 3, between 3.dcm (index 2) and 6.dcm (index 4)
    with pytest.raises(InputError, match=r"2.5 mm apart, found 5 mm between 3.dcm and 6.dcm; fetch what is missing"):
        read_ct(folder)


def test_a_tilted_gantry_is_refused(tmp_path):
    with pytest.raises(InputError, match="oblique by 20 degrees"):
        read_ct(write_series(tmp_path / "ct", step=(0, 2.5 * np.tan(np.radians(20)), 2.5)))


def test_what_is_no_ct_series_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found no CT image in it"):
        load_ct(tmp_path / "empty")
    with pytest.raises(InputError, match="single slice"):
        read_ct(write_series(tmp_path / "single", VALUES[:1]))
    with pytest.raises(InputError, match="MR Image Storage"):
        load_ct(write_series(tmp_path / "mr", sop_class=MRImageStorage) / "0.dcm")
    with pytest.raises(InputError, match="dcm2niix"):
        load_ct(write_series(tmp_path / "enhanced", sop_class=EnhancedCTImageStorage) / "0.dcm")
    with pytest.raises(InputError, match=r"absent\.nii"):
        load_ct(tmp_path / "absent.nii")
