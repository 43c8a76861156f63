"""How episodes of findings are told: the same from any checkpoint, alone or in runs, and to their end."""

from __future__ import annotations

import random
import uuid
from itertools import pairwise

import numpy as np
import pytest

from driftlock.core.log_settings import LogSettings
from driftlock.core.series import SeriesSettings
from driftlock.engine.engine import EPISODE_SILENT_NS, PartitionEngine
from driftlock.engine.finding import Course, Finding
from driftlock.engine.metrics import MetricSeries
from driftlock.engine.settings import EngineSettings
from driftlock.signals.batch import PointBatch, StreamKey
from support import telemetry

SETTINGS = EngineSettings(logs=LogSettings(p_value_threshold=0.01))
SECOND_NS = telemetry.SECOND_NS
FAULT = range(140, 152)
"""Messages that hold an outage, twelve seconds of a hundred lines."""


def outage(messages: int = 200) -> list[telemetry.Message]:
    rng = random.Random(4)
    return [
        telemetry.logs(
            rng, "shop", events=100, received_ns=telemetry.START_NS + n * SECOND_NS, strange=n in FAULT
        )
        for n in range(messages)
    ]


def feed(engine: PartitionEngine, messages: list[telemetry.Message], first: int = 1) -> list[Finding]:
    return [
        finding
        for position, m in enumerate(messages, first)
        for finding in engine.feed(
            m.kind, m.payload, tenant="t", received_ns=m.received_ns, position=position
        )
    ]


def restarted(engine: PartitionEngine) -> PartitionEngine:
    states, _ = engine.take_changes()
    fresh = PartitionEngine(SETTINGS)
    fresh.restore(states, now_ns=engine.now_ns)
    return fresh


def of_outage(findings: list[Finding]) -> Finding:
    (found,) = [f for f in findings if f.position - 1 in FAULT]
    return found


def test_an_outage_is_one_finding_whose_course_is_told_at_doublings_and_at_its_end() -> None:
    engine = PartitionEngine(SETTINGS)
    finding = of_outage(feed(engine, outage()))
    assert finding.verdict.episode is not None
    assert (finding.verdict.episode.units, finding.verdict.episode.open) == (1, True)
    told = [c for c in engine.courses if c.seed == finding.seed]
    assert {c.timestamp_ns for c in told} == {finding.timestamp_ns}
    assert [c.episode.open for c in told] == [True] * (len(told) - 1) + [False]
    grown = [c.episode.units for c in told[:-1]]
    assert grown == [2**n for n in range(1, len(grown) + 1)]
    last = told[-1].episode
    assert grown[-1] <= last.units < 2 * grown[-1]
    assert last.units >= 20, "twelve seconds are 48 blocks"
    for before, after in pairwise([c.episode for c in told]):
        assert before.last_event <= after.last_event
        assert before.peak_score <= after.peak_score
        assert before.lowest_p >= after.lowest_p


@pytest.mark.parametrize("cut", [FAULT.start + 1, FAULT.start + 5, FAULT.stop])
def test_a_restored_engine_tells_the_same_courses(cut: int) -> None:
    whole, engine = PartitionEngine(SETTINGS), PartitionEngine(SETTINGS)
    findings = feed(whole, outage())
    again = feed(engine, outage()[:cut])
    told: list[Course] = engine.courses
    engine = restarted(engine)
    again += feed(engine, outage()[cut:], cut + 1)
    assert again == findings
    assert told + engine.courses == whole.courses


def test_a_stream_that_falls_silent_ends_its_episode_after_an_hour_by_the_clock() -> None:
    engine = PartitionEngine(SETTINGS)
    finding = of_outage(feed(engine, outage(FAULT.start + 3)))
    engine = restarted(engine)
    last_ns = engine.now_ns
    assert not engine.waits_for_clock(last_ns + EPISODE_SILENT_NS)
    late_ns = last_ns + EPISODE_SILENT_NS + SECOND_NS
    assert engine.waits_for_clock(late_ns)
    for number, now_ns in enumerate((last_ns + EPISODE_SILENT_NS, late_ns, late_ns + SECOND_NS)):
        engine.feed("tick", b"", tenant="", received_ns=now_ns, position=900 + number)
        assert len(engine.courses) == (number > 0)
    (course,) = engine.courses
    assert (course.seed, course.episode.open) == (finding.seed, False)
    assert not engine.waits_for_clock(late_ns + SECOND_NS)


