"""Pixels as files have them: any number announced, any offset table, any encoding; exact, or refused in time."""

import re
import struct
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
)

from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from tests.dicom.headers import deleting, reencoded, setting
from tests.dicom_tools import run_tool
from tests.runs import moving_frames

SHAPE = (4, 16, 12)


def fragments(path):
    dataset = pydicom.dcmread(path)
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))


def encapsulated(items, table=()):
    """Return fragments as they are behind an offset table of any numbers."""
    offsets = struct.pack(f"<{len(table)}L", *table)
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (offsets, *items))


def with_pixels(path, data):
    dataset = pydicom.dcmread(path)
    dataset.PixelData = data
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


def resaid(path, transfer_syntax):
    """Let the file's meta information name another transfer syntax, or none, and leave all else as it is."""
    raw = path.read_bytes()
    length = struct.unpack("<L", raw[140:144])[0]
    meta, rest = raw[144 : 144 + length], raw[144 + length :]
    place = meta.index(b"\x02\0\x10\0UI")
    old = 8 + struct.unpack("<H", meta[place + 6 : place + 8])[0]
    uid = (transfer_syntax + "\0" * (len(transfer_syntax) % 2)).encode()
    new = b"\x02\0\x10\0UI" + struct.pack("<H", len(uid)) + uid if uid else b""
    meta = meta[:place] + new + meta[place + old :]
    path.write_bytes(raw[:140] + struct.pack("<L", len(meta)) + meta + rest)
    return path


def check(path, frames, told=""):
    series = read_series(path)
    np.testing.assert_array_equal(series.frames, frames)
    assert any(told in line for line in series.warnings) if told else not series.warnings


@pytest.mark.parametrize("transfer_syntax", [None, RLELossless, JPEGLSLossless])
def test_number_of_frames_against_the_pixels_there_are(xa_file, transfer_syntax):
    frames = moving_frames(SHAPE)

    def announcing(number):
        path = xa_file(frames=frames)
        if transfer_syntax is not None:
            reencoded(path, transfer_syntax)
        dataset = pydicom.dcmread(path)
        (deleting("NumberOfFrames") if number is None else setting(NumberOfFrames=number))(dataset)
        dataset.save_as(path)
        return path

    check(announcing(None), frames, "NumberOfFrames (0028,0008) is absent; taken as 4, for so many there are pixels")
    check(announcing(3), frames[:3], "NumberOfFrames (0028,0008) is 3, but there are pixels for 4 frames; the first 3 are read")
    with pytest.raises(InputError, match=r"NumberOfFrames \(0028,0008\) 4, for so many frames there are pixels, found 1"):
        read_series(announcing(1))
    with pytest.raises(InputError, match="truncated or damaged"):
        read_series(announcing(5))


def test_padding_is_no_frame(xa_file):
    frames = moving_frames((4, 16, 16))
    for padding in (1, 30, 500):
        check(xa_file(frames=frames, change=lambda d, p=padding: setattr(d, "PixelData", d.PixelData + bytes(p))), frames)


def test_bytes_behind_the_last_frame_are_told_unless_padding(xa_file):
    frames = moving_frames((4, 16, 12))
    surplus = bytes(range(100))
    path = xa_file(frames=frames, change=lambda d: setattr(d, "PixelData", d.PixelData + surplus))
    check(path, frames, "PixelData (7FE0,0010) has 100 bytes behind the last frame, which are no padding, as they differ")
    # 4 frames x 12 columns x 2 bytes: zeros that another row of each frame would need
    path = xa_file(frames=frames, change=lambda d: setattr(d, "PixelData", d.PixelData + bytes(96)))
    check(path, frames, "96 bytes behind the last frame, all alike, taken as padding; or it has Rows (0028,0010) 17")


