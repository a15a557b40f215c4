"""Readers' CSV files: whole ones are read, malformed ones refused by file and line."""

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.readers.answers import COLUMNS, read_answers
from tests.readers.studies import answer_rows, make_key, write_answers

METHODS = ("plain DSA", "λ 0.2", "λ 0.7")
KEY = make_key(METHODS, 2)


@pytest.fixture
def rows():
    return answer_rows(KEY, "Ann", dict.fromkeys(METHODS, 0.0), np.random.default_rng(0))


def test_a_panel_is_read_as_its_method(tmp_path, rows):
    rows[0][4:] = [rows[0][4], 1, 2, 3, "12.5"]
    answers = read_answers([write_answers(tmp_path / "a.csv", rows)], KEY)
    assert len(answers) == 6
    first = answers[0]
    assert (first.reader, first.case, first.method) == ("Ann", "case-001", KEY.panels["case-001"]["A"])
    assert (first.points, first.seconds) == ((1, 2, 3), 12.5)


def test_a_byte_order_mark_and_quotes_are_taken(tmp_path, rows):
    for row in rows:
        row[1] = 'Ann, "B"'
    path = write_answers(tmp_path / "a.csv", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert {answer.reader for answer in read_answers([path], KEY)} == {'Ann, "B"'}


WRONG = {
    "study": (0, "ffffffff", r"line 2: expected study 0a1b2c3d, found 'ffffffff'; this file is of another study"),
    "reader": (1, " ", "line 2: expected reader with a name"),
    "case": (2, "case-009", "expected case one of case-001, case-002, found 'case-009'"),
    "panel": (3, "D", "expected panel one of A, B, C, found 'D'"),
    "no rank": (4, "", "expected rank a whole number from 1 to 3, found ''"),
    "high rank": (4, "4", "expected rank a whole number from 1 to 3"),
    "half points": (5, "2.5", "expected fidelity a whole number from 1 to 5, found '2.5'"),
    "many points": (6, "6", "expected artefacts a whole number from 1 to 5"),
    "superscript": (7, "²", "expected overall a whole number from 1 to 5"),
    "words": (8, "long", "expected seconds a number from 0 to 86400, found 'long'"),
    "negative": (8, "-1", "expected seconds a number"),
    "nan": (8, "nan", "expected seconds a number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused(tmp_path, rows, name):
    column, value, words = WRONG[name]
    rows[0][column] = value
    with pytest.raises(InputError, match=rf"a\.csv, .*{words}"):
        read_answers([write_answers(tmp_path / "a.csv", rows)], KEY)


def test_a_rank_given_twice_is_refused(tmp_path, rows):
    rows[4][4] = rows[3][4]
    with pytest.raises(InputError, match=r"line 5: expected ranks 1, 2, 3 once each of reader 'Ann' in case case-002, found"):
        read_answers([write_answers(tmp_path / "a.csv", rows)], KEY)


def test_a_case_without_a_panel_is_refused(tmp_path, rows):
    with pytest.raises(InputError, match="expected ranks 1, 2, 3 once each"):
        read_answers([write_answers(tmp_path / "a.csv", rows[:5])], KEY)


def test_two_files_of_one_reader_are_refused(tmp_path, rows):
    paths = [write_answers(tmp_path / name, rows) for name in ("a.csv", "b.csv")]
    with pytest.raises(InputError, match=r"b\.csv, line 2: expected one answer of reader 'Ann' .* in .*a\.csv, line 2; keep"):
        read_answers(paths, KEY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("study;reader\r\n", "line 1: expected study,reader,.*, found 'study;reader'; give the file as the page saved it"),
        ("", "line 1: expected study,reader"),
        (",".join(COLUMNS) + "\r\na,b\r\n", "line 2: expected 9 values, found 2"),
        (",".join(COLUMNS) + '\r\n"a', "expected a CSV file of answers, but it cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    (tmp_path / "a.csv").write_text(content, newline="")
    with pytest.raises(InputError, match=words):
        read_answers([tmp_path / "a.csv"], KEY)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.csv: expected a CSV file of answers, but it cannot be read"):
        read_answers([tmp_path / "a.csv"], KEY)


def test_a_file_without_answers_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv: expected at least one answer, found none"):
        read_answers([write_answers(tmp_path / "a.csv", [])], KEY)