def test_a_new_baseline_ends_the_open_episode() -> None:
    engine = PartitionEngine(SETTINGS)
    finding = of_outage(feed(engine, outage(FAULT.start + 3)))
    engine.courses.clear()
    wish = finding.key.id.bytes + uuid.UUID(int=5).bytes
    engine.feed("refresh", wish, tenant="t", received_ns=engine.now_ns, position=900)
    (course,) = engine.courses
    assert (course.seed, course.episode.open) == (finding.seed, False)


# ---- metric series

KEY = StreamKey("default", "metrics", "shop")


def observe(
    series: MetricSeries, value: np.ndarray, first: int, last: int, *, step: int
) -> tuple[list[Finding], list[Course]]:
    findings: list[Finding] = []
    for low in range(first, last, step):
        part = value[low : min(low + step, last)]
        n = len(part)
        times = np.arange(low, low + n) * 60 * SECOND_NS
        ones, false = np.ones(n, np.uint64), np.zeros(n, np.bool_)
        batch = PointBatch([KEY], np.zeros(n, np.int32), times, ones, part, false, {1: "load"}, 0)
        findings += series.observe(
            batch, np.arange(n), position=low, base=low, received_ns=int(times[0]), config_version=1
        )
    courses, series.courses = series.courses, []
    return findings, courses


def climbing() -> np.ndarray:
    """A level with noise, then a climb of 40 points, each higher than all before."""
    value = 100 + np.random.default_rng(3).normal(size=700)
    value[500:540] += 20 * np.arange(1, 41)
    return value


def test_a_climb_is_one_finding_that_grows_and_ends_however_points_come() -> None:
    value = climbing()
    at_once = observe(MetricSeries(SeriesSettings(), alert_budget=20.0), value, 0, 700, step=700)
    (finding,) = [f for f in at_once[0] if f.verdict.first >= 500]
    courses = [c for c in at_once[1] if c.seed == finding.seed]
    assert [c.episode.open for c in courses] == [True] * (len(courses) - 1) + [False]
    assert courses[-1].episode.units >= 8
    one_by_one = observe(MetricSeries(SeriesSettings(), alert_budget=20.0), value, 0, 700, step=1)
    assert [c.episode for c in one_by_one[1]] == [c.episode for c in at_once[1]]
    assert [f.verdict for f in one_by_one[0]] == [f.verdict for f in at_once[0]]


@pytest.mark.parametrize("cut", [501, 515, 541])
def test_restored_series_tell_the_same_courses(cut: int) -> None:
    value = climbing()
    whole = observe(MetricSeries(SeriesSettings(), alert_budget=20.0), value, 0, 700, step=1)
    series = MetricSeries(SeriesSettings(), alert_budget=20.0)
    before = observe(series, value, 0, cut, step=1)
    restored = MetricSeries(SeriesSettings(), alert_budget=20.0)
    restored.load(series.dump())
    after = observe(restored, value, cut, 700, step=1)
    assert (before[0] + after[0], before[1] + after[1]) == whole


def test_an_alarm_that_the_budget_refused_does_not_hide_what_is_told_later() -> None:
    """Within an episode nobody was told of, the first peak that the budget allows is the alarm."""
    value = climbing()
    refused = MetricSeries(SeriesSettings(), alert_budget=0.0)
    findings, courses = observe(refused, value, 0, 502, step=1)
    assert (findings, courses) == ([], [])
    allowed = MetricSeries(SeriesSettings(), alert_budget=20.0)
    allowed.load(refused.dump())
    allowed._budgets.clear()
    findings, courses = observe(allowed, value, 502, 700, step=1)
    (finding,) = findings
    assert 502 <= finding.verdict.first < 540
    assert finding.verdict.episode is not None
    assert finding.verdict.episode.units == 1
    assert [c.episode.open for c in courses][-1] is False
