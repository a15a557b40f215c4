"""Which frames are written: by word, by number, and never ones that are not there."""

import pytest

from angiomorph.errors import InputError
from angiomorph.registration.kept_frames import choose_frames, named_range


@pytest.mark.parametrize(
    ("wanted", "background", "frames"),
    [
        ("all", [2], [1, 2, 3, 4, 5]),
        ("contrast", [2], [3, 4, 5]),
        ("contrast", [1, 4], [5]),
        ("contrast", [4, 5], [1, 2, 3]),
        ("3", [1], [3]),
        ("2-4", [1], [2, 3, 4]),
        ("5-5", [1], [5]),
    ],
)
def test_frames_by_hand(wanted, background, frames):
    assert choose_frames("run", wanted, 5, background) == frames


@pytest.mark.parametrize("wanted", ["", "none", "0", "0-2", "3-2", "1,2", "-3", "2-", "1.5"])
def test_other_words_are_refused(wanted):
    with pytest.raises(InputError, match=r"`keep_frames` .*: expected all, contrast, a frame number N or a range N-M"):
        named_range(wanted)


@pytest.mark.parametrize(
    ("wanted", "background", "message"),
    [
        ("4-6", [1], "run: `keep_frames` 4-6: expected frame numbers from 1 to 5"),
        ("contrast", [1, 2, 3, 4, 5], "run: `keep_frames` contrast: expected a frame beside the background"),
    ],
)
def test_frames_that_are_not_there_are_refused(wanted, background, message):
    with pytest.raises(InputError, match=message):
        choose_frames("run", wanted, 5, background)
