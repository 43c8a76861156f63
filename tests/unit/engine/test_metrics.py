"""Anomalies of metric series: their severity, and that a verdict knows nothing of how points were sent."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from driftlock.core.log_settings import LogSettings
from driftlock.core.series import SeriesSettings
from driftlock.core.series_text import severity_of_bits
from driftlock.engine.engine import PartitionEngine
from driftlock.engine.finding import Course, Finding
from driftlock.engine.metrics import MetricSeries
from driftlock.engine.settings import EngineSettings
from driftlock.signals.batch import PointBatch, StreamKey
from support import telemetry

POINTS, JUMP = 300, 250
KEY = StreamKey("default", "metrics", "shop")


def found(*, points_a_request: int, deviations: float = 100.0) -> list[Finding]:
    value = 100 + 5 * np.random.default_rng(3).normal(size=POINTS)
    value[JUMP : JUMP + 3] += 5 * deviations
    series = MetricSeries(SeriesSettings(), alert_budget=20.0)
    findings = []
    for first in range(0, POINTS, points_a_request):
        part = value[first : first + points_a_request]
        n = len(part)
        times = np.arange(first, first + n) * 60 * 10**9
        ones, false = np.ones(n, np.uint64), np.zeros(n, np.bool_)
        batch = PointBatch([KEY], np.zeros(n, np.int32), times, ones, part, false, {1: "load"}, 0)
        findings += series.observe(
            batch, np.arange(n), position=first, base=first, received_ns=0, config_version=1
        )
    return [f for f in findings if f.verdict.first >= JUMP]


@pytest.mark.parametrize(
    ("bits", "severity"),
    [
        (3.7, "low"),
        (11.9, "low"),
        (12.0, "medium"),
        (24.0, "high"),
        (39.9, "high"),
        (40.0, "critical"),
        (60.0, "critical"),
    ],
)
def test_severity_is_a_table_of_bits(bits: float, severity: str) -> None:
    assert severity_of_bits(bits) == severity


@pytest.mark.parametrize(("deviations", "severity"), [(10.0, "high"), (100.0, "critical")])
def test_a_greater_jump_is_more_severe(deviations: float, severity: str) -> None:
    (finding,) = found(points_a_request=1, deviations=deviations)
    assert finding.verdict.severity == severity


def test_a_verdict_does_not_depend_on_how_points_were_sent() -> None:
    one_by_one, at_once = found(points_a_request=1), found(points_a_request=POINTS)
    assert [f.verdict for f in one_by_one] == [f.verdict for f in at_once]
    (verdict,) = [f.verdict for f in at_once]
    assert verdict.p_value == 1 / (1 + verdict.calibration_size)


def test_points_that_are_not_scored_are_counted() -> None:
    """A point that is not finite, and points of series beyond the bound: nothing vanishes silently."""
    engine = PartitionEngine(EngineSettings(series=SeriesSettings(series_max=2)))
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=telemetry.resource("s")).scope_metrics.add()
    for number, value in enumerate([1.0, math.nan, math.inf, 2.0, 3.0, 4.0]):
        scope.metrics.add(name=f"m{number}").gauge.data_points.add(time_unix_nano=5, as_double=value)
    engine.feed("metrics", request.SerializeToString(), tenant="t", received_ns=10, position=1)
    assert engine.skipped_points == 2
    assert engine.refused_points == 2


def reported(names: list[str], value: float) -> bytes:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=telemetry.resource("s")).scope_metrics.add()
    for name in names:
        scope.metrics.add(name=name).gauge.data_points.add(time_unix_nano=5, as_double=value)
    return request.SerializeToString()


Told = tuple[list[Finding], list[Course]]


def silences(*, restart_at: set[int]) -> list[Finding]:
    """Three series a minute for three hours; then one goes on, and two stop together."""
    engine = PartitionEngine(EngineSettings())
    found: list[Finding] = []
    for second in range(0, 200 * 60, 10):
        minute = second // 60
        names = ["a"] if minute >= 180 else ["a", "b", "c"]
        kind, payload = ("metrics", reported(names, 1.0)) if second % 60 == 0 else ("tick", b"")
        found += engine.feed(kind, payload, tenant="t", received_ns=10**18 + second * 10**9, position=second)
        if second in restart_at:
            states, _ = engine.take_changes()
            kept = {s.stream_id: s for s in states}
            now = engine.now_ns
            engine = PartitionEngine(EngineSettings())
            engine.restore(kept.values(), now_ns=now)
    assert engine.waits_for_clock(10)
    return [f for f in found if f.verdict.kind == "silence"]


def test_series_that_stop_together_are_told_once_with_their_names() -> None:
    (finding,) = silences(restart_at=set())
    assert finding.key.service == "s"
    assert finding.verdict.detail["series"] == ["b value", "c value"]
    assert finding.verdict.p_value == 1 / 180
    assert finding.verdict.first_time_ns == 10**18 + 179 * 60 * 10**9
    assert "b value (with 1 more series) has fallen silent" in finding.verdict.explanation


def told_of(
    minutes: int,
    names: Callable[[int], list[str]],
    level: Callable[[int], float],
    settings: EngineSettings | None = None,
) -> Told:
    """A point a minute of the series named then, and ticks; started again from a checkpoint midway."""
    settings = settings or EngineSettings()
    engine, findings, courses = PartitionEngine(settings), list[Finding](), list[Course]()
    for second in range(0, minutes * 60, 10):
        minute = second // 60
        payload = b"" if second % 60 else reported(names(minute), level(minute))
        kind = "metrics" if payload else "tick"
        received_ns = 10**18 + second * 10**9
        findings += engine.feed(kind, payload, tenant="t", received_ns=received_ns, position=second)
        courses += engine.courses
        engine.courses.clear()
        if second == minutes * 60 - 40 * 60:
            states, now_ns = engine.take_changes()[0], engine.now_ns
            engine = PartitionEngine(settings)
            engine.restore(states, now_ns=now_ns)
    return findings, courses


def test_a_silence_is_over_when_all_its_series_report_again() -> None:
    def names(minute: int) -> list[str]:
        return ["a"] if 180 <= minute < 200 else ["a", "b"] if 180 <= minute < 220 else ["a", "b", "c"]

    findings, courses = told_of(230, names, lambda _: 1.0)
    (silence,) = [f for f in findings if f.verdict.kind == "silence"]
    told = silence.verdict.episode
    assert told is not None
    assert (told.open, told.units) == (True, 2)
    (over,) = courses
    assert (over.seed, over.timestamp_ns) == (silence.seed, silence.timestamp_ns)
    assert (over.episode.open, over.episode.units) == (False, 2)
    assert over.episode.last_time_ns == 10**18 + 220 * 60 * 10**9


def test_an_open_episode_ends_where_its_series_falls_silent() -> None:
    findings, courses = told_of(
        450,
        lambda minute: ["a", "b"] if minute < 402 else ["a"],
        lambda minute: 1_000.0 if minute in (400, 401) else 1.0 + minute * 7 % 5,
    )
    (jump,) = [f for f in findings if f.metadata["series"] == "b value" and f.verdict.kind == "unit"]
    (silence,) = [f for f in findings if f.verdict.kind == "silence"]
    ended = [c for c in courses if not c.episode.open]
    assert jump.seed in {c.seed for c in ended}
    assert silence.seed not in {c.seed for c in courses}


def test_an_open_episode_ends_in_silence_even_where_no_alarm_is_left_to_tell_of_it() -> None:
    settings = EngineSettings(logs=LogSettings(alert_budget=2.0))  # which the jumps take
    findings, courses = told_of(
        450,
        lambda minute: ["a", "b"] if minute < 402 else ["a"],
        lambda minute: 1_000.0 if minute in (400, 401) else 1.0 + minute * 7 % 5,
        settings=settings,
    )
    assert [f.metadata["series"] for f in findings] == ["a value", "b value"]
    assert findings[1].seed in {c.seed for c in courses if not c.episode.open}


def test_a_restored_engine_finds_the_same_silence() -> None:
    """Restarted from a checkpoint, with the clock's own row, in the midst of a silence too."""
    assert silences(restart_at={600, 179 * 60 + 100}) == silences(restart_at=set())


