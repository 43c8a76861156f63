"""Series in CSV files: separators, gaps, and what is told of cells that are no numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from driftlock.errors import InputError
from driftlock.signals.csv_series import GAPS, CsvSeries, read_series, series_separator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "series.csv"


def read_from(path: Path, separator: str = ",") -> CsvSeries:
    return read_series(path.name, path.read_bytes(), separator)


def test_series(path: Path) -> None:
    path.write_bytes(b"timestamp,value\n2014-07-01 00:00:00,10844\n2014-07-01 00:30:00, 8.5 \n")
    times, values, _ = read_from(path)
    assert times == ["2014-07-01 00:00:00", "2014-07-01 00:30:00"]
    assert values.tolist() == [10844.0, 8.5]


def test_series_columns_by_name_or_place(path: Path) -> None:
    path.write_text("value,timestamp\n1,a\n")
    assert read_from(path)[0] == ["a"]
    path.write_text("t,v\na,1\n")
    assert read_from(path)[1].tolist() == [1.0]


@pytest.mark.parametrize(
    ("begin", "separator"),
    [
        (b"timestamp,value\n", ","),
        (b"timestamp;value;unit\r\n", ";"),
        (b"\xef\xbb\xbfTimestamp\tValue\n", "\t"),
        (b'"timestamp" , "value"\n', ","),
        (b"timestamp value\n", None),
        (b"timestamp|value\n", None),
        (b"2026-01-01 timestamp,value\n", None),
        (b"", None),
    ],
)
def test_the_separator_is_that_of_the_header(begin: bytes, separator: str | None) -> None:
    assert series_separator(begin) == separator


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_columns_are_separated_as_told(separator: str, path: Path) -> None:
    text = "timestamp,value,host\n2026-01-01,1.5,a\n2026-01-02,2,b\n".replace(",", separator)
    path.write_text(text)
    assert series_separator(text.encode()) == separator
    times, values, lines = read_from(path, separator)
    assert lines.tolist() == [2, 3]
    assert times == ["2026-01-01", "2026-01-02"]
    assert values.tolist() == [1.5, 2.0]


@pytest.mark.parametrize("gap", GAPS)
def test_a_cell_without_a_value_is_a_gap(gap: str, path: Path) -> None:
    path.write_text(f"timestamp,value\na,1\nb,{gap}\nc, {gap.upper()} \nd,2\n")
    times, values, _ = read_from(path)
    assert times == ["a", "b", "c", "d"]
    assert [math.isnan(value) for value in values] == [False, True, True, False]


def test_empty_lines_are_no_rows(path: Path) -> None:
    path.write_text("timestamp,value\n")
    assert len(read_from(path)[0]) == 0
    path.write_text("timestamp,value\n\n")
    assert len(read_from(path)[0]) == 0
    path.write_text("timestamp,value\na,1\n\nb,2\n\n")
    assert read_from(path).timestamps == ["a", "b"]
    assert read_from(path).lines.tolist() == [2, 4]
    path.write_text("timestamp,value\na,1\n\nb,x\n")
    with pytest.raises(InputError, match="line 4: 'x'"):
        read_from(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timestamp,value\na,1\nb,x\n", "line 3: 'x' is not"),
        ("timestamp,value\na,1\nb,inf\n", "line 3: 'inf'"),
        ("timestamp\na\n", "two columns"),
        ("timestamp,value\na,1\nb,1,2\n", "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
    ],
)
def test_bad_series_are_told_with_their_line(path: Path, text: str, told: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=told) as fault:
        read_from(path)
    assert fault.value.hint is None


@pytest.mark.parametrize("text", ["timestamp;value\na;1\nb;-20,5\n", 'timestamp;value\na;1\nb;"+20,5"\n'])
def test_a_decimal_comma_is_told_as_such(text: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=r"line 3: '.20,5'") as fault:
        read_from(path, ";")
    assert "decimal point" in str(fault.value.hint)
