"""Answers of readers, from the CSV files that the pages save."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from angiomorph.errors import InputError
from angiomorph.readers.key import Key

QUESTIONS = ("fidelity", "artefacts", "overall")
COLUMNS = ("study", "reader", "case", "panel", "rank", *QUESTIONS, "seconds")
POINTS = 5
LONGEST = 86_400.0  # seconds in a day


@dataclass(frozen=True)
class Answer:
    """What one reader said of one panel of one case.

    Args:
        reader: the name that the reader gave.
        case: the code of the case.
        method: name of the method behind the panel.
        rank: 1 for the best of the case.
        points: to each of `QUESTIONS`, 1 to 5, 5 the best.
        seconds: time that the reader looked at the case, s.
    """

    reader: str
    case: str
    method: str
    rank: int
    points: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, str]

    def refuse(self, column: str, expected: str, remedy: str = "save the answers again from the last page") -> InputError:
        return InputError(
            f"{self.path}, line {self.line}: expected {column} {expected}, found {self.cells[column]!r}; {remedy}"
        )


def read_answers(paths: Sequence[Path], key: Key) -> list[Answer]:
    """Return the answers of several readers.

    Args:
        paths: CSV files of the pages.
        key: the study's key.

    Raises:
        InputError: names file and line, what was expected, what was found, and the remedy.
    """
    rows = [row for path in paths for row in _read_rows(path)]
    answers, seen = [], dict[tuple[str, str, str], _Row]()
    for row in rows:
        answer = _read(row, key)
        place = (answer.reader, answer.case, answer.method)
        if place in seen:
            before = seen[place]
            raise InputError(
                f"{row.path}, line {row.line}: expected one answer of reader {answer.reader!r} to case {answer.case}, panel "
                f"{row.cells['panel']}, found another in {before.path}, line {before.line}; keep the file that counts"
            )
        seen[place] = row
        answers.append(answer)
    if not answers:
        named = ", ".join(map(str, paths)) or "answers"
        raise InputError(f"{named}: expected at least one answer, found none; save the answers again from the last page")
    _check_whole(answers, seen, key)
    return answers


def _read_rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            head = next(lines, [])
            if tuple(head) != COLUMNS:
                raise InputError(
                    f"{path}, line 1: expected {','.join(COLUMNS)}, found {','.join(head)[:100]!r}; "
                    "give the file as the page saved it, not as a spreadsheet program did"
                )
            for cells in lines:
                if len(cells) != len(COLUMNS):
                    raise InputError(
                        f"{path}, line {lines.line_num}: expected {len(COLUMNS)} values, found {len(cells)}; "
                        "give the file as the page saved it"
                    )
                yield _Row(path, lines.line_num, dict(zip(COLUMNS, cells, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: expected a CSV file of answers, but it cannot be read: {reason}; save it again") from error


def _read(row: _Row, key: Key) -> Answer:
    cells = row.cells
    if cells["study"] != key.study:
        raise row.refuse("study", key.study, "this file is of another study; score it with that one's folder")
    if not cells["reader"].strip():
        raise row.refuse("reader", "with a name", "write the reader's name into the file")
    panels = key.panels.get(cells["case"])
    if panels is None:
        raise row.refuse("case", f"one of {', '.join(key.panels)}")
    if cells["panel"] not in panels:
        raise row.refuse("panel", f"one of {', '.join(panels)}")
    points = tuple(_read_whole(row, name, POINTS) for name in QUESTIONS)
    return Answer(
        cells["reader"].strip(),
        cells["case"],
        panels[cells["panel"]],
        _read_whole(row, "rank", len(panels)),
        points,
        _read_seconds(row),
    )


def _read_whole(row: _Row, column: str, last: int) -> int:
    text = row.cells[column]
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= last):
        raise row.refuse(column, f"a whole number from 1 to {last}")
    return int(text)


def _read_seconds(row: _Row) -> float:
    try:
        seconds = float(row.cells["seconds"])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST:
        raise row.refuse("seconds", f"a number from 0 to {LONGEST:.0f}")
    return seconds


def _check_whole(answers: Iterable[Answer], rows: dict[tuple[str, str, str], _Row], key: Key) -> None:
    """Refuse a case of which a reader has judged only some panels, or given a rank twice."""
    ranks: dict[tuple[str, str], dict[str, int]] = {}
    for answer in answers:
        ranks.setdefault((answer.reader, answer.case), {})[answer.method] = answer.rank
    for (reader, case), given in ranks.items():
        row = next(row for (name, code, _), row in rows.items() if (name, code) == (reader, case))
        expected = list(range(1, len(key.methods) + 1))
        if sorted(given.values()) != expected:
            raise InputError(
                f"{row.path}, line {row.line}: expected ranks {', '.join(map(str, expected))} once each of reader "
                f"{reader!r} in case {case}, found {', '.join(map(str, given.values()))}; let the reader judge the case again"
            )
