"""The derived run: valid to dciodvfy, rendered by dcmtk, honest about its source, and exact."""

import re

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    EnhancedXAImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from angiomorph.dicom import read_series
from angiomorph.dicom.encoding import DEPTHS, Encoding
from angiomorph.dicom.save import explain_unwritable
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN, STORED, to_domain
from tests.dicom.headers import SHA, item, setting, write
from tests.dicom_tools import dciodvfy_errors, run_tool
from tests.runs import moving_frames
from tests.tools import shared_data


def test_values_by_hand(xa_file, tmp_path):
    series = read_series(xa_file(frames=moving_frames((2, 2, 3))))
    bsa = np.array([[[0, -0.1, 0.1], [-0.0006, -0.0004, 0.0004]], [[-3, 3, -2.048], [2.047, -1, 1]]])
    expected = np.array([[[2048, 1948, 2148], [2047, 2048, 2048]], [[0, 4095, 0], [4095, 1048, 3048]]])
    dataset = write(tmp_path / "bsa.dcm", series, bsa)
    np.testing.assert_array_equal(dataset.pixel_array, expected)
    assert (dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue) == (0, 4095)
    inverted = write(tmp_path / "inverted.dcm", series, bsa, invert=True)
    opposite = np.array([[[2048, 2148, 1948], [2049, 2048, 2048]], [[4095, 0, 4095], [1, 3048, 1048]]])
    np.testing.assert_array_equal(inverted.pixel_array, opposite)
    assert "round(-1000*x)+2048" in inverted.DerivationDescription


@pytest.mark.parametrize(("bits", "k"), [(8, 8), (12, 0.5), (16, 0.03125)])
def test_stored_values_fill_the_12_bits(xa_file, tmp_path, bits, k):
    frames = np.zeros((2, 1, 2), np.uint8 if bits == 8 else np.uint16)
    frames[1] = (1 << bits) - 1
    series = read_series(xa_file(frames=frames, BitsStored=bits))
    dataset = write(tmp_path / "bsa.dcm", series, frames - frames[1].astype(float), units=STORED)
    assert dataset.pixel_array[1].tolist() == [[2048, 2048]]
    assert dataset.pixel_array[0].tolist() == [[round(2048 - k * ((1 << bits) - 1))] * 2]
    assert f"round({k:g}*x)+2048" in dataset.DerivationDescription
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(("units", "k"), [(LN, 8000), (STORED, 8)])
def test_16_bits_by_hand(xa_file, tmp_path, units, k):
    series = read_series(xa_file(frames=moving_frames((2, 1, 3))))  # 12 bits: k = 32768 / 4096
    bsa = np.array([[[0, -0.1, 0.1]], [[-5000, 5000, -4.096]]])
    dataset = write(tmp_path / "bsa.dcm", series, bsa, units=units, encoding=Encoding(16))
    steps = [[[0, round(-0.1 * k), round(0.1 * k)]], [[-32768, 32767, round(-4.096 * k)]]]
    np.testing.assert_array_equal(dataset.pixel_array, np.array(steps) + 32768)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 16, 15)
    assert dataset.WindowCenter == 32768
    assert f"round({k}*x)+32768, clipped to 0..65535" in dataset.DerivationDescription
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize("depth", DEPTHS)
def test_compression_loses_nothing_and_changes_no_uid(xa_file, tmp_path, depth):
    source = read_series(xa_file(frames=moving_frames((3, 48, 32))))
    plain = write(tmp_path / "none.dcm", source, encoding=Encoding(depth))
    syntaxes = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "j2k": JPEG2000Lossless}
    for name, syntax in syntaxes.items():
        dataset = write(tmp_path / f"{name}.dcm", source, encoding=Encoding(depth, name))
        assert dataset.file_meta.TransferSyntaxUID == syntax
        np.testing.assert_array_equal(dataset.pixel_array, plain.pixel_array)
        assert (dataset.SOPInstanceUID, dataset.SeriesInstanceUID) == (plain.SOPInstanceUID, plain.SeriesInstanceUID)
        assert (dataset.LossyImageCompression, dataset.BitsStored) == ("00", depth)
        assert dciodvfy_errors(tmp_path / f"{name}.dcm") == []


