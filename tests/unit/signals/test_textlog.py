"""Text logs: lines, times, keys, series."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.errors import UsageError
from driftlock.signals.text_time import FORMATS, line_times
from driftlock.signals.textlog import check_pattern, extract_keys, line_bounds, text_batch

LOGHUB = Path(__file__).parents[4] / "shared" / "data" / "loghub"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def canonical(data: bytes) -> list[str]:
    batch = text_batch(data)
    return [batch.canonical[i].decode() for i in range(len(batch))]


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("2015-10-18 18:01:47,978 INFO x", datetime(2015, 10, 18, 18, 1, 47, 978_000, tzinfo=UTC)),
        ("2015-10-18T18:01:47.978Z INFO x", datetime(2015, 10, 18, 18, 1, 47, 978_000, tzinfo=UTC)),
        ("[2015-10-18T18:01:47+02:00] x", datetime(2015, 10, 18, 16, 1, 47, tzinfo=UTC)),
        ("2015/10/18 18:01:47 [error] x", datetime(2015, 10, 18, 18, 1, 47, tzinfo=UTC)),
        (
            "nova.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 x",
            datetime(2017, 5, 16, 0, 0, 0, 8_000, tzinfo=UTC),
        ),
        ("081109 203530 148 INFO x", datetime(2008, 11, 9, 20, 35, 30, tzinfo=UTC)),
        ("17/06/09 20:10:40 INFO x", datetime(2017, 6, 9, 20, 10, 40, tzinfo=UTC)),
        ("20171223-22:15:9:606|x", datetime(2017, 12, 23, 22, 15, 9, 606_000, tzinfo=UTC)),
        ("1700000000 x", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000.25 x", datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)),
        ("1700000000250 x", datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)),
        ("[Sun Dec 04 04:47:44 2005] [notice] x", datetime(2005, 12, 4, 4, 47, 44, tzinfo=UTC)),
        ("Dec  4 04:47:44 host x", datetime(2024, 12, 4, 4, 47, 44, tzinfo=UTC)),
        ("<13>Feb 29 04:47:44 host x", datetime(2024, 2, 29, 4, 47, 44, tzinfo=UTC)),
        ('1.2.3.4 - - [04/Dec/2005:04:47:44 -0130] "GET /"', datetime(2005, 12, 4, 6, 17, 44, tzinfo=UTC)),
        ("2016-12-31 23:59:60 leap", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_timestamps(line: str, moment: datetime) -> None:
    batch = text_batch(line.encode() + b"\nno time here\n", year=2024)
    assert batch.time_ns.tolist() == [ns(moment), 0]


@pytest.mark.parametrize(
    "line",
    [
        "2015-02-29 01:01:01",
        "2015-13-01 01:01:01",
        "2015-01-01 24:01:01",
        "3015-01-01 01:01:01",
        "1815-01-01 01:01:01",
        "2015-01-01",
        "12345",
    ],
)
def test_what_no_calendar_has_is_no_time(line: str) -> None:
    assert text_batch(line.encode()).time_ns.tolist() == [0]


@given(st.integers(1, 7 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us)))
@settings(deadline=None)
def test_iso_times_agree_with_the_calendar(moment: datetime) -> None:
    line = moment.strftime("%Y-%m-%d %H:%M:%S.%f").encode()
    assert text_batch(line).time_ns.tolist() == [ns(moment)]


@given(st.binary(max_size=80))
@settings(deadline=None, max_examples=200)
def test_any_bytes_have_a_time_or_none(line: bytes) -> None:
    buffer = np.frombuffer(line, dtype=np.uint8)
    for form in FORMATS:
        assert line_times(buffer, np.array([0]), np.array([len(line)]), form)[0] >= 0


def test_lines() -> None:
    for data, expected in [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"\n", [b""]),
        (b"a\n\nb", [b"a", b"", b"b"]),
    ]:
        starts, ends = line_bounds(np.frombuffer(data, dtype=np.uint8))
        assert [data[s:e] for s, e in zip(starts, ends, strict=True)] == expected
    assert canonical(b"a 1\r\n\r\nb 2\r\n") == ["a <num>", "", "b <num>"]
    assert len(text_batch(b"")) == 0


def test_json_lines() -> None:
    data = (
        b'{"message": "user 17 in", "level": "INFO", "ts": 1700000000.5,'
        b' "user": "bob", "n": 5, "x": [1], "y": 1.5}\n'
        b'{"msg": "out", "time": "2024-01-01T00:00:00Z", "password": "hunter2 x"}\n'
        b"not json 5\n"
        b'{"other": 5}\n'
        b'{"message": "a\\nb", "@timestamp": 1700000000123}\n'
    )
    batch = text_batch(data)
    assert canonical(data) == [
        "INFO user <num> in n=<num> user=bob x=<list> y=<num>",
        'out password="<secret>"',
        "not json <num>",
        '{"other": <num>}',
        "a⏎b",
    ]
    assert batch.time_ns.tolist() == [
        1_700_000_000_500_000_000,
        1_704_067_200_000_000_000,
        0,
        0,
        1_700_000_000_123_000_000,
    ]
    assert data[batch.starts[2] : batch.ends[2]] == b"not json 5"


def test_hostile_json_lines_are_text() -> None:
    data = b'{"message": "x"}\n' + b'{"a":' * 5_000 + b"}" * 5_000 + b'\n{"message": "\xff"}\n'
    assert len(text_batch(data)) == 3


def keys(data: bytes, pattern: str) -> list[bytes | None]:
    batch = text_batch(data)
    found = extract_keys(data, pattern)
    assert len(found.codes) == len(batch)
    assert found.names == list(dict.fromkeys(found.names))
    return [found.names[code] if code >= 0 else None for code in found.codes.tolist()]


def test_session_keys() -> None:
    data = b"Receiving blk_-16 from\nnothing\nDeleting blk_42.\n"
    assert keys(data, r"blk_-?\d+") == [b"blk_-16", None, b"blk_42"]
    assert keys(data, r"blk_(-?\d+)") == [b"-16", None, b"42"]
    assert keys(data, r"(?:blk)_(?P<id>-?\d+)") == [b"-16", None, b"42"]
    assert keys(data, r"[(b]lk_-?\d+") == [b"blk_-16", None, b"blk_42"]
    assert keys(b"id=\xff\n", r"id=(.)") == ["�".encode()]


@given(st.lists(st.text(alphabet="ab1_- \n", max_size=20), max_size=8))
@settings(deadline=None)
def test_session_keys_agree_with_re(parts: list[str]) -> None:
    data = "\n".join(parts).encode()
    starts, ends = line_bounds(np.frombuffer(data, dtype=np.uint8))
    found = [re.search(r"a(-?\d+)", data[s:e].decode()) for s, e in zip(starts, ends, strict=True)]
    assert keys(data, r"a(-?\d+)") == [m and m[1].encode() for m in found]


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=x)", "a{1000}{1000}"])
def test_patterns_that_cannot_run_are_usage_errors(pattern: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        check_pattern(pattern)


def test_a_bad_pattern_is_told_in_the_words_of_the_engine() -> None:
    with pytest.raises(UsageError, match="unclosed group"):
        check_pattern("(")


def test_every_line_of_the_real_logs_has_its_time() -> None:
    # Present beside a development checkout only; the formats themselves are tested above.
    for path in sorted(LOGHUB.glob("*.log")):
        batch = text_batch(path.read_bytes(), year=2020)
        assert (batch.time_ns > 0).all(), path.name