@pytest.mark.parametrize("transfer_syntax", [None, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("wrong", "expected"), [({"Rows": 15}, "Rows (0028,0010) 16"), ({"Columns": 11}, "Columns (0028,0011) 12")]
)
def test_pixels_for_other_rows_or_columns_are_refused(xa_file, transfer_syntax, wrong, expected):
    path = xa_file(frames=moving_frames((4, 16, 12)))
    if transfer_syntax:
        path = reencoded(path, transfer_syntax)
    dataset = pydicom.dcmread(path)
    setting(**wrong)(dataset)
    dataset.save_as(path)
    with pytest.raises(InputError, match=rf"expected .*{re.escape(expected)}, as each of 4"):
        read_series(path)


@pytest.mark.parametrize("transfer_syntax", [None, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("wrong", [{"Rows": 8}, {"Columns": 4}, {"NumberOfFrames": 2}], ids=str)
def test_pixels_for_a_whole_multiple_are_refused(xa_file, transfer_syntax, wrong):
    path = xa_file(frames=moving_frames((4, 16, 12)))
    if transfer_syntax:
        path = reencoded(path, transfer_syntax)
    dataset = pydicom.dcmread(path)
    setting(**wrong)(dataset)
    dataset.save_as(path)
    ((keyword, found),) = wrong.items()
    right = {"Rows": 16, "Columns": 12, "NumberOfFrames": 4}[keyword]
    with pytest.raises(InputError, match=rf"expected .*{keyword} \([0-9A-F,]+\) {right}.* pixels for {right // found} times"):
        read_series(path)


def test_alike_bytes_for_a_whole_multiple_are_padding(xa_file):
    frames = moving_frames((4, 16, 12))
    path = xa_file(frames=frames, change=lambda d: setattr(d, "PixelData", d.PixelData + bytes(len(d.PixelData))))
    check(path, frames, "NumberOfFrames (0028,0008) is 4, but there are pixels for 8 frames; the first 4 are read")


def test_loose_frames_with_pixels_for_several_are_refused(xa_folder):
    folder = xa_folder(moving_frames((3, 8, 8)))
    whole = pydicom.dcmread(folder / "98.dcm")
    whole.PixelData = whole.PixelData * 2
    whole.save_as(folder / "98.dcm")
    with pytest.raises(InputError, match=r"98\.dcm: expected one frame in each of several files"):
        read_series(folder)


TABLES = {
    "none": lambda starts: [],
    "right": lambda starts: starts,
    "shifted": lambda starts: [starts[0], *(start + 10 for start in starts[1:])],
    "absolute": lambda starts: [start + 2000 for start in starts],
    "zero": lambda starts: [0] * len(starts),
    "too few": lambda starts: starts[:1],
    "descending": lambda starts: starts[::-1],
    "late": lambda starts: [starts[0], *starts[2:], starts[-1] + 100],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_one_fragment_a_frame_needs_no_table(xa_file, transfer_syntax, table):
    frames = moving_frames((4, 40, 72))
    path = reencoded(xa_file(frames=frames), transfer_syntax)
    items = fragments(path)
    starts = np.cumsum([0, *(8 + len(part) for part in items)])[:-1].tolist()
    check(with_pixels(path, encapsulated(items, table(starts))), frames)
    check(with_pixels(path, encapsulated([*items, b""], table(starts))), frames)
    if table(starts) != starts:
        check(with_pixels(path, encapsulated([items[0], b"", *items[1:]], table(starts))), frames)


@pytest.mark.parametrize("table", ["none", "right", "shifted", "too few"])
@pytest.mark.parametrize("transfer_syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_several_fragments_a_frame_by_table_or_by_marks(xa_file, transfer_syntax, table):
    frames = moving_frames((3, 40, 72))
    path = reencoded(xa_file(frames=frames), transfer_syntax)
    items, starts, place = [], [], 0
    for frame in fragments(path):
        starts.append(place)
        for part in (frame[:1000], frame[1000:]):
            items.append(part)
            place += 8 + len(part)
    check(with_pixels(path, encapsulated(items, TABLES[table](starts))), frames)


def wrapped(codestream, rows, columns):
    """Return a JPEG 2000 frame in the boxes of a file of its own, as some archives keep it."""

    def box(kind, content):
        return struct.pack(">L4s", 8 + len(content), kind) + content

    header = box(b"ihdr", struct.pack(">LLHBBBB", rows, columns, 1, 11, 7, 0, 0)) + box(
        b"colr", struct.pack(">BBBL", 1, 0, 0, 17)
    )
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", header) + box(b"jp2c", codestream)


@pytest.fixture
def unmarked(xa_file):
    """Return a writer of three frames that begin with no mark, each in two fragments and an empty one, and these frames."""

    def write(table):
        frames = moving_frames((3, 40, 72))
        path = reencoded(xa_file(frames=frames), JPEG2000Lossless)
        items, starts, place = [], [], 0
        for frame in fragments(path):
            starts.append(place)
            whole = wrapped(frame.rstrip(b"\0"), 40, 72)
            for part in (whole[:1000], whole[1000:] + b"\0" * (len(whole) % 2), b""):
                items.append(part)
                place += 8 + len(part)
        return with_pixels(path, encapsulated(items, TABLES[table](starts))), frames

    return write


def test_frames_without_marks_are_told_apart_by_the_table(unmarked):
    check(*unmarked("right"))


@pytest.mark.parametrize("table", ["none", "shifted", "absolute"])
def test_frames_without_marks_and_a_table_are_refused(unmarked, table):
    with pytest.raises(InputError, match=r"of 3 frames .* found 1 frames; the file is truncated or damaged"):
        read_series(unmarked(table)[0])


@pytest.mark.parametrize("transfer_syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_fragment_given_twice_is_told_whatever_the_table_says(xa_file, transfer_syntax):
    frames = moving_frames((4, 40, 72))
    path = reencoded(xa_file(frames=frames), transfer_syntax)
    items = fragments(path)
    twice = [*items[:3], items[2], items[3]]
    starts = np.cumsum([0, *(8 + len(part) for part in items)])[:-1].tolist()  # the fourth is the copy's
    path = with_pixels(path, encapsulated(twice, starts))
    check(path, frames[[0, 1, 2, 2]], "NumberOfFrames (0028,0008) is 4, but there are pixels for 5 frames")


@pytest.mark.parametrize("wrong", [{"Rows": 39}, {"Rows": 1}, {"Columns": 71}, {"Columns": 36}, {"Columns": 73}])
def test_rle_of_other_rows_or_columns_is_refused(xa_file, wrong):
    path = reencoded(xa_file(frames=moving_frames((2, 40, 72))), RLELossless)
    dataset = pydicom.dcmread(path)
    setting(**wrong)(dataset)
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"frame 1: expected 2 segments of RLE for \d+ x \d+ values"):
        read_series(path)


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("said", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, "", JPEGLosslessSV1, RLELossless])
def test_native_pixels_whatever_the_syntax_says(xa_file, transfer_syntax, said):
    frames = moving_frames(SHAPE)
    path = resaid(reencoded(xa_file(frames=frames), transfer_syntax), said)
    told = "" if said in (ImplicitVRLittleEndian, ExplicitVRLittleEndian) else "TransferSyntaxUID (0002,0010)"
    check(path, frames, told)


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("said", [ExplicitVRLittleEndian, "", JPEGLosslessSV1])
def test_compressed_pixels_whatever_the_syntax_says(xa_file, transfer_syntax, said):
    frames = moving_frames((4, 40, 72))
    path = resaid(reencoded(xa_file(frames=frames), transfer_syntax), said)
    check(path, frames, f"read as {transfer_syntax.name.split(' Image')[0]}")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("1.2.840.113619.5.2", r"found 1\.2\.840\.113619\.5\.2; have the archive export the run as Explicit VR Little Endian"),
        (
            "1.2.840.10008.1.2.2.123456",
            r"TransferSyntaxUID \(0002,0010\) of DICOM for pictures, found 1\.2\.840\.10008\.1\.2\.2\.123456",
        ),
        (MPEG4HP41, r"expected pictures, found video: .*MPEG-4.* export the run as acquired"),
    ],
)
def test_unknown_syntaxes_are_refused_by_name(xa_file, said, message):
    with pytest.raises(InputError, match=message):
        read_series(resaid(xa_file(), said))


def test_compressed_pixels_of_no_known_coding(xa_file):
    path = reencoded(xa_file(), RLELossless)
    with pytest.raises(InputError, match="found no bytes"):
        read_series(with_pixels(path, encapsulated([])))
    with_pixels(path, encapsulated([b"nothing " * 20] * 4))
    with pytest.raises(InputError, match="Explicit VR Little Endian, and the pixels show no known coding"):
        read_series(resaid(path, ExplicitVRLittleEndian))


def test_no_fragment_and_no_table(xa_file):
    path = with_pixels(reencoded(xa_file(), RLELossless), encapsulated([]))
    table = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    start, end = path.read_bytes().rsplit(table, 1)
    path.write_bytes(start + end)
    with pytest.raises(InputError, match=r"PixelData .* of frames, found no bytes"):
        read_series(path)


def test_one_piece_too_small_for_what_is_said_to_be_compressed(xa_file):
    path = resaid(xa_file(frames=moving_frames((1, 16, 12)), change=setting(PixelData=bytes(100))), JPEGLosslessSV1)
    with pytest.raises(InputError, match=r"expected fragments of JPEG Lossless.* found 100 bytes in one piece, fewer than"):
        read_series(path)


def test_more_bits_than_the_header_says_are_refused(xa_file):
    path = reencoded(xa_file(frames=moving_frames((2, 40, 72))), JPEGLSLossless)
    dataset = pydicom.dcmread(path)
    setting(BitsAllocated=8, BitsStored=8, HighBit=7)(dataset)
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"at most 8 bits \(BitsAllocated \(0028,0100\)\), found compressed ones of 1[26];"):
        read_series(path)


def test_fill_bytes_before_a_mark_are_passed_over(xa_file):
    frames = moving_frames((2, 40, 72))
    path = reencoded(xa_file(frames=frames), JPEGLSLossless)
    check(with_pixels(path, encapsulated([frame[:2] + b"\xff\xff" + frame[2:] for frame in fragments(path)])), frames)


def test_bare_data_set_without_preamble(xa_file, tmp_path):
    frames = moving_frames(SHAPE)
    for name, transfer_syntax in (("implicit", ImplicitVRLittleEndian), ("explicit", ExplicitVRLittleEndian)):
        raw = reencoded(xa_file(frames=frames), transfer_syntax).read_bytes()
        path = tmp_path / name
        path.write_bytes(raw[144 + struct.unpack("<L", raw[140:144])[0] :])
        check(path, frames, "TransferSyntaxUID (0002,0010) is absent")


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless])
def test_left_aligned_values_move_down(xa_file, transfer_syntax):
    frames = moving_frames((4, 40, 72))
    path = reencoded(xa_file(frames=frames << 4 | 0xB, BitsStored=16), transfer_syntax)  # below the values, overlay bits
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 15
    dataset.save_as(path)
    check(path, frames)


