"""Reading: pixels and meaning come back exactly, and every unusable file is refused in one helpful paragraph."""

import subprocess
import sys

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedXAImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from angiomorph.dicom import find_series, read_series
from angiomorph.dicom.attributes import NUMBERS
from angiomorph.dicom.read import read_frame
from angiomorph.errors import InputError
from tests.dicom.headers import deleting, item, reencoded, setting
from tests.runs import moving_frames
from tests.tools import shared_data

WG04 = ("UNC", "JPLL", "J2KR", "JLSL", "RLE")


def test_multiframe_run(xa_file):
    frames = moving_frames()
    series = read_series(xa_file("a.run.dcm", frames=frames, attributes={"MaskFrameNumbers": [1, 2]}))
    np.testing.assert_array_equal(series.frames, frames)
    assert series.frames.dtype == np.uint16
    assert (series.relation, series.bits_stored, series.name, series.warnings) == ("LIN", 12, "a.run", ())
    assert (series.frame_time, series.frame_times.tolist()) == (40, [0, 40, 80, 120])
    assert series.background_numbers == (1, 2)
    assert series.shutter.shape == (16, 12)
    assert series.shutter.all()
    assert "PixelData" not in series.headers[0]


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_transfer_syntaxes_give_equal_pixels(xa_file, transfer_syntax):
    frames = moving_frames((3, 40, 72))
    series = read_series(reencoded(xa_file(frames=frames), transfer_syntax))
    np.testing.assert_array_equal(series.frames, frames)
    assert series.frames.dtype.isnative


def test_folder_of_single_frames_is_sorted_by_instance_number(xa_folder):
    frames = moving_frames((5, 6, 4))
    series = read_series(
        xa_folder(frames, "1.2.840.7", lambda single, index: setattr(single, "ContentTime", f"1200{index * 2:02d}.5"))
    )
    np.testing.assert_array_equal(series.frames, frames)
    assert [header.InstanceNumber for header in series.headers] == [1, 2, 3, 4, 5]
    assert series.name == "1.2.840.7"
    assert series.frame_times.tolist() == [0, 2000, 4000, 6000, 8000]


def test_missing_single_frames_are_told(xa_folder):
    folder = xa_folder(moving_frames((5, 6, 4)))
    (folder / "97.dcm").unlink()
    series = read_series(folder)
    assert len(series.frames) == 4
    assert any("missing from this run between" in warning for warning in series.warnings)


def test_embedded_overlay_bits_are_cleared(xa_file):
    frames = moving_frames()
    high = (frames | 0xA000).astype("<u2").tobytes()
    np.testing.assert_array_equal(read_series(xa_file(frames=frames, change=setting(PixelData=high))).frames, frames)


@pytest.mark.parametrize(
    ("attributes", "inverted"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PixelIntensityRelationshipSign": -1}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PixelIntensityRelationshipSign": 1}, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "PixelIntensityRelationshipSign": -1}, True),
        ({"PixelIntensityRelationshipSign": 1}, False),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationLUTShape": "INVERSE", "PixelIntensityRelationshipSign": 1}, False),
    ],
)
def test_iodine_becomes_dark(xa_file, attributes, inverted):
    frames = moving_frames()
    series = read_series(xa_file(frames=frames, change=setting(**attributes)))
    np.testing.assert_array_equal(series.frames, 4095 - frames if inverted else frames)
    assert any("iodine bright" in warning for warning in series.warnings) == inverted


def test_enhanced_xa_is_read_from_its_functional_groups(xa_file):
    def enhance(dataset):
        properties = item(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=-1)
        timing = [item(FrameAcquisitionDuration=8.0, FrameAcquisitionDateTime=f"20200102101112.{n * 66:03d}") for n in range(4)]
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
        dataset.SharedFunctionalGroupsSequence = [item(FramePixelDataPropertiesSequence=[properties])]
        dataset.PerFrameFunctionalGroupsSequence = [item(FrameContentSequence=[content]) for content in timing]
        deleting("PixelIntensityRelationship", "FrameTime")(dataset)

    series = read_series(xa_file(frames=moving_frames(), change=enhance))
    np.testing.assert_array_equal(series.frames, 4095 - moving_frames())
    assert series.relation == "LIN"
    np.testing.assert_allclose(series.frame_times, [0, 66, 132, 198], atol=1e-3)


