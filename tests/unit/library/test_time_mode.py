"""`Detector(mode="time")`: silence and floods by the lines' own clock, however lines come in calls."""

from __future__ import annotations

import pickle
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_logs import BEGIN, in_pieces, web_log

from driftlock import Detector
from driftlock.errors import InputError

LOG = web_log(5, 30_000)  # a hundred and fifty lines a minute, for two hundred minutes
END = BEGIN + timedelta(minutes=200)


def test_silence_alarms_when_the_clock_is_moved_on() -> None:
    detector = Detector(mode="time", block_s=60)
    calm = detector.observe(LOG)
    assert detector.warm_up.phase == "ready"
    assert {v.events for v in calm} == {150}
    silent = detector.advance(END + timedelta(minutes=5))
    assert [v.events for v in silent] == [150, 0, 0, 0]
    assert [v.alarm for v in silent] == [False, True, False, False]
    assert silent[1].kind == "silence"
    assert "no line came" in silent[1].explanation
    assert detector.advance(END + timedelta(days=300)) == []


def test_a_flood_alarms_with_its_first_whole_block() -> None:
    detector = Detector(mode="time", block_s=60)
    detector.observe(LOG)
    lines = [f"GET /item/{n} took {n} ms" for n in range(3_000)]
    times = [END + timedelta(seconds=n * 0.04) for n in range(3_000)]
    found = detector.observe(lines, time=times) + detector.advance(END + timedelta(minutes=2))
    (alarm,) = [v for v in found if v.alarm]
    assert (alarm.kind, alarm.events) == ("unit", 1_500)
    assert "1,500 lines came" in alarm.explanation
    assert alarm.detail["volume"]["lines_now"] == 1_500


@given(st.lists(st.integers(1, 2_500), max_size=12), st.integers(1, 2_500))
@settings(max_examples=10, deadline=None)
def test_neither_calls_nor_snapshots_change_a_verdict(cuts: list[int], restart: int) -> None:
    log = web_log(6, 3_000)
    log[2_000:2_400] = []  # a pause
    log.insert(500, log[100])  # a late line, one without a time, and one of another century
    log[700] = log[700].split("Z ")[1]
    log[900] = "2126" + log[900][4:]
    whole = Detector(mode="time", block_s=5, baseline_units=60)
    expected = whole.observe(log)
    assert any(v.kind == "silence" for v in expected)
    detector = Detector(mode="time", block_s=5, baseline_units=60)
    found = in_pieces(detector, log[:restart], cuts)
    restored = pickle.loads(pickle.dumps(detector))
    found += in_pieces(restored, log[restart:], cuts)
    assert found == expected
    assert restored.snapshot() == whole.snapshot()
    assert restored.lines_late == whole.lines_late == 1


def test_what_is_told_as_the_time_counts_and_lines_before_any_time_belong_to_no_block() -> None:
    detector = Detector(mode="time", block_s=10, baseline_units=5)
    detector.observe(["started"] * 7)
    second = 1_000_000_000
    found = detector.observe(["tick"] * 200, time=np.arange(1_000, 1_200) * second)
    assert [v.events for v in found] == [10] * (20 - 2 - 5)
    assert found[0].first == 7 + 10 * 6 + 1


@pytest.mark.parametrize("block_s", [0, -1, 86_401, 0.5])
def test_blocks_are_whole_seconds_up_to_a_day(block_s: float) -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        Detector(mode="time", block_s=block_s)  # type: ignore[arg-type]


def test_sessions_and_whole_units_are_of_another_mode() -> None:
    detector = Detector(mode="time")
    with pytest.raises(ValueError, match="session"):
        detector.observe(["a"], session="x")
    with pytest.raises(ValueError, match="session"):
        detector.observe_unit(["a"])
    with pytest.raises(InputError):
        detector.advance(1.5)  # type: ignore[arg-type]
