"""Calibration by hour of the day: which set a unit is ranked in, and that its p-values hold in every hour."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from core_logs import SECOND_NS, feed, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.calibration_hours import (
    HOUR_DAYS_MIN,
    HOUR_SCORES_MAX,
    HOUR_SCORES_MIN,
    HOURS,
    NO_HOUR,
    CalibrationByHour,
    Rank,
    hour_of,
    hours_of,
)
from driftlock.core.log_stream import LogSettings, LogStream

HOUR_NS = 3600 * SECOND_NS


class Obvious:
    """The oracle: all scores with their hours, sorted out anew for each question."""

    def __init__(self, size_max: int, threshold: float) -> None:
        self.size_max, self.past = size_max, list[tuple[float, int]]()
        self.least = max(HOUR_SCORES_MIN, int(np.ceil(2 / threshold)))
        self.hour_max = min(HOUR_SCORES_MAX, size_max)

    def add(self, score: float, hour: int) -> None:
        self.past.append((score, hour))

    def rank(self, score: float, hour: int) -> Rank:
        held, days = list[float](), list[int]()
        for past, at in self.past:
            if NO_HOUR not in (hour, at) and at % HOURS == hour % HOURS:
                held.append(float(np.float32(past)))
                days += [at // HOURS] if not days or days[-1] != at // HOURS else []
        kept = held[-self.hour_max :]
        if self.least <= len(kept) and len(days) >= HOUR_DAYS_MIN:
            near = np.float32(score - slack(len(held), len(kept)))
            return Rank(sum(s >= near for s in kept), len(kept), True)
        whole = [past for past, _ in self.past[-self.size_max :]]
        near = np.float32(score - slack(len(self.past), len(whole)))
        return Rank(sum(np.float32(s) >= near for s in whole), len(whole), False)


def slack(added: int, held: int) -> float:
    """A quarter bit for each time that the number of scores doubled since the oldest one held."""
    if added == held:
        return 0.75
    return min(max(round(0.25 * math.log2(added / (added - held)) * 2**20) / 2**20, 0.1), 0.75)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([150, 300, 2_000]),
    st.sampled_from([0.05, 0.01, 0.001]),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_ranks_equal_their_definition(seed: int, size_max: int, threshold: float, hours: int) -> None:
    rng = np.random.default_rng(seed)
    fast, slow = CalibrationByHour(size_max, threshold=threshold), Obvious(size_max, threshold)
    for _ in range(8):
        for hour in rng.permutation(hours).tolist():
            at = NO_HOUR if rng.random() < 0.1 else hour + HOURS * int(rng.integers(0, 9))
            for score in (rng.integers(0, 40, rng.integers(0, 120)) / 7).tolist():
                fast.add(score, at)
                slow.add(score, at)
            for hour_asked in (at, hour, hour + HOURS, NO_HOUR):
                score = float(rng.integers(0, 40)) / 7
                rank = fast.rank(score, hour_asked)
                assert rank == slow.rank(score, hour_asked)
                assert rank.size == fast.size(hour_asked)
                assert rank.of_hour == fast.uses(hour_asked)
    twin = CalibrationByHour(size_max, threshold=threshold)
    twin.load(fast.state())
    for each in (fast, twin):
        each.add(1.0, 1)
    assert twin.state() == fast.state()


def test_an_hour_is_used_once_it_has_scores_enough_from_three_days() -> None:
    one = CalibrationByHour(2_000, threshold=0.01)
    for day, count in ((0, 150), (1, 60), (2, 1)):
        assert not one.uses(5)
        for _ in range(count):
            one.add(float(day), 5 + day * HOURS)
    assert one.uses(5 + 9 * HOURS)
    assert one.rank(9.0, 5) == (0, 211, True)
    assert not one.uses(6)
    assert not one.uses(NO_HOUR)
    assert one.quantile(0.5, 5) == 0.0
    assert one.quantile(0.99, 5) == 1.0


@pytest.mark.parametrize("threshold", [0.05, 0.01, 0.0079])
def test_the_floor_of_an_hour_never_rises_above_half_the_threshold(threshold: float) -> None:
    one = CalibrationByHour(2_000, threshold=threshold)
    for count in range(HOUR_SCORES_MAX + 1):
        one.add(0.0, HOURS * count)
    assert one.uses(0)
    assert one.least <= HOUR_SCORES_MAX
    assert 1 / (1 + one.least) <= threshold / 2


def test_where_an_hour_cannot_reach_the_threshold_it_is_not_kept() -> None:
    strict, timeless = CalibrationByHour(2_000, threshold=0.001), CalibrationByHour(2_000, threshold=0.01)
    for count in range(3_000):
        strict.add(0.0, count)
        timeless.add(0.0, NO_HOUR)
    assert strict.scores.nbytes == timeless.scores.nbytes == 0
    assert not strict.uses(0)


def test_a_new_threshold_keeps_the_hours_as_long_as_it_can_use_them() -> None:
    one = CalibrationByHour(2_000, threshold=0.01)
    for count in range(300):
        one.add(float(count), HOURS * count)
    for threshold, uses in ((0.05, True), (0.001, False)):
        other = CalibrationByHour(2_000, threshold=threshold)
        other.load(one.state())
        other.add(0.0, 0)
        assert other.uses(0) == uses
        assert other.whole.size == 301


def test_state_is_bounded() -> None:
    one = CalibrationByHour(2_000, threshold=0.01)
    for count in range(20_000):
        one.add(0.0, count)
    assert one.nbytes - one.whole.nbytes <= 26 * 1024


def test_hours_are_those_of_utc() -> None:
    times = [0, -1, 1, HOUR_NS - 1, HOUR_NS, 25 * HOUR_NS, 2**63 - 1]
    assert hours_of(np.array(times)).tolist() == [hour_of(time) for time in times]
    assert [hour_of(time) for time in times[:6]] == [NO_HOUR, NO_HOUR, 0, 0, 1, 25]


# ---- in a stream

DAY_S = 86_400
HALF_BLOCKS = LogSettings(hop_size=10, window_size=20, alert_budget=0.0)


def seasonal(
    rng: np.random.Generator, *, days: int, step_s: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Events and their times: other templates by night than by day, a mix of both at dawn and dusk."""
    times = np.arange(0, days * DAY_S, step_s) + 1
    hours = times % DAY_S / 3600
    day = np.clip(np.minimum((hours - 5) / 2, (21 - hours) / 2), 0, 1)
    by_day, by_night = zipf(rng, len(times), 40, 1.0), 40 + zipf(rng, len(times), 20, 1.0)
    return np.where(rng.random(len(times)) < day, by_day, by_night), times * SECOND_NS