def test_unknown_relation_is_taken_as_display_values_and_told(xa_file):
    series = read_series(xa_file(change=deleting("PixelIntensityRelationship")))
    assert series.relation == "DISP"
    assert "PixelIntensityRelationship (0028,1040) is none of LIN, LOG, DISP" in series.warnings[0]


def test_an_intercept_beside_lin_is_told(xa_file):
    series = read_series(xa_file(change=setting(RescaleIntercept=-1024, RescaleSlope=1)))
    np.testing.assert_array_equal(series.frames, moving_frames())
    assert "RescaleIntercept (0028,1052) -1024 beside LIN, where the standard has none, is not applied" in series.warnings[0]
    assert not read_series(xa_file(change=setting(RescaleIntercept=0))).warnings


def test_burnt_in_text_is_told(xa_file):
    series = read_series(xa_file(change=setting(BurnedInAnnotation="YES")))
    assert "warped like anatomy" in series.warnings[0]


@pytest.mark.parametrize("syntax", WG04[1:])
def test_real_picture_is_the_same_in_every_transfer_syntax(syntax, tmp_path):
    raw, other = (shared_data(f"xa/WG04_XA1_{name}.dcm") for name in ("UNC", syntax))
    copy = pydicom.dcmread(other)
    copy.SeriesInstanceUID = pydicom.dcmread(raw).SeriesInstanceUID
    copy.save_as(tmp_path / "other.dcm")
    series = read_series([raw, tmp_path / "other.dcm"])
    assert series.frames.shape == (2, 1024, 1024)
    np.testing.assert_array_equal(series.frames[0], series.frames[1])


def test_real_philips_jpeg_2000_with_open_private_sequences(tmp_path):
    path = shared_data("xa/rubydicom_philips_allura_headphantom_single.dcm")
    copy = pydicom.dcmread(path)
    copy.InstanceNumber = 2
    copy.save_as(tmp_path / "second.dcm")
    series = read_series([path, tmp_path / "second.dcm"])
    np.testing.assert_array_equal(series.frames[1], copy.pixel_array)
    assert (series.bits_stored, series.relation) == (10, "LIN")
    exposed = np.zeros((1024, 1024), bool)
    exposed[117:907] = True  # shutter edges 118 and 907, counted from 1
    np.testing.assert_array_equal(series.shutter, exposed)


def test_real_run_of_96_frames():
    series = read_series(shared_data("xa/fodicom_HasFragmentSequence.dcm"))
    assert (series.frames.shape, series.frames.dtype) == ((96, 512, 512), np.uint8)
    assert (series.relation, series.frame_time, series.background_numbers) == ("LIN", 33, ())
    vessel, beside = series.frames[40, 250:290, 112:130].min(), series.frames[10, 250:290, 112:130].min()
    assert vessel < 0.75 * beside