def test_signed_values_from_0_on_are_a_run_as_acquired(xa_file):
    frames = moving_frames(SHAPE) // 2
    path = xa_file(frames=frames, change=setting(PixelRepresentation=1))
    check(path, frames)
    assert read_series(path).bits_stored == 11
    check(
        xa_file(frames=frames, change=setting(PixelRepresentation=1, PhotometricInterpretation="MONOCHROME1")),
        2047 - frames,
        "iodine bright",
    )


def test_what_is_absent_and_known_all_the_same(xa_file):
    frames = moving_frames(SHAPE)
    check(
        xa_file(frames=frames, change=deleting("SamplesPerPixel")), frames, "SamplesPerPixel (0028,0002) is absent; taken as 1"
    )
    check(xa_file(frames=frames, change=deleting("PhotometricInterpretation")), frames, "taken as MONOCHROME2")
    check(xa_file(frames=frames, change=deleting("SOPClassUID")), frames)  # the meta information names it
    captured = {"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "Modality": "OT"}
    check(xa_file(frames=frames, change=setting(**captured)), frames, "OT: nothing says that this is an angiogram")
    check(xa_file(frames=frames, change=setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.3")), frames)  # biplane, retired


HUGE = {"Rows": 65535, "Columns": 65535}


def test_sizes_are_checked_before_an_array_is_made(xa_file):
    with pytest.raises(InputError, match="truncated or damaged"):
        read_series(xa_file(change=setting(**HUGE)))


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_sizes_are_checked_before_frames_are_decoded(xa_file, transfer_syntax):
    path = reencoded(xa_file(frames=moving_frames((4, 40, 72))), transfer_syntax)
    dataset = pydicom.dcmread(path)
    setting(**HUGE)(dataset)
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"expected frames of \(65535, 65535\) pixels \(Rows, Columns\), found"):
        read_series(path)


def compressed_by_dcmtk(path, *options):
    assert run_tool("dcmcjpeg", *options, path, path).returncode == 0
    return path


def decoded_by_dcmtk(path):
    out = path.with_suffix(".native")
    assert run_tool("dcmdjpeg", path, out).returncode == 0
    return pydicom.dcmread(out).pixel_array


@pytest.mark.parametrize("options", [["+e1"], ["+el", "+sv", "6"], ["+ee", "+q", "95"]], ids=["first", "sixth", "extended"])
def test_jpeg_of_12_bits_is_what_dcmtk_decodes(xa_file, options):
    path = compressed_by_dcmtk(xa_file(frames=moving_frames((3, 40, 72))), *options)
    check(path, decoded_by_dcmtk(path))


def test_damaged_marks_never_reach_a_decoder_that_crashes(xa_file):
    path = compressed_by_dcmtk(xa_file(frames=moving_frames((2, 40, 72))), "+e1")
    whole = path.read_bytes()
    start = whole.index(b"\xff\xd8\xff")
    scan = whole.index(b"\xff\xda", start)
    refused = 0
    for place in range(start, scan + 10):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            assert len(read_series(path).frames) == 2
        except InputError:
            refused += 1
    assert refused > (scan - start) // 3
    path.write_bytes(whole[: scan + 40] + b"\xff\x5e" + whole[scan + 42 :])
    with pytest.raises(InputError, match=r"frame 1: expected pixels in JPEG Lossless.*marks are damaged"):
        read_series(path)


def test_big_endian_of_8_bits(xa_file):
    frames = moving_frames((3, 8, 9), bits=8)
    path = xa_file(frames=frames)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    check(path, frames)


@pytest.mark.slow
@pytest.mark.parametrize("private", [0, 1 << 15], ids=["short", "long meta information"])
def test_what_inflates_beyond_any_run_is_refused_unopened(xa_file, private):
    path = xa_file()
    raw = reencoded(path, DeflatedExplicitVRLittleEndian).read_bytes()
    check(path, moving_frames())
    start = 144 + struct.unpack("<L", raw[140:144])[0]
    meta = raw[144:start] + struct.pack("<HH2sHL", 0x0002, 0x0102, b"OB", 0, private) + bytes(private)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join([*(deflate.compress(bytes(1 << 20)) for _ in range(200)), deflate.flush()])
    path.write_bytes(raw[:140] + struct.pack("<L", len(meta)) + meta + bomb)
    with pytest.raises(
        InputError, match=r"expected a deflated file that inflates to at most \d+ MiB, found more\. .* dcmconv \+te"
    ):
        read_series(path)


@pytest.mark.parametrize(
    ("representation", "message"),
    [(b"", "found no top-level PixelData"), (b"FD", "found FD of another kind"), (b"XX", "deflated pixels, but they are malf")],
)
def test_deflated_pixels_that_are_none(xa_file, representation, message):
    path = xa_file()
    raw = reencoded(path, DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + struct.unpack("<L", raw[140:144])[0]
    content = zlib.decompress(raw[start:], -zlib.MAX_WBITS)
    pixels = content.index(b"\xe0\x7f\x10\x00OW")
    content = content[: pixels + 4] + representation + content[pixels + 6 :] if representation else content[:pixels]
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(raw[:start] + deflate.compress(content) + deflate.flush())
    with pytest.raises(InputError, match=message):
        read_series(path)


def test_what_inflates_to_whole_parts_and_goes_on_ends(xa_file):
    """Bytes behind the end of deflated ones, which inflate to exactly 2 MiB: looking at their length went on for ever."""
    path = xa_file()
    raw = reencoded(path, DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + struct.unpack("<L", raw[140:144])[0]
    content = zlib.decompress(raw[start:], -zlib.MAX_WBITS)
    rest = (1 << 21) - len(content) - 12
    content += struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, rest) + bytes(rest)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(raw[:start] + deflate.compress(content) + deflate.flush() + bytes(2))
    check(path, moving_frames())