def test_what_is_carried_and_what_is_new(xa_file, tmp_path):
    def change(dataset):
        dataset.PatientName, dataset.StudyID, dataset.SeriesNumber = "Müller^Ä", "S7", 3
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SeriesDescription = "Carotis links Übersicht"
        dataset.ShutterShape, dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = "RECTANGULAR", 3, 14
        dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = 1, 12
        dataset.BurnedInAnnotation = "NO"
        dataset.VOILUTSequence = [item(LUTDescriptor=[2, 0, 16], LUTData=b"\0\0\1\0")]
        dataset.VOILUTSequence[0]["LUTDescriptor"].VR = "US"
        dataset.add_new(0x00280106, "US", 1)
        dataset.add_new(0x00090010, "LO", "SOMEBODY")
        dataset.add_new(0x00091001, "LO", "private")
        dataset.add_new(0x50000005, "US", 1)
        dataset.RescaleSlope = 2

    attributes = {"MaskFrameNumbers": [1, 2], "PositionerPrimaryAngle": -30, "ImagerPixelSpacing": [0.3, 0.3], "KVP": 80}
    source = read_series(xa_file(change=change, attributes=attributes))
    dataset = write(tmp_path / "bsa.dcm", source, background_numbers=[1, 2])
    header = source.headers[0]
    for keyword in (
        "PatientName",
        "StudyInstanceUID",
        "StudyID",
        "Manufacturer",
        "PositionerPrimaryAngle",
        "ImagerPixelSpacing",
    ):
        assert dataset[keyword].value == header[keyword].value, keyword
    for keyword in ("KVP", "FrameTime", "ShutterUpperHorizontalEdge", "BurnedInAnnotation", "SOPClassUID"):
        assert dataset[keyword].value == header[keyword].value, keyword
    for keyword in ("MaskSubtractionSequence", "RecommendedViewingMode", "VOILUTSequence", "RescaleSlope"):
        assert keyword not in dataset
    assert not any(element.tag.is_private or element.tag.group == 0x5000 for element in dataset)
    assert {dataset.SOPInstanceUID, dataset.SeriesInstanceUID}.isdisjoint({header.SOPInstanceUID, header.SeriesInstanceUID})
    assert dataset.SOPInstanceUID.startswith("2.25.")
    assert dataset.SeriesNumber == 301
    assert dataset.SeriesDescription == "Carotis links Übersicht BSA (angiomorph, lambda 0.70)"
    assert dataset.ImageType == ["DERIVED", "SECONDARY", "SINGLE PLANE", "SUBTRACTED"]
    assert (dataset.PixelIntensityRelationship, dataset.PhotometricInterpretation) == ("DISP", "MONOCHROME2")
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation) == (16, 12, 11, 0)
    assert (dataset.WindowCenter, dataset.LossyImageCompression) == (2048, "00")
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_provenance(xa_file, tmp_path):
    source = read_series(xa_file())
    dataset = write(tmp_path / "bsa.dcm", source, background_numbers=[1, 2])
    assert [code.CodeValue for code in dataset.DerivationCodeSequence] == ["113062", "125027"]
    run, background = dataset.SourceImageSequence
    assert run.ReferencedSOPInstanceUID == background.ReferencedSOPInstanceUID == source.headers[0].SOPInstanceUID
    assert [part.PurposeOfReferenceCodeSequence[0].CodeValue for part in (run, background)] == ["121322", "121321"]
    assert [part.SpatialLocationsPreserved for part in (run, background)] == ["YES", "NO"]
    assert "ReferencedFrameNumber" not in run
    assert background.ReferencedFrameNumber == [1, 2]
    equipment = dataset.ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    for fact in ("ln(frame) - ln(warped background)", "round(1000*x)+2048", "frames 1, 2", "reg-vle", SHA, "lambda 0.7"):
        assert fact in dataset.DerivationDescription
    assert len(dataset.DerivationDescription) <= 1024


def test_uids_are_those_of_source_model_lambda_and_pixels(xa_file, tmp_path):
    source = read_series(xa_file())
    first, again = (write(tmp_path / name, source) for name in ("a.dcm", "b.dcm"))
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (again.SOPInstanceUID, again.SeriesInstanceUID)
    changes = [{"hyper": 0.6}, {"model_sha256": "f" * 64}, {"background_numbers": [2]}, {"bsa": np.ones(source.frames.shape)}]
    changes += [{"invert": True}, {"encoding": Encoding(16)}]
    others = {write(tmp_path / f"{index}.dcm", source, **change).SOPInstanceUID for index, change in enumerate(changes)}
    assert len(others | {first.SOPInstanceUID}) == 7


