"""A registered run: which frame it shows, its figures, its picture, and its files by kind."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Background
from angiomorph.registration.options import OutputOptions
from angiomorph.storage import store
from tests.registration.registrations import registered


@pytest.fixture
def result():
    bsa = np.zeros((3, 32, 32), np.float32)
    bsa[2, :, 10:14] = -1
    return registered(bsa, model_name="tiny")


@pytest.mark.parametrize(("choice", "shown"), [("tag", 4), ("arrival", 4), ("number", 1)])
def test_the_fullest_frame_lies_after_an_unnamed_background(choice, shown):
    """An exposure ramp in the first frame is darker than the iodine of the fourth."""
    bsa = np.zeros((5, 16, 16), np.float32)
    bsa[0, :4], bsa[3, :, 7:9], bsa[4, :, 7] = -3, -1, -1
    assert registered(bsa, Background((2, 3), choice)).fullest_frame == shown


def test_the_picture_of_itself_is_that_of_the_fullest_frame(result, tmp_path):
    shown = imread(io.BytesIO(result._repr_png_()))
    result.save(tmp_path / "run", ("png",))
    written = imread(tmp_path / "run_bsa.png")
    np.testing.assert_array_equal(shown, written)
    assert [panel.title for panel in result.panels()] == ["contrast frame 3", "plain DSA", "BSA, left unwarped"]
    assert result.panels(1)[0].title == "background frame 1"


def test_named_kinds_are_written_and_their_paths_returned(result, tmp_path):
    paths = result.save(str(tmp_path / "new" / "a.b"), kinds=["h5", "png"])
    assert paths == [tmp_path / "new" / "a.b_bsa.h5", tmp_path / "new" / "a.b_bsa.png"]
    assert sorted((tmp_path / "new").iterdir()) == paths
    arrays, attributes = store.read_arrays(paths[0])
    np.testing.assert_array_equal(arrays["bsa"], result.bsa)
    assert (attributes["lambda"], attributes["units"], attributes["model_sha256"]) == (0.5, "ln(intensity)", "0" * 64)


def test_a_kind_by_itself_is_one_kind(result, tmp_path):
    assert result.save(tmp_path / "a", kinds="png") == [tmp_path / "a_bsa.png"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"kinds": ["tiff"]},
            "`kinds` tiff: expected some of dicom,h5,png,sheet,mp4,gif,html,dsa,.*, got tiff",
        ),
        ({"kinds": []}, "expected some of"),
        ({"kinds": ["png"], "output": OutputOptions(frame=9)}, "run: `frame` 9: expected a frame number from 1 to 3"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_left(result, tmp_path, given, words):
    with pytest.raises(InputError, match=words):
        result.save(tmp_path / "run", **given)
    assert list(tmp_path.iterdir()) == []


def test_the_summary_counts_frames_that_were_not_warped(result):
    told = result.summary()
    assert (told["frames"], told["unwarped"], told["unwarped_frames"], told["background"]) == (3, 2, [2, 3], [1])
    assert (told["largest_shift"], told["folding"]) == (0, 0)
