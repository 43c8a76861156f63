"""A series in a CSV file with the columns `timestamp` and `value`.

Owns what separates columns, which cells are gaps, and which are no numbers. Must not know what a timestamp
means, nor detection.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from driftlock.errors import InputError

BAD_CELLS_TOLD = 60
GAPS = ("", "nan", "null", "none", "na", "n/a")
"""What people and programs write where there is no value, in any case of letters."""

_HEADER = re.compile(rb'\s*"?timestamp"?\s*([,;\t])\s*"?value', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def series_separator(begin: bytes) -> str | None:
    """What separates the columns in the file that begins so: `,`, `;` or tab; None when it is no series."""
    found = _HEADER.match(begin.removeprefix(b"\xef\xbb\xbf"))
    return found[1].decode() if found else None


class CsvSeries(NamedTuple):
    """The rows of a series: texts, numbers (NaN in gaps), and lines of the file from 1."""

    timestamps: list[str]
    values: npt.NDArray[np.float64]
    lines: npt.NDArray[np.int64]


def read_series(name: str, data: bytes, separator: str = ",") -> CsvSeries:
    """The columns `timestamp` and `value` (else the first two) of the CSV file of that name.

    Lines without any cell are left out. Raises `InputError`, with the line of the first cell
    that is neither a gap nor a finite number.
    """
    times, cells = _columns(name, data, separator)
    lines = np.arange(2, len(cells) + 2, dtype=np.int64)
    filled = (times.is_not_null() | cells.is_not_null()).to_numpy()
    times, cells, lines = times.filter(filled), cells.filter(filled), lines[filled]
    texts = cells.fill_null("").str.strip_chars()
    values = texts.cast(pl.Float64, strict=False)
    bad = ~(values.is_finite().fill_null(False) | texts.str.to_lowercase().is_in(GAPS))
    if bad.any():
        row = int(bad.arg_true()[0])
        cell = str(cells[row])[:BAD_CELLS_TOLD]
        comma = _DECIMAL_COMMA.fullmatch(texts[row]) is not None
        raise InputError(
            f"{name}, line {lines[row]}: {cell!r} is not a finite number",
            hint="Numbers are read with a decimal point, not a comma." if comma else None,
        )
    return CsvSeries(times.fill_null("").to_list(), values.fill_null(np.nan).to_numpy(), lines)


def _columns(name: str, data: bytes, separator: str) -> tuple[pl.Series, pl.Series]:
    try:
        table = pl.read_csv(data, infer_schema=False, separator=separator)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{name} cannot be read as CSV: {_first_line(error)}") from error
    if table.width < 2:
        raise InputError(f"{name} needs two columns: timestamp,value")
    if {"timestamp", "value"} <= set(table.columns):
        return table["timestamp"], table["value"]
    return table.to_series(0), table.to_series(1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