@pytest.mark.parametrize("description", ["", "x" * 64, "a\\b"])
def test_description_fits_its_type(xa_file, tmp_path, description):
    source = read_series(xa_file(attributes={"SeriesDescription": description}))
    dataset = write(tmp_path / "bsa.dcm", source, model_name="m\\n" * 600)
    assert len(str(dataset.SeriesDescription)) <= 64
    assert str(dataset.SeriesDescription).endswith("BSA (angiomorph, lambda 0.70)")
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_single_frames_become_one_file(xa_folder, tmp_path):
    frames = moving_frames((4, 8, 6))
    folder = xa_folder(frames, change=lambda single, index: setattr(single, "ContentTime", f"1200{index**2:02d}"))
    source = read_series(folder)
    dataset = write(tmp_path / "bsa.dcm", source, background_numbers=[2])
    assert dataset.pixel_array.shape == (4, 8, 6)
    assert dataset.FrameTimeVector == [0, 1000, 3000, 5000]
    assert "FrameTime" not in dataset
    references = [part.ReferencedSOPInstanceUID for part in dataset.SourceImageSequence]
    assert references == [*(header.SOPInstanceUID for header in source.headers), source.headers[1].SOPInstanceUID]
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_frame_time_vector_stays_one(xa_file, tmp_path):
    def change(dataset):
        dataset.FrameTimeVector = [0, 100, 200, 100]
        dataset.FrameIncrementPointer = 0x00181065
        del dataset.FrameTime

    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=change)))
    assert dataset.FrameTimeVector == [0, 100, 200, 100]
    assert dataset.FrameIncrementPointer == 0x00181065
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize("referenced", [True, False])
def test_biplane_needs_its_other_plane(xa_file, tmp_path, referenced):
    def change(dataset):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "BIPLANE A"]
        if referenced:
            other = item(ReferencedSOPClassUID=XRayAngiographicImageStorage, ReferencedSOPInstanceUID="1.2.3")
            other.ReferencedFrameNumber = 2
            dataset.ReferencedImageSequence = [other]

    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=change)))
    assert dataset.ImageType[2] == ("BIPLANE A" if referenced else "SINGLE PLANE")
    assert not any("ReferencedFrameNumber" in image for image in dataset.get("ReferencedImageSequence", []))
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_lossy_compression_is_never_taken_back(xa_file, tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9, "LossyImageCompressionMethod": "ISO_10918_1"}
    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=setting(**lossy))))
    for keyword, value in lossy.items():
        assert dataset[keyword].value == value


def test_deficient_source_is_completed_with_nothing(xa_file, tmp_path):
    def change(dataset):
        for keyword in (
            "KVP",
            "PositionerMotion",
            "PositionerPrimaryAngle",
            "RadiationSetting",
            "XRayTubeCurrent",
            "ExposureTime",
        ):
            delattr(dataset, keyword)
        for keyword in ("StudyID", "StudyInstanceUID", "PatientSex", "AccessionNumber", "BodyPartExamined"):
            delattr(dataset, keyword)
        dataset.PositionerSecondaryAngle = None
        dataset.add_new("DistanceSourceToDetector", "LO", "about a metre")

    path = xa_file(change=change)
    path.write_bytes(path.read_bytes().replace(b"\x18\x00\x10\x11LO", b"\x18\x00\x10\x11DS"))
    dataset = write(tmp_path / "bsa.dcm", read_series(path))
    assert dataset.KVP is None
    assert "DistanceSourceToDetector" not in dataset
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_enhanced_source_becomes_a_classic_run(xa_file, tmp_path):
    def enhance(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
        dataset.SharedFunctionalGroupsSequence = [
            item(
                FramePixelDataPropertiesSequence=[item(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)],
                PositionerPositionSequence=[item(PositionerPrimaryAngle=12, PositionerSecondaryAngle=-3)],
            )
        ]
        dataset.PerFrameFunctionalGroupsSequence = [item() for _ in range(4)]
        for keyword in ("PositionerPrimaryAngle", "PositionerSecondaryAngle", "PixelIntensityRelationship"):
            delattr(dataset, keyword)

    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=enhance)))
    assert dataset.SOPClassUID == XRayAngiographicImageStorage
    assert (dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle) == (12, -3)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize("in_frames", [True, False])