REFUSED = {
    "colour": (
        setting(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        r"grey-scale pixels \(SamplesPerPixel \(0028,0002\) 1, MONOCHROME2\), found SamplesPerPixel 3, RGB",
    ),
    "palette": (setting(PhotometricInterpretation="PALETTE COLOR"), "found SamplesPerPixel 1, PALETTE COLOR"),
    "ultrasound": (
        setting(
            SOPClassUID=UltrasoundMultiFrameImageStorage, Modality="US", SamplesPerPixel=3, PhotometricInterpretation="RGB"
        ),
        "found Modality US of class Ultrasound Multi-frame Image Storage; give an XA run",
    ),
    "captured": (setting(SOPClassUID=SecondaryCaptureImageStorage, Modality="US"), "found Modality US"),
    "long modality": (
        lambda dataset: (setting(SOPClassUID="1.2.3.4")(dataset), dataset.add_new("Modality", "LO", "XA SIMULATED^RUN 1")),
        "found Modality malformed of class unknown",
    ),
    "class of no kind": (setting(SOPClassUID="1.2.3.4"), "found Modality XA of class unknown"),
    "DICOMDIR": (setting(SOPClassUID=MediaStorageDirectoryStorage), "found a DICOMDIR.*give the folder that it lies in"),
    "no pixels": (deleting("PixelData"), r"no top-level PixelData \(7FE0,0010\)"),
    "icon only": (
        lambda dataset: (
            deleting("PixelData")(dataset),
            setting(IconImageSequence=[item(Rows=2, BitsAllocated=8, PixelData=b"1234")])(dataset),
        ),
        "an icon or a reference is no picture",
    ),
    "signed": (setting(PixelRepresentation=1), r"values from 0 on \(PixelRepresentation \(0028,0103\) 0\), found negative"),
    "no rows": (deleting("Rows"), r"Rows \(0028,0010\): expected one whole number above 0, found none; fetch"),
    "two rows": (setting(Rows=[16, 16]), r"Rows \(0028,0010\): expected one whole number above 0, found '16\\16'"),
    "32 bits": (setting(BitsAllocated=32), r"BitsAllocated \(0028,0100\) 8 or 16"),
    "high bit": (setting(HighBit=9), "HighBit 9"),
    "one of several": (
        setting(NumberOfFrames=1),
        r"NumberOfFrames \(0028,0008\) 4, for so many frames there are pixels, found 1",
    ),
    "rotating": (
        setting(PositionerMotion="DYNAMIC"),
        r"resting C-arm \(PositionerMotion \(0018,1500\) STATIC\), found DYNAMIC",
    ),
    "travelling": (setting(TableMotion="DYNAMIC"), r"resting table \(TableMotion"),
    "turning by steps": (
        setting(PositionerPrimaryAngleIncrement=[0, 1.5, 3, 4.5], PositionerMotion=""),
        r"resting C-arm .*found PositionerPrimaryAngleIncrement \(0018,1520\) other than 0: no frame is the background",
    ),
    "travelling by steps": (setting(TableLongitudinalIncrement=[0, 20, 20, 20]), "found TableLongitudinalIncrement"),
    "derived subtracted": (
        setting(ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE"], DerivationDescription="Subtracted, edge enhanced"),
        r"already subtracted \(ImageType DERIVED, and DerivationDescription \(0008,2111\) speaks of subtraction\)",
    ),
    "derived, and called subtracted": (
        setting(ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE"], SeriesDescription="Carotid Subtracted"),
        r"already subtracted \(ImageType DERIVED, and SeriesDescription \(0008,103E\) speaks of subtraction\)",
    ),
    "image type": (setting(ImageType=["DERIVED", "SECONDARY", "SINGLE PLANE", "DSA"]), "Export the unsubtracted"),
    "code": (setting(DerivationCodeSequence=[item(CodeValue="113062")]), "has 113062"),
    "enhanced": (
        setting(
            SharedFunctionalGroupsSequence=[
                item(XAXRFFrameCharacteristicsSequence=[item(ImageProcessingApplied=["DIGITAL_SUBTR", "FILTERED"])])
            ]
        ),
        "has DIGITAL_SUBTR",
    ),
    "frame count": (setting(NumberOfFrames=5), r"PixelData \(7FE0,0010\) of 1920 bytes \(5 frames\), found 1536 bytes"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_runs_are_refused_in_one_paragraph(xa_file, change, message):
    path = xa_file(change=change)
    with pytest.raises(InputError, match=message) as refused:
        read_series(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "SIMULATED" not in str(refused.value)


def test_unsubtracted_derived_runs_are_read(xa_file):
    derived = {
        "ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE", "DA", "ACQ"],
        "DerivationDescription": "unsubtracted, sharpened",
        "SeriesDescription": "Carotid DSA",  # of the protocol
    }
    assert len(read_series(xa_file(change=setting(**derived))).frames) == 4


def test_what_is_said_to_rest_may_tremble(xa_file):
    rests = {
        "PositionerMotion": "STATIC",
        "PositionerPrimaryAngleIncrement": [0, 0.1, 0, 0.1],
        "TableVerticalIncrement": [0, 0, 0, 0],
    }
    assert len(read_series(xa_file(change=setting(**rests))).frames) == 4


def test_single_frame_is_no_run(xa_file):
    with pytest.raises(InputError, match="at least one background and one contrast frame, found one single frame"):
        read_series(xa_file(frames=moving_frames((1, 8, 8))))


def test_not_dicom(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"\xff\xd8" * 100)
    with pytest.raises(InputError, match="no mark DICM at byte 128"):
        read_series(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_series(tmp_path / "absent.dcm")
    with pytest.raises(InputError, match="expected the files of a run, got none"):
        read_series([])


@pytest.mark.parametrize("transfer_syntax", [None, RLELossless, JPEGLSLossless])
def test_truncation_anywhere_is_noticed(xa_file, transfer_syntax):
    path = xa_file(frames=moving_frames((4, 16, 16)))
    if transfer_syntax is not None:
        reencoded(path, transfer_syntax)
    whole = path.read_bytes()
    pixels = len(whole) - len(whole.split(b"\xe0\x7f\x10\x00", 1)[1])
    for size in [*range(0, pixels, 97), *range(pixels, len(whole) - 20, 61)]:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"run\.dcm") as refused:
            read_series(path)
        if size > pixels + 20:
            assert "truncated or damaged" in str(refused.value)


def test_damaged_frame_is_named(xa_file):
    path = reencoded(xa_file(frames=moving_frames((3, 16, 16))), JPEGLSLossless)
    data = bytearray(path.read_bytes())
    second = [place for place in range(len(data)) if data[place : place + 4] == b"\xff\xd8\xff\xf7"][1]
    data[second : second + 40] = b"\0" * 40
    path.write_bytes(data)
    with pytest.raises(InputError, match="frame 2: expected pixels in JPEG-LS Lossless"):
        read_series(path)


@pytest.mark.slow
def test_missing_decoder_names_its_package(xa_file):
    path = reencoded(xa_file(), JPEGLSLossless)
    program = (
        "import sys\n"
        "for name in ('jpeg_ls', 'gdcm', 'pylibjpeg'): sys.modules[name] = None\n"
        "from angiomorph.dicom import read_series\n"
        "try: read_series(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert "no decoder is installed; pip install pyjpegls" in result.stdout


def test_loose_frame_of_another_size_is_named(xa_folder, xa_file):
    folder = xa_folder(moving_frames((3, 8, 8)))
    odd = pydicom.dcmread(xa_file("odd.dcm", frames=moving_frames((1, 4, 8))))
    odd.SeriesInstanceUID = pydicom.dcmread(folder / "99.dcm").SeriesInstanceUID
    odd.InstanceNumber = 7
    odd.save_as(folder / "odd.dcm")
    with pytest.raises(InputError, match=r"odd\.dcm: expected the Rows \(0028,0010\) of the run's first frame 8, found 4"):
        read_series(folder)


def test_frames_of_two_runs_are_refused_and_copies_left_out(xa_folder):
    first, second = xa_folder(moving_frames((2, 8, 8)), "a"), xa_folder(moving_frames((2, 8, 8), seed=1), "b")
    with pytest.raises(InputError, match=r"SeriesInstanceUID .*found another"):
        read_series([*first.iterdir(), *second.iterdir()])
    (first / "copy.dcm").write_bytes((first / "99.dcm").read_bytes())
    series = read_series(first)
    np.testing.assert_array_equal(series.frames, moving_frames((2, 8, 8)))
    assert "copies of the run's files are left out: " in series.warnings[0]


def test_folder_of_several_runs_is_refused(xa_file, tmp_path):
    xa_file("a.dcm")
    xa_file("b.dcm")
    with pytest.raises(InputError, match="a folder of one run, found 2 runs"):
        read_series(tmp_path)
    with pytest.raises(InputError, match=r"a\.dcm: expected one frame in each of several files"):
        read_series([tmp_path / "a.dcm", tmp_path / "b.dcm"])


BAD_VALUES = ("word", "0,5", "1\\\\", "\\1", "NaN", "1\\x\\2", "-1e400", "1.5", "0", "-3", "1\\2\\3")


@pytest.mark.parametrize("keyword", NUMBERS)
def test_no_number_that_is_none_ends_in_a_traceback(xa_file, keyword):
    def spoil(dataset, where, text):
        where.add_new(keyword, "LO", text.split("\\"))
        dataset.FrameIncrementPointer = 0x00181063

    named = [True]
    for text in BAD_VALUES:
        mask = item(MaskOperation="AVG_SUB", MaskFrameNumbers=1)
        of_mask = keyword in ("MaskFrameNumbers", "ApplicableFrameRange")

        def change(dataset, text=text, mask=mask, of_mask=of_mask):
            dataset.ShutterShape = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
            dataset.MaskSubtractionSequence = [mask]
            spoil(dataset, mask if of_mask else dataset, text)

        path = xa_file(change=change)
        try:
            series = read_series(path)
        except InputError as error:
            named.append(keyword in str(error))
        else:
            assert len(series.frames) in (1, 4)
            assert np.isfinite(series.frame_times).all()
            assert np.all(np.diff(series.frame_times) > 0) or not series.frame_times.any()
    assert all(named)


def test_unusable_attributes_are_told_once(xa_folder):
    def change(single, index):
        single.add_new("CineRate", "LO", "fast")
        single.add_new("PositionerPrimaryAngleIncrement", "LO", "0,0")

    series = read_series(xa_folder(moving_frames((3, 8, 8)), change=change))
    told = [warning for warning in series.warnings if "passed over" in warning]
    assert len(told) == 2
    assert any("CineRate (0018,0040): expected one number above 0, found 'fast'; passed over" in line for line in told)
    assert any("PositionerPrimaryAngleIncrement (0018,1520): expected numbers, found '0,0'" in line for line in told)


def test_read_what_was_found(xa_file, tmp_path):
    xa_file("deep/run.dcm")
    (found,) = find_series([tmp_path])
    assert read_series(found).name == "run"


@pytest.mark.slow
def test_broken_headers_are_read_or_refused_but_never_crash(xa_file):
    path = xa_file(frames=moving_frames((2, 8, 8)), attributes={"MaskFrameNumbers": [1]})
    whole = path.read_bytes()
    header = len(whole) - 2 * 8 * 8 * 2
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        broken = bytearray(whole)
        for place in rng.integers(0, header, 3):
            broken[place] = rng.choice([0, 32, 92, 255, rng.integers(256)])
        path.write_bytes(broken)
        try:
            assert len(read_series(path).frames) >= 2
        except InputError:
            refused += 1
    assert 20 < refused < 180


def test_the_user_may_overrule_what_headers_say_of_subtraction(xa_file):
    lossy = {"ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE"], "AcquisitionDeviceProcessingDescription": "DSA 3 f/s"}
    path = xa_file(change=setting(**lossy))
    with pytest.raises(InputError, match="or say `unsubtracted` if these are its pixels"):
        read_series(path)
    series = read_series(path, unsubtracted=True)
    np.testing.assert_array_equal(series.frames, moving_frames())
    assert any("taken as acquired, as told by `unsubtracted`, although ImageType DERIVED" in line for line in series.warnings)
    assert not read_series(xa_file(), unsubtracted=True).warnings


def test_one_frame_by_itself(xa_file):
    frames = moving_frames((1, 8, 8))
    run = read_frame(xa_file("one.dcm", frames=frames))
    np.testing.assert_array_equal(run.frames, frames)
    assert (run.relation, run.bits_stored, len(run.headers)) == ("LIN", 12, 1)
    with pytest.raises(InputError, match=r"run.dcm: expected one frame, found a run of 4; give it as RUN"):
        read_frame(xa_file())


def test_tables_of_the_old_pixels_are_no_header(xa_file):
    path = xa_file(change=lambda dataset: dataset.add_new("ExtendedOffsetTable", "OV", bytes(32)))
    assert b"\xe0\x7f\x01\x00OV" in path.read_bytes()
    assert "ExtendedOffsetTable" not in read_series(path).headers[0]


def test_a_run_larger_than_memory_is_told(xa_file, monkeypatch):
    def empty(shape, dtype):
        raise MemoryError

    path = xa_file()
    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(InputError, match=r"expected a run that fits into memory, found 4 frames of 16x12; give fewer frames"):
        read_series(path)


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("kept", [0, 2, 4, 6, 8, 10])
def test_a_file_that_ends_where_its_pixels_begin(xa_file, transfer_syntax, kept):
    path = reencoded(xa_file(), transfer_syntax)
    start = path.read_bytes().rpartition(b"\xe0\x7f\x10\x00")[0]
    path.write_bytes(start + b"\xe0\x7f\x10\x00OW\0\0\x80\x01"[:kept])  # with a type, whatever the syntax says
    with pytest.raises(InputError, match=r"run\.dcm: expected ") as told:
        read_series(path)
    assert "\n" not in str(told.value)
