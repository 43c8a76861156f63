"""What people hand in, in the shapes that the core takes: lines, times, one value or one a row.

Owns conversions and their errors only. Inputs are never written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.series_time import times_in_ns
from driftlock.errors import InputError

Line = str | bytes
LinesIn = Line | Iterable[Line]
Time = int | str | datetime | np.datetime64
TimesIn = Time | Sequence[Time] | npt.NDArray[np.int64] | npt.NDArray[np.datetime64]

YEAR_FIRST, YEAR_LAST = 1678, 2261
TIME_NS_END = 2**63
_FIRST, _LAST = np.datetime64(f"{YEAR_FIRST}-01-01", "us"), np.datetime64(f"{YEAR_LAST}-12-31T23:59:59", "us")
_COARSE = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us")
_YEAR = re.compile(r"\s*([+-]?)(\d{4,})-\d")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lines_of(lines: LinesIn) -> list[bytes]:
    """A text cut at its line breaks, or the items of an iterable, each one line; text as UTF-8."""
    if isinstance(lines, bytes):
        return lines.split(b"\n")[: -1 if lines.endswith(b"\n") else None]
    if isinstance(lines, str):
        return lines_of(encoded(lines))
    if not isinstance(lines, Iterable):
        raise InputError(f"lines are a text or an iterable of lines, not {type(lines).__name__}")
    return [encoded(line) for line in lines]


def encoded(line: Line) -> bytes:
    """One line as bytes. Raises InputError for what is neither text nor bytes."""
    if isinstance(line, str):
        return line.encode("utf-8", "replace")
    if isinstance(line, bytes | bytearray | memoryview):
        return bytes(line)
    raise InputError(f"a line is str or bytes, not {type(line).__name__}")


def as_bytes(snapshot: object) -> bytes:
    """A snapshot as bytes. Raises InputError for what is not bytes-like."""
    if isinstance(snapshot, bytes | bytearray | memoryview):
        return bytes(snapshot)
    raise InputError(f"a snapshot is bytes, not {type(snapshot).__name__}")


def time_in_ns(time: Time) -> int:
    """Nanoseconds since 1970 of an int (nanoseconds already), ISO 8601 text, aware datetime or datetime64.

    Raises InputError for anything else: a float could be seconds or milliseconds, and a datetime without a
    zone any of 38 times.
    """
    if isinstance(time, bool | float | np.floating):
        raise InputError(f"the time {time!r} has no unit", hint="give nanoseconds as an int, or a datetime")
    if isinstance(time, int | np.integer):
        return _held(int(time), time)
    if isinstance(time, np.datetime64):
        return int(_datetimes_in_ns(np.array([time]))[0])
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise InputError(f"the time {time.isoformat()} has no zone", hint="use datetime.now(UTC)")
        return _held((time - _EPOCH) // timedelta(microseconds=1) * 1_000, time.isoformat())
    if isinstance(time, str):
        return int(_texts_in_ns([time])[0])
    raise InputError(f"{type(time).__name__} is not a time")


def _held(time_ns: int, told: object) -> int:
    """`time_ns` if 64 bits hold it: the years 1678 to 2261. A wrapped time would be another time."""
    if not -TIME_NS_END < time_ns < TIME_NS_END:
        raise InputError(f"the time {told} is not of the years {YEAR_FIRST} to {YEAR_LAST}")
    return time_ns


def _datetimes_in_ns(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if np.isnat(times).any():
        raise InputError("NaT is not a time")
    if np.datetime_data(times.dtype)[0] in _COARSE:  # these hold times that nanoseconds do not
        for extreme in (times.min(), times.max()) if len(times) else ():
            if not _FIRST.astype(times.dtype) <= extreme <= _LAST.astype(times.dtype):
                raise InputError(f"the time {extreme} is not of the years {YEAR_FIRST} to {YEAR_LAST}")
    return times.astype("datetime64[ns]").astype(np.int64)


def _texts_in_ns(texts: list[str]) -> npt.NDArray[np.int64]:
    found = times_in_ns(texts)
    for text in texts:
        year = _YEAR.match(text)
        if year and not (year[1] == "" and YEAR_FIRST <= int(year[2]) <= YEAR_LAST):
            raise InputError(f"the time {text} is not of the years {YEAR_FIRST} to {YEAR_LAST}")
    return found


def row_times(times: TimesIn, rows: int) -> npt.NDArray[np.int64]:
    """One time for each row, from one for all of them or as many as there are rows."""
    if isinstance(times, str | int | datetime | float | np.generic):
        return np.full(rows, time_in_ns(times), np.int64)
    if isinstance(times, np.ma.MaskedArray):
        if np.ma.getmaskarray(times).any():
            raise InputError("a masked value is not a time")
        times = np.asarray(times)
    if isinstance(times, np.ndarray) and times.dtype.kind == "M":
        found = _datetimes_in_ns(times)
    elif isinstance(times, np.ndarray) and times.dtype.kind in "iu":
        _held(int(times.max(initial=0)), times.max(initial=0))
        found = times.astype(np.int64)
    elif len(times) and all(isinstance(time, str) for time in times):
        found = _texts_in_ns([str(time) for time in times])
    else:
        found = np.array([time_in_ns(time) for time in times], np.int64)
    if len(found) != rows:
        raise InputError(f"there are {len(found)} times for {rows} rows")
    return found
