"""What frames of RLE hold, by hand; what JPEG says of itself is tested where it is decoded."""

import struct

import pytest

from angiomorph.dicom.streams import holds_rle

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
