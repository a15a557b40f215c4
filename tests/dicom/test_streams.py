"""What frames of RLE hold and which tables a JPEG has, by hand; more of JPEG is tested where it is decoded."""

import struct

import pytest

from angiomorph.dicom.streams import holds_rle, read_stream

# 2 rows x 3 columns: a literal of 4 bytes and a run of 2; a run of 6. A packet of 128 stands for nothing.
FIRST, SECOND = bytes([3, 1, 2, 3, 4, 255, 9]), bytes([128, 251, 7])


def frame(*segments, count=None, starts=None):
    starts = starts or [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    header = [len(segments) if count is None else count, *starts]
    return struct.pack("<16L", *header, *[0] * (16 - len(header))) + b"".join(segments)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(FIRST, SECOND), True),
        (frame(FIRST + b"\0", SECOND + b"\0"), True),  # one byte to make them even
        (frame(FIRST, bytes([250, 7])), True),  # one value too many, fewer than a row or a column has
        (frame(FIRST, bytes([249, 7])), False),  # two: a column more
        (frame(FIRST, bytes([252, 7])), False),
        (frame(FIRST, bytes([5, 7, 7, 7])), False),  # breaks off
        (frame(FIRST), False),
        (frame(FIRST, SECOND, SECOND), False),
        (frame(FIRST, SECOND, count=16), False),
        (frame(FIRST, SECOND, starts=[0, 71]), False),
        (frame(FIRST, SECOND, starts=[64, 64]), False),
        (frame(FIRST, SECOND, starts=[64, 1 << 31]), False),
        (frame(FIRST, SECOND)[:63], False),
    ],
)
def test_segments_hold_as_many_bytes_as_the_frame_has_values(data, expected):
    assert holds_rle(data, 2, 2, 3) is expected


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


FRAME = segment(0xC3, struct.pack(">BHHBBBB", 12, 2, 3, 1, 1, 0x11, 0))
SCAN = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
ONE_CODE = bytes([0, 1, *[0] * 15, 7])  # table 0: one code, of one bit, for the symbol 7


@pytest.mark.parametrize(
    ("tables", "known"),
    [(ONE_CODE, True), (ONE_CODE * 2, True), (ONE_CODE[:-1], False), (ONE_CODE[:9], False), (ONE_CODE + b"\1", False)],
    ids=["one", "two", "without its symbol", "half", "begun"],
)
def test_jpeg_is_known_by_whole_tables(tables, known):
    stream = read_stream(b"\xff\xd8" + FRAME + segment(0xC4, tables) + SCAN)
    assert (stream is not None and (stream.coding, stream.shape, stream.precision) == ("lossless", (2, 3), 12)) is known
