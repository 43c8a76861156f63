"""The clock of a stream that has none but its own lines."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftlock import Detector
from driftlock.library.clock import LEAP_LINES, LEAP_NS, SECOND_NS, Clock

DAY_S = 86_400


def clocks(seconds: list[int], *, idle_s: int = 30) -> list[int]:
    clock = Clock(idle_s * SECOND_NS)
    return [int(t) // SECOND_NS for t in clock.at(np.array(seconds, np.int64) * SECOND_NS)]


def test_a_false_leap_does_not_move_it_and_a_true_gap_does() -> None:
    far = 200 * DAY_S
    assert clocks([10, 0, 12, far, 13, far, 14]) == [10, 10, 12, 12, 13, 13, 14]
    assert clocks([10, far, far + 5, far + 9, far + 10]) == [10, 10, 10, far, far + 10]
    assert clocks([10, far, 0, far + 1, 0, far + 2]) == [10, 10, 10, 10, 10, far]
    assert clocks([0, far, 5, far + 1]) == [0, far, far, far + 1]


def test_a_day_is_no_leap_and_neither_are_24_silences() -> None:
    days = [1 + n * DAY_S for n in range(20)]
    assert clocks(days) == days
    weeks = [1 + n * 7 * DAY_S for n in range(20)]
    assert clocks(weeks, idle_s=7 * DAY_S) == weeks


@given(
    st.lists(st.sampled_from([0, 5, 6, 50, DAY_S, DAY_S + 60, 9 * DAY_S, 99 * DAY_S]), max_size=30), st.data()
)
def test_it_equals_its_rule_line_by_line_however_lines_are_cut(
    seconds: list[int], data: st.DataObject
) -> None:
    now, ahead, expected = 0, list[int](), []
    for second in seconds:
        if second and (not now or second - now <= LEAP_NS // SECOND_NS):
            now, ahead = max(now, second), []
        elif second:
            ahead.append(second)
            if len(ahead) == LEAP_LINES:
                now, ahead = min(ahead), []
        expected.append(now)
    clock, found = Clock(30 * SECOND_NS), list[int]()
    while len(found) < len(seconds):
        size = data.draw(st.integers(1, len(seconds) - len(found)))
        part = np.array(seconds[len(found) : len(found) + size], np.int64) * SECOND_NS
        found += (clock.at(part) // SECOND_NS).tolist()
        twin = Clock(30 * SECOND_NS)
        twin.load(clock.state())
        clock = twin
    assert found == expected


def test_sessions_go_on_closing_after_a_line_from_another_century() -> None:
    lines = [f"2026-03-01T00:{n // 60 % 60:02}:{n % 60:02}Z job={n // 4} step {n % 4}" for n in range(3_500)]
    detector = Detector(mode="session", session_pattern=r"job=(\d+)")
    detector.observe(lines[:2_000])
    found = detector.observe(["2126-03-01T00:00:00Z job=x step 0", *lines[2_000:]])
    assert len(found) > 300
