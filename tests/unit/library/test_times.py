"""Times that 64 bits of nanoseconds cannot hold are refused: a wrapped time would be another time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from driftlock.errors import InputError
from driftlock.library.inputs import row_times, time_in_ns

BEYOND: list[Any] = [
    "0001-01-01T00:00:00Z",
    "1677-09-21T00:00:00Z",
    "9999-12-31T23:59:59Z",
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
    2**63,
    -(2**63),
    10**40,
    np.datetime64("0001-01-01"),
    np.datetime64("9999-12-31T00:00:00"),
    np.datetime64("NaT"),
    "+9999-01-01",
    "-2026-01-01",
    "12026-01-01T00:00:00Z",
    np.datetime64(2**62, "Y"),
    np.datetime64(2**62, "D"),
    np.datetime64(-(2**62), "us"),
]


@pytest.mark.parametrize("time", BEYOND, ids=[str(n) for n in range(len(BEYOND))])
def test_times_beyond_are_refused_alone_and_in_a_column(time: Any) -> None:
    with pytest.raises(InputError):
        time_in_ns(time)
    with pytest.raises(InputError):
        row_times([time, time], 2)
    if isinstance(time, np.datetime64):
        with pytest.raises(InputError):
            row_times(np.array([np.datetime64("2026-01-01"), time]), 2)


def test_a_column_of_unsigned_numbers_is_not_wrapped() -> None:
    with pytest.raises(InputError):
        row_times(np.array([1, 2**63], np.uint64), 2)


def test_masked_times_are_refused() -> None:
    days = np.array(["2026-01-01", "2026-01-02"], "datetime64[ns]")
    for times in (days, days.astype(np.int64)):
        assert (
            row_times(np.ma.masked_array(times, [False, False]), 2).tolist() == row_times(times, 2).tolist()
        )
        with pytest.raises(InputError, match="masked"):
            row_times(np.ma.masked_array(times, [False, True]), 2)


def test_times_within_are_exact() -> None:
    told = "2026-11-23T10:00:00.123456789Z"
    expected = 1_795_428_000_123_456_789
    assert time_in_ns(told) == expected
    assert time_in_ns(np.datetime64(told[:-1])) == expected
    assert row_times(np.array([told[:-1]], "datetime64[ns]"), 1).tolist() == [expected]
    assert time_in_ns(datetime(1678, 1, 1, tzinfo=UTC)) < 0 < time_in_ns(datetime(2261, 12, 31, tzinfo=UTC))
    assert time_in_ns(np.datetime64(7_000_000_000, "as")) == 7
    assert time_in_ns(np.datetime64("2026", "Y")) == time_in_ns("2026-01-01T00:00:00Z")
    assert time_in_ns("1969-12-31T23:59:59Z") == -1_000_000_000