def rates(threshold: float) -> tuple[float, float, int]:
    """Realised rates of p ≤ .05, over all units and in the worst of twelve parts of the day; units."""
    found: dict[int, list[bool]] = defaultdict(list)
    for seed in range(4):
        events, times = seasonal(np.random.default_rng(seed), days=14, step_s=15)
        stream = LogStream(replace(HALF_BLOCKS, p_value_threshold=threshold))
        for verdict in feed(stream, events, times_ns=times, cuts=range(5_000, len(events), 5_000)):
            if verdict.last_time_ns > 7 * DAY_S * SECOND_NS:
                found[hour_of(verdict.last_time_ns) % HOURS // 2].append(verdict.p_value <= 0.05)
    every = [hit for hits in found.values() for hit in hits]
    return float(np.mean(every)), max(float(np.mean(hits)) for hits in found.values()), len(every)


def test_p_values_hold_in_every_part_of_the_day() -> None:
    """Beside it the same streams under a threshold that no hour can reach, as if hours were one."""
    all_hours, worst, units = rates(0.015)
    assert units > 15_000
    assert all_hours <= 1.2 * 0.05
    assert worst <= 1.2 * 0.05 + 0.01  # the highest of twelve, each of 1,300 units: noise has its share
    _, worst_together, _ = rates(0.001)
    assert worst_together > 0.1


def test_a_verdict_tells_the_set_that_it_was_ranked_in_and_so_does_the_warm_up() -> None:
    events, times = seasonal(np.random.default_rng(1), days=10, step_s=15)
    settings = replace(HALF_BLOCKS, p_value_threshold=0.015, alert_budget=1e9)
    stream = LogStream(settings)
    verdicts = feed(stream, events, times_ns=times)
    assert verdicts[-1].calibration_size < 256
    assert stream.warm_up.calibration_size == min(verdicts[-1].calibration_size + 1, HOUR_SCORES_MAX)
    assert stream.warm_up.earliest_p == 1 / (1 + stream.warm_up.calibration_size)
    assert stream.warm_up.phase == "ready"
    strange = [verdict for verdict in verdicts if verdict.alarm and verdict.calibration_size <= 256]
    assert any("of this hour of the day" in verdict.explanation for verdict in strange)


def test_a_stream_restored_halfway_goes_on_alike() -> None:
    events, times = seasonal(np.random.default_rng(2), days=12, step_s=30)
    settings = replace(HALF_BLOCKS, p_value_threshold=0.02, alert_budget=1e9)
    half = len(events) * 5 // 6
    whole = LogStream(settings)
    feed(whole, events[:half], times_ns=times[:half])
    other = LogStream.restore(settings, whole.snapshot())
    rest = [
        feed(each, events[half:], times_ns=times[half:], first=half, cuts=cuts)
        for each, cuts in ((whole, ()), (other, (33, 2_000)))
    ]
    assert rest[0] == rest[1]
    assert any(verdict.calibration_size <= HOUR_SCORES_MAX for verdict in rest[0])
    assert whole.snapshot() == other.snapshot()
