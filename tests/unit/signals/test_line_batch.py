"""Lines in any number of calls: each line's time against the obvious way, one line after the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.signals.line_batch import ROWS_A_VOTE_MAX, VOTES, LineReader, joined
from driftlock.signals.text_time import FORMATS, line_times

STAMPED = [
    b"2026-03-01 00:00:07 iso",
    b"2026-03-01T00:00:08Z iso",
    b"20260301-00:00:09 health",
    b"1772323210 epoch",
    b"Mar  1 00:00:11 host syslog",
    b'10.0.0.1 - - [01/Mar/2026:00:00:12 +0000] "GET / HTTP/1.1" 200 1',
]
some_lines = st.lists(st.sampled_from([*STAMPED, b"no time", b"", b"17 of 20"]), max_size=120)


def one_by_one(lines: list[bytes], votes: list[int]) -> list[int]:
    """A line votes for all formats that read it while fewer than `VOTES` votes are given; the leading format
    reads it."""
    times = []
    for line in lines:
        buffer, bounds = joined([line])
        found = [int(line_times(buffer, bounds[:-1], bounds[1:], form)[0]) for form in FORMATS]
        if sum(votes) < VOTES:
            votes[:] = [count + (time > 0) for count, time in zip(votes, found, strict=True)]
        times.append(found[int(np.argmax(votes))])
    return times


@given(some_lines, st.lists(st.integers(0, 120), max_size=4))
@settings(deadline=None)
def test_each_line_has_the_time_that_the_leading_format_reads(lines: list[bytes], cuts: list[int]) -> None:
    votes = [0] * len(FORMATS)
    expected = one_by_one(lines, votes)
    reader = LineReader()
    bounds = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    parts = [reader.read(lines[low:high])[1].tolist() for low, high in pairwise(bounds)]
    assert [time for part in parts for time in part] == expected
    assert reader.votes == votes


def test_a_time_that_comes_after_many_lines_without_one_is_read() -> None:
    lines = [b"no time"] * (2 * ROWS_A_VOTE_MAX) + STAMPED[:1]
    assert np.flatnonzero(LineReader().read(lines)[1]).tolist() == [len(lines) - 1]
