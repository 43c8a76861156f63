"""The e-detector: few false crossings in streams at rest, short delays, and a lasting change told once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from core_logs import SECOND_NS, feed, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.calibration import Calibration
from driftlock.core.edetector import (
    BLOCK_UPDATES,
    EXPONENTS,
    LASTING_UNITS,
    RUN_LENGTH_MIN,
    UNUSUAL_SHARES,
    WEEK_NS,
    Drift,
    DriftDetector,
)
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.verdict import Verdict

CALIBRATION = 2_000
Floats = npt.NDArray[np.float64]


def told(scores: Floats, *, warm: int = 40) -> list[tuple[int, Drift]]:
    """When a detector fed with the rolling conformal p-values of these scores tells a lasting change."""
    calibration, detector, found = Calibration(CALIBRATION, exact=True), DriftDetector(alert_budget=20.0), []
    for at, score in enumerate(scores.tolist()):
        p = calibration.p_value(score)
        calibration.add(score)
        if at >= warm:
            detector.update(p, first=at, first_time_ns=0, now_ns=0)
            if detector.due:
                found.append((at, detector.tell(silent=CALIBRATION)))
    return found


def with_memory(rng: np.random.Generator, events: int, keep: float) -> Floats:
    """A stationary series in which each value keeps a share of the one before."""
    noise, out = rng.normal(size=events), np.zeros(events)
    for at in range(1, events):
        out[at] = keep * out[at - 1] + noise[at]
    return out


@given(st.lists(st.floats(1e-6, 1.0), max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_evidence_equals_its_definition(p_values: list[float]) -> None:
    detector = DriftDetector(alert_budget=20.0)
    sums = dict.fromkeys([(w, k) for k in EXPONENTS for w in UNUSUAL_SHARES], 0.0)
    for p in p_values:
        memory = detector.memory
        detector.update(p, first=0, first_time_ns=0, now_ns=0)
        for w, k in sums:
            sums[w, k] = min((sums[w, k] + 1) * (1 - w + w * k * p ** (k - 1)) ** (1 / memory), 30_000.0)
    mean = sum(sums.values()) / len(sums)
    assert detector.evidence == pytest.approx(mean, rel=1e-9)
    twin = DriftDetector(alert_budget=20.0)
    twin.load(detector.state())
    assert twin.state() == detector.state()
    assert detector.nbytes <= 512


def test_each_bet_is_fair() -> None:
    """E[e] = 1 for a uniform p-value, and at most 1 for the discrete ones of any calibration set."""
    for w in UNUSUAL_SHARES:
        for k in EXPONENTS:
            for n in (40, 100, 2_000):
                ranks = np.arange(1, n + 2) / (n + 1)
                assert np.mean(1 - w + w * k * ranks ** (k - 1)) <= 1.0


@pytest.mark.parametrize("kind", ["independent", "ties", "memory .5", "memory .9", "season"])
def test_streams_at_rest_cross_no_more_often_than_the_bound(kind: str) -> None:
    """50,000 updates of each kind, of which at most one in 10,000 may tell a change."""
    found = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scores = {
            "independent": lambda rng=rng: rng.normal(size=10_000),
            "ties": lambda rng=rng: rng.geometric(0.3, 10_000).astype(np.float64),
            "memory .5": lambda rng=rng: with_memory(rng, 10_000, 0.5),
            "memory .9": lambda rng=rng: with_memory(rng, 10_000, 0.9),
            "season": lambda rng=rng: rng.normal(size=10_000) + np.sin(np.arange(10_000) / 1_000 * 2 * np.pi),
        }[kind]()
        found += len(told(scores))
    assert found <= 50_000 / RUN_LENGTH_MIN


@pytest.mark.parametrize(("share", "updates"), [(0.05, 400), (0.1, 180), (0.3, 80), (1.0, 30)])
def test_a_lasting_change_is_told_once_and_soon(share: float, updates: int) -> None:
    delays = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        odd = rng.random(7_000) < share
        odd[:3_000] = False
        changes = told(np.where(odd, 6.0, 0.0) + rng.normal(size=7_000))
        assert len(changes) == 1
        at, drift = changes[0]
        delays.append(at - 3_000)
        assert drift.unusual >= 3
        assert drift.threshold == RUN_LENGTH_MIN
    assert LASTING_UNITS / 2 <= np.median(delays) <= updates


def test_a_burst_is_no_lasting_change() -> None:
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=5_000)
        scores[3_000:3_008] += 8.0
        assert told(scores) == []


def test_the_threshold_follows_the_clock_and_the_budget() -> None:
    plain, silent, boundless = (DriftDetector(alert_budget=b) for b in (20.0, 0.0, math.inf))
    for detector in (plain, silent, boundless):
        assert detector.threshold in (RUN_LENGTH_MIN, math.inf)
        for at in range(1_001):
            detector.update(0.5, first=at, first_time_ns=0, now_ns=1 + at * SECOND_NS)
    # one update a second: a week has 604,800 of them, and one false crossing a week is left to them
    assert plain.threshold == pytest.approx(WEEK_NS / SECOND_NS, rel=0.01)
    assert silent.threshold == math.inf
    assert boundless.threshold == RUN_LENGTH_MIN


def lasting(rng: np.random.Generator, events: int) -> npt.NDArray[np.int64]:
    """Every tenth line or so is of a kind that was not there before."""
    log = zipf(rng, events, 30)
    odd = rng.random(events) < 0.1
    log[odd] = 60 + rng.integers(0, 10, int(odd.sum()))
    return log


@pytest.mark.parametrize("window", [25, 50])
def test_lasting_drift_is_reported_as_drift_once_and_offered_for_refresh(window: int) -> None:
    stream, rng = LogStream(LogSettings(window_size=window)), np.random.default_rng(1)
    before = feed(stream, zipf(rng, 25 * 2_000, 30))
    after = feed(stream, lasting(rng, 25 * 5_000), first=25 * 2_000)
    assert [v for v in before if v.kind == "drift"] == []
    drifts = [v for v in after if v.kind == "drift"]
    assert len(drifts) == 1
    (drift,) = drifts
    assert drift.alarm
    assert drift.last < 25 * 2_400
    assert "has changed and stays so" in drift.explanation
    assert "refresh its baseline" in drift.explanation
    facts = drift.detail["drift"]
    assert facts["since_position"] == pytest.approx(25 * 2_000, abs=25 * 100)
    assert f"{facts['recent_unusual']} of the last 64" in drift.explanation
    assert facts["evidence"] > 0
    # and it is not alarmed for ever: the last half of the changed stream is silent
    assert sum(v.alarm for v in after if v.first > 25 * 4_500) <= 5


def test_streams_at_rest_tell_no_drift_and_the_evidence_survives_a_snapshot() -> None:
    told_drifts, rng = 0, np.random.default_rng(2)
    for _ in range(3):
        stream = LogStream(LogSettings(window_size=25))
        told_drifts += sum(v.kind == "drift" for v in feed(stream, zipf(rng, 25 * 1_500, 30)))
    assert told_drifts == 0
    twin = LogStream.restore(LogSettings(window_size=25), stream.snapshot())
    log = lasting(rng, 25 * 400)
    assert drifts_of(feed(stream, log)) == drifts_of(feed(twin, log)) != []


def drifts_of(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    return [(v.key, v.explanation) for v in verdicts if v.kind == "drift"]


def test_a_spent_budget_keeps_a_drift_waiting() -> None:
    stream, rng = LogStream(LogSettings(window_size=25, alert_budget=0.5)), np.random.default_rng(3)
    feed(stream, zipf(rng, 25 * 1_000, 30))
    changed = lasting(rng, 25 * 400)
    assert drifts_of(feed(stream, changed)) == []


def test_blocks_of_unusual_units_are_counted_late() -> None:
    """A change must not at once pass for the stream's own memory."""
    detector = DriftDetector(alert_budget=20.0)
    for at in range(40 * BLOCK_UPDATES):
        detector.update(0.01 if at % 20 == 0 else 0.5, first=at, first_time_ns=0, now_ns=0)
    settled = detector.memory
    for at in range(BLOCK_UPDATES):
        detector.update(0.01, first=at, first_time_ns=0, now_ns=0)
    assert detector.memory <= settled
    for at in range(BLOCK_UPDATES):
        detector.update(0.01, first=at, first_time_ns=0, now_ns=0)
    assert detector.memory > 10 * settled