def test_enhanced_exposure_and_side_take_their_classic_names(xa_file, tmp_path, in_frames):
    def enhance(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
        groups = item(
            FramePixelDataPropertiesSequence=[item(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)],
            FrameAnatomySequence=[item(FrameLaterality="R", AnatomicRegionSequence=[])],
            FrameAcquisitionSequence=[item()],
        )
        for keyword in ("BodyPartExamined", "XRayTubeCurrent", "ExposureTime"):
            delattr(dataset, keyword)
        holder = groups.FrameAcquisitionSequence[0] if in_frames else dataset
        holder.XRayTubeCurrentInmA, holder.ExposureTimeInms, holder.ExposureInmAs = 99.6, 10.4, 1.04
        dataset.SharedFunctionalGroupsSequence = [groups]
        dataset.PerFrameFunctionalGroupsSequence = [item() for _ in range(4)]

    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=enhance)))
    assert (dataset.XRayTubeCurrent, dataset.ExposureTime, dataset.Exposure) == (100, 10, 1)
    assert (dataset.ImageLaterality, "Laterality" in dataset) == ("R", False)
    assert not {"XRayTubeCurrentInmA", "ExposureTimeInms", "ExposureInmAs"} & set(dataset.dir())
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_fluoroscopic_source_keeps_its_class(xa_file, tmp_path):
    def change(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = XRayRadiofluoroscopicImageStorage
        dataset.Modality = "RF"

    assert write(tmp_path / "bsa.dcm", read_series(xa_file(change=change))).SOPClassUID == XRayRadiofluoroscopicImageStorage
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_captured_pictures_become_a_captured_run(tmp_path):
    source = read_series([shared_data(f"xa/WG04_XA1_{name}.dcm") for name in ("UNC", "JPLL", "J2KR", "JLSL")])
    bsa = source.frames.astype(np.float32) - source.frames[0]
    dataset = write(tmp_path / "bsa.dcm", source, bsa, units=STORED)
    assert dataset.SOPClassUID == MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_compressed_source_with_minus_zero_time_zone(xa_file, tmp_path):
    path = xa_file(change=setting(TimezoneOffsetFromUTC="-0330"))
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEGLSLossless)
    dataset.save_as(path)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    assert written.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert re.fullmatch(r"\d{8}", written.SeriesDate)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.slow
def test_real_deficient_run_is_valid_and_renders(tmp_path):
    source = read_series(shared_data("xa/fodicom_HasFragmentSequence.dcm"))
    values = to_domain(source.frames, "log")
    bsa = values - values[11]
    dataset = write(tmp_path / "bsa.dcm", source, bsa, background_numbers=[12])
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []
    assert dataset.NumberOfFrames == 96
    assert dataset.LossyImageCompression == "01"
    assert run_tool("dcmdump", "+P", "0028,0008", tmp_path / "bsa.dcm").stdout.split()[2] == "[96]"
    picture = tmp_path / "frame.pgm"
    rendered = run_tool("dcm2pnm", "--frame", "41", "--use-window", "1", tmp_path / "bsa.dcm", picture)
    assert rendered.returncode == 0, rendered.stderr
    shown = np.frombuffer(picture.read_bytes()[-512 * 512 :], np.uint8).reshape(512, 512).astype(float)
    low, width = float(dataset.WindowCenter) - 0.5, float(dataset.WindowWidth) - 1
    expected = np.clip((np.clip(np.rint(1000 * bsa[40]) + 2048, 0, 4095) - low) / width + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bsa": np.zeros((4, 16, 11))}, r"shape \(4, 16, 12\) like its source, got \(4, 16, 11\)"),
        (
            {"bsa": np.where(np.arange(4)[:, None, None] == 2, np.nan, np.zeros((4, 16, 12)))},
            "finite values, frame 3 has others",
        ),
        ({"background_numbers": []}, r"background frame numbers of 1 to 4, got \[\]"),
        ({"background_numbers": [0]}, r"got \[0\]"),
        ({"units": "mm"}, "got 'mm'"),
        ({"encoding": Encoding(14)}, "`pixel_depth` 14: expected 12 or 16 bits"),
    ],
)
def test_illegal_input_leaves_nothing(xa_file, tmp_path, change, message):
    source = read_series(xa_file())
    with pytest.raises(InputError, match=message):
        write(tmp_path / "out" / "bsa.dcm", source, **change)
    assert not (tmp_path / "out").exists()


def test_a_source_without_a_name_of_its_own_is_not_referred_to(xa_file, tmp_path):
    def change(dataset):
        del dataset.SOPInstanceUID, dataset.file_meta.MediaStorageSOPInstanceUID

    dataset = write(tmp_path / "bsa.dcm", read_series(xa_file(change=change)))
    assert "SourceImageSequence" not in dataset
    assert dataset.DerivationCodeSequence[0].CodeValue == "113062"
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_values_that_break_their_type_are_told_but_not_quoted(tmp_path):
    with (
        pytest.raises(
            InputError, match=r"bsa\.dcm: expected .* values of run that break their own type \(ValueError\)"
        ) as told,
        explain_unwritable(tmp_path / "bsa.dcm", "run"),
    ):
        raise ValueError("Doe^Jane")
    assert "Doe" not in str(told.value)
