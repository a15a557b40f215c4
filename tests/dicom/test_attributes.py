"""Attributes: a value, absent, or unusable; never an exception."""

import math

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from angiomorph.dicom.attributes import (
    NUMBERS,
    find_numbers,
    find_unusable,
    functional,
    items,
    number,
    numbers,
    require_number,
    text,
    value,
    values,
    words,
)
from angiomorph.errors import InputError


def raw(keyword: str, vr: str, content: bytes) -> pydicom.Dataset:
    """Return a data set as it comes from a file, bytes not yet looked at."""
    dataset = pydicom.Dataset()
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True, True)
    return dataset


@pytest.mark.parametrize(
    ("content", "found", "shown"),
    [
        (b"33.5", (33.5,), ""),
        (b"", (), ""),
        (b"  ", (), ""),
        (b"NaN ", (math.nan,), "'nan'"),
        (b"33,3", (math.nan,), "'33,3'"),
        (b"fast", (math.nan,), "'fast'"),
        (b"1e999 ", (math.nan,), "'1e999'"),
        (b"0 ", (0.0,), "'0'"),
        (b"40\\40 ", (40.0, 40.0), "'40\\40'"),
    ],
)
def test_one_number_above_0(content, found, shown):
    dataset = raw("FrameTime", "DS", content)
    result = find_numbers(dataset, "FrameTime")
    assert str(result.numbers) == str(found)
    assert bool(result.unusable) == bool(shown)
    if shown:
        assert result.unusable.lower().startswith("frametime (0018,1063): expected one number above 0, found '")
        assert shown.lower() in result.unusable.lower()
    assert number(dataset, "FrameTime") == (None if shown or not found else found[0])


def test_text_of_another_type_is_still_a_number():
    assert numbers(raw("MaskFrameNumbers", "LO", b"2\\3 "), "MaskFrameNumbers") == (2, 3)
    assert numbers(raw("MaskFrameNumbers", "DS", b"2.0\\3.0 "), "MaskFrameNumbers") == (2, 3)


def test_components_stay_in_their_places():
    found = find_numbers(raw("FrameTimeVector", "DS", b"\\250\\x "), "FrameTimeVector").numbers
    assert len(found) == 3
    assert found[1] == 250
    assert math.isnan(found[0])
    assert math.isnan(found[2])


def test_a_required_number_is_read(tmp_path):
    assert require_number(tmp_path / "run.dcm", raw("Rows", "US", b"\x10\0"), "Rows") == 16


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"\x10\0\x20\0", "'16\\32'"), (b"", "none"), (b"\0\0", "'0'"), (b"\1", "bytes that are none")],
)
def test_required_numbers_say_what_stood_there(tmp_path, content, found):
    path = tmp_path / "run.dcm"
    with pytest.raises(InputError) as refused:
        require_number(path, raw("Rows", "US", content), "Rows")
    expected = f"{path}: Rows (0028,0010): expected one whole number above 0, found {found}; fetch the file again"
    assert str(refused.value).startswith(expected)


def test_what_is_no_sequence_has_no_items():
    dataset = raw("MaskSubtractionSequence", "LO", b"none")
    assert items(dataset, "MaskSubtractionSequence") == []
    assert find_unusable(dataset) == [
        "MaskSubtractionSequence (0028,6100): expected a sequence, found something else; passed over"
    ]
    assert find_unusable(pydicom.Dataset()) == []


def test_functional_groups_shared_first():
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.TableMotion = "STATIC"
    group = pydicom.Dataset()
    group.PositionerPositionSequence = [inner]
    outer.PerFrameFunctionalGroupsSequence = [group]
    assert text(functional(outer, "PositionerPositionSequence", "TableMotion"), "TableMotion") == "STATIC"
    assert len(functional(outer, "PositionerPositionSequence", "KVP")) == 0


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.sampled_from(["DS", "IS", "US", "SS", "FD", "FL", "LO", "CS", "UN", "OW", "DA", "UI", "AT", "PN"]),
    st.one_of(st.binary(max_size=24), st.text("0123456789.,-+eE\\ \0aN", max_size=24).map(str.encode)),
)
def test_whatever_bytes_stand_there(keyword, vr, content):
    for read in (find_numbers, numbers, number, value, values, words, text, items):
        read(raw(keyword, vr, content), keyword)
    found = find_numbers(raw(keyword, vr, content), keyword)
    if not found.unusable:
        assert all(math.isfinite(component) for component in found.numbers)
    assert all(" " <= character <= "~" for character in found.unusable)
