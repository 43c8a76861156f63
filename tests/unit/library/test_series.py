"""`SeriesDetector`: what it finds, that calls may be cut anywhere, and that a snapshot is the whole state."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock import SeriesDetector, Verdict
from driftlock.core.series import score_series
from driftlock.core.series_rows import observe_rows
from driftlock.errors import InputError, UsageError

MINUTE_NS = 60_000_000_000
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BEGIN_NS = int(BEGIN.timestamp()) * 10**9


def level(seed: int, size: int, *, jump: int | None = None) -> np.ndarray:
    values = 50 + np.random.default_rng(seed).normal(size=size)
    if jump is not None:
        values[jump] += 60
    return values


VALUES = np.column_stack([level(1, 800, jump=700), level(2, 800)]).reshape(-1)
TIMES = BEGIN_NS + np.repeat(np.arange(800), 2) * MINUTE_NS
NAMES = ["cpu", "disk"] * 800


def fed(detector: SeriesDetector, low: int, high: int) -> list[Verdict]:
    return detector.observe(VALUES[low:high], TIMES[low:high], series=NAMES[low:high])


def test_a_jump_alarms_and_explains_itself() -> None:
    detector = SeriesDetector()
    found = fed(detector, 0, 1_600)
    assert len([v for v in found if v.alarm]) <= 2  # a record may fall on a calm point soon after warm-up
    alarm = max(found, key=lambda verdict: verdict.score)
    assert (alarm.key, alarm.first, alarm.first_time_ns) == ("cpu", 1_401, BEGIN_NS + 700 * MINUTE_NS)
    assert alarm.alarm
    assert alarm.severity == "critical"
    assert "cpu was" in alarm.explanation
    assert len(found) == 2 * (800 - 128)
    assert len(detector) == 2


@given(st.lists(st.integers(1, 1_599), max_size=10))
@settings(max_examples=20, deadline=None)
def test_points_do_not_depend_on_how_they_come_in_calls(cuts: list[int]) -> None:
    whole, cut = SeriesDetector(), SeriesDetector()
    bounds = [0, *sorted(set(cuts)), 1_600]
    assert [v for low, high in pairwise(bounds) for v in fed(cut, low, high)] == fed(whole, 0, 1_600)
    assert cut.snapshot() == whole.snapshot()


@given(st.integers(0, 1_600))
@settings(max_examples=20, deadline=None)
def test_a_restored_detector_continues_bit_for_bit(at: int) -> None:
    whole = SeriesDetector(alarm_bits=6.0)
    fed(whole, 0, at)
    copies = [
        SeriesDetector.restore(whole.snapshot()),
        pickle.loads(pickle.dumps(whole)),
        copy.deepcopy(whole),
    ]
    after = fed(whole, at, 1_600)
    for restored in copies:
        assert restored.settings == whole.settings
        assert fed(restored, at, 1_600) == after
        assert restored.snapshot() == whole.snapshot()


def test_columns_say_what_verdicts_say() -> None:
    columns = SeriesDetector().score(level(3, 500, jump=400), np.arange(500) * MINUTE_NS)
    verdicts = SeriesDetector().observe(level(3, 500, jump=400), np.arange(500) * MINUTE_NS)
    assert [v.score for v in verdicts] == columns.score[128:].tolist()
    assert (columns.anomaly_score == score_series(np.arange(500) * MINUTE_NS, level(3, 500, jump=400))).all()


def test_times_may_come_in_several_forms() -> None:
    values = level(4, 300).tolist()
    moments = [BEGIN + timedelta(minutes=n) for n in range(300)]
    expected = SeriesDetector().observe(values, [BEGIN_NS + n * MINUTE_NS for n in range(300)])
    for times in (
        moments,
        [moment.isoformat() for moment in moments],
        np.array([moment.replace(tzinfo=None) for moment in moments], "datetime64[us]"),
        np.arange(300) * MINUTE_NS + BEGIN_NS,
    ):
        assert SeriesDetector().observe(values, times) == expected


def test_counters_are_judged_by_their_rate() -> None:
    reading = np.cumsum(level(5, 600, jump=500))
    found = SeriesDetector().observe(reading, np.arange(600) * MINUTE_NS, cumulative=True)
    assert 501 in [v.first for v in found if v.alarm]


def test_one_point_at_a_time_and_what_is_not_finite() -> None:
    detector = SeriesDetector()
    assert detector.observe(1.0, BEGIN) == []
    assert detector.observe([float("nan"), 2.0], [BEGIN, BEGIN + timedelta(minutes=1)]) == []
    assert detector.points_seen == 3
    assert detector.warm_up().phase == "learning"
    assert detector.warm_up("unknown").units_seen == 0


def test_a_masked_value_tells_nothing_whatever_it_hides() -> None:
    hidden = [np.ma.masked_array([1.0, 2.0, hidden], [False, False, True]) for hidden in (3.0, 9e9)]
    columns = [SeriesDetector().score(values, [1, 2, 3]) for values in hidden]
    assert columns[0].status.tolist() == columns[1].status.tolist() == [1, 1, 3]


def test_values_that_are_read_only_need_no_kernel_of_their_own() -> None:
    values = np.arange(3.0)
    SeriesDetector().score(values, [1, 2, 3])
    kernels = len(observe_rows.signatures)
    values.setflags(write=False)
    SeriesDetector().score(values, [1, 2, 3])
    assert len(observe_rows.signatures) == kernels


def test_the_bound_on_series_is_kept_and_told() -> None:
    detector = SeriesDetector(series_max=2)
    detector.observe([1.0, 2.0, 3.0], [1, 1, 1], series=["a", "b", "c"])
    assert (len(detector), detector.refused_points) == (2, 1)
    assert SeriesDetector.restore(detector.snapshot()).refused_points == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.observe([1.0, 2.0], [1]),
        lambda d: d.observe([1.0], [1], series=["a", "b"]),
        lambda d: d.observe([1.0], [1], series=[5]),
        lambda d: d.observe([1.0], [1], series=None),
        lambda d: d.observe(["x"], [1]),
        lambda d: d.observe([[1.0]], [1]),
        lambda d: d.observe([1.0], [1.5]),
        lambda d: d.observe([1.0], 1.5),
    ],
    ids=["times", "names", "no-text", "no-name", "text", "shape", "float", "one-float"],
)
def test_wrong_input_is_refused_and_nothing_is_learned(call) -> None:  # type: ignore[no-untyped-def]
    detector = SeriesDetector()
    before = detector.snapshot()
    with pytest.raises(InputError):
        call(detector)
    assert detector.snapshot() == before


def test_wrong_settings_and_snapshots_are_refused() -> None:
    with pytest.raises(UsageError):
        SeriesDetector(p_value_threshold=2.0)
    data = SeriesDetector().snapshot()
    for wrong in (b"", b"DLNUMBER", data[:-3], b"x" + data, data[:8] + b"\xff"):
        with pytest.raises(InputError):
            SeriesDetector.restore(wrong)