def noisy_stream(series: MetricSeries, first: int, last: int) -> list[Finding]:
    """Forty series of one service, a point a minute each, in which jumps of many sizes are common."""
    n, findings = 40, []
    for minute in range(first, last):
        rng = np.random.default_rng(minute)
        value = rng.normal(size=n) + np.where(rng.random(n) < 0.004, rng.uniform(20, 2_000, n), 0.0)
        now = minute * 60 * 10**9
        ids = np.arange(n, dtype=np.uint64) + np.uint64(1)
        batch = PointBatch(
            [KEY], np.zeros(n, np.int32), np.full(n, now), ids, value, np.zeros(n, np.bool_), {}, 0
        )
        findings += series.observe(
            batch, np.arange(n), position=minute, base=minute * n, received_ns=now, config_version=1
        )
    return findings


def test_no_week_of_a_metric_stream_holds_more_alarms_than_its_budget() -> None:
    free = noisy_stream(MetricSeries(SeriesSettings(), alert_budget=math.inf), 0, 1_000)
    assert len(free) > 2 * 20
    held = noisy_stream(MetricSeries(SeriesSettings(), alert_budget=20.0), 0, 1_000)
    assert len(held) == 20
    ordinary = [f for f in held if f.verdict.p_value * (1 + f.verdict.calibration_size) > 1.0]
    assert len(ordinary) <= 15
    assert noisy_stream(MetricSeries(SeriesSettings(), alert_budget=0.0), 0, 400) == []


def test_what_was_spent_survives_a_checkpoint() -> None:
    whole = MetricSeries(SeriesSettings(), alert_budget=20.0)
    findings = noisy_stream(whole, 0, 700)
    half = MetricSeries(SeriesSettings(), alert_budget=20.0)
    before = noisy_stream(half, 0, 350)
    restored = MetricSeries(SeriesSettings(), alert_budget=20.0)
    restored.load(half.dump())
    assert [f.verdict for f in before + noisy_stream(restored, 350, 700)] == [f.verdict for f in findings]
