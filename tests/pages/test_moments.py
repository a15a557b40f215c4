"""Moments of a page: thinned evenly, and given back by the page that shows them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiomorph.pages.moments import Moment, draw_moments, read_moments, thin_moments
from angiomorph.pages.page import encode_jpeg, escape, write_page


def make_moment(step, runs=1):
    pictures = tuple(encode_jpeg(np.full((8, 8), (10 * step + run) % 256, np.uint8)) for run in range(runs))
    return Moment(step, f'after "{step}" <steps>', pictures)


@pytest.mark.parametrize("count", [1, 19, 20, 21, 57, 400])
def test_moments_that_come_one_by_one_stay_about_even(count):
    kept = []
    for step in range(10, 10 * (count + 1), 10):
        kept = thin_moments([*kept, Moment(step, "", ())], 20)
    steps = [moment.step for moment in kept]
    assert len(steps) == min(count, 20)
    assert (steps[0], steps[-1]) == (10, 10 * count)
    gaps = np.diff(steps)
    assert count == 1 or gaps.max() <= 4 * gaps.min() or gaps.max() <= 4 * 10 * count / 20


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 500), min_size=1, max_size=30), st.integers(1, 3))
def test_a_page_gives_its_moments_back(tmp_path_factory, steps, runs):
    path = tmp_path_factory.mktemp("page") / "page.html"
    moments = [make_moment(step, runs) for step in sorted(steps)]
    fixed = [[escape("fixed")]] * runs
    write_page(path, "title", [draw_moments("pictures", moments, fixed, escape("words"))])
    assert read_moments(path) == moments


@pytest.mark.parametrize("text", [b"", b"<p>other</p>", b"\xff\xfe", b'<figure data-step="x" data-run="0"><img src="data:,">'])
def test_another_page_has_no_moments(tmp_path, text):
    (tmp_path / "page.html").write_bytes(text)
    assert read_moments(tmp_path / "page.html") == []
    assert read_moments(tmp_path / "absent.html") == []
