"""A log stream as a whole: units, warm-up, snapshots, bounds, and what it finds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from core_logs import SECOND_NS, feed, flat, job, line_of, sizes, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.log_baseline import Baseline
from driftlock.core.log_settings import UNITS_BEFORE_VERDICT_MIN
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.verdict import Verdict

SMALL = LogSettings(baseline_size=40, window_size=10, hop_size=5, alert_budget=1e9)
SESSIONS = LogSettings(mode="session", baseline_size=100, session_idle_ns=10 * SECOND_NS)


def mixed_log(seed: int, events: int = 900) -> list[int]:
    """Ordinary events with some bursts of strange ones."""
    rng = np.random.default_rng(seed)
    log = zipf(rng, events, 12).tolist()
    for at in rng.integers(events // 2, events, 4).tolist():
        log[at : at + 3] = [49, 60 + at % 9, 49][: len(log[at : at + 3])]
    return log


def keyed_log(seed: int, jobs: int, broken: set[int] = frozenset()) -> tuple[list[int], list[bytes]]:  # type: ignore[assignment]
    """Interleaved sessions in the order of a log."""
    rng = np.random.default_rng(seed)
    events: list[int] = []
    keys: list[bytes] = []
    running: list[tuple[bytes, list[int]]] = []
    for number in range(jobs):
        running.append((b"job-%d" % number, job(rng, broken=number in broken)))
        while len(running) > 4 or (number == jobs - 1 and running):
            pick = int(rng.integers(len(running)))
            key, left = running[pick]
            events.append(left.pop(0))
            keys.append(key)
            if not left:
                running.pop(pick)
    return events, keys


@given(st.integers(0, 5), st.lists(st.integers(1, 899), max_size=12))
@settings(max_examples=20, deadline=None)
def test_blocks_do_not_depend_on_how_events_come_in_calls(seed: int, cuts: list[int]) -> None:
    log, numbers = mixed_log(seed), sizes(np.random.default_rng(seed), 900)
    whole, cut = LogStream(SMALL), LogStream(SMALL)
    expected = feed(whole, log, numbers=numbers)
    assert feed(cut, log, numbers=numbers, cuts=cuts) == expected
    assert cut.snapshot() == whole.snapshot()
    assert any(v.alarm for v in expected)


@given(st.integers(0, 3), st.lists(st.integers(1, 1_500), max_size=8))
@settings(max_examples=10, deadline=None)
def test_churning_templates_do_not_depend_on_cuts_either(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    log = (rng.integers(0, 2, 1_600) * rng.integers(0, 5_000, 1_600)).tolist()
    whole, cut, numbers = LogStream(SMALL), LogStream(SMALL), sizes(rng, 1_600)
    assert feed(cut, log, numbers=numbers, cuts=cuts) == feed(whole, log, numbers=numbers)
    assert cut.snapshot() == whole.snapshot()


@given(st.integers(0, 5), st.lists(st.integers(1, 500), max_size=8))
@settings(max_examples=15, deadline=None)
def test_sessions_do_not_depend_on_how_events_come_in_calls(seed: int, cuts: list[int]) -> None:
    log, keys = keyed_log(seed, 120, broken={100, 110})
    long_idle = replace(SESSIONS, session_events_max=6)
    whole, cut = LogStream(long_idle), LogStream(long_idle)
    numbers = sizes(np.random.default_rng(seed), len(log))
    expected = feed(whole, log, sessions=keys, numbers=numbers)
    assert feed(cut, log, sessions=keys, numbers=numbers, cuts=cuts) == expected
    assert cut.flush() == whole.flush()
    assert cut.snapshot() == whole.snapshot()


@pytest.mark.parametrize("at", [3, 37, 150, 333, 640, 641])
def test_a_restored_stream_continues_bit_for_bit(at: int) -> None:
    log, numbers = mixed_log(2), sizes(np.random.default_rng(2), 900)
    whole = LogStream(SMALL)
    feed(whole, log[:at], numbers=numbers[:at])
    data = whole.snapshot()
    twin = LogStream.restore(SMALL, data)
    assert twin.snapshot() == data
    rest = {"numbers": numbers[at:], "first": at}
    assert feed(twin, log[at:], **rest) == feed(whole, log[at:], **rest)  # type: ignore[arg-type]
    assert twin.snapshot() == whole.snapshot()
    assert twin.baseline_ref == whole.baseline_ref


@pytest.mark.parametrize("at", [5, 200, 500])
def test_restored_sessions_continue_bit_for_bit(at: int) -> None:
    log, keys = keyed_log(1, 150, broken={120, 140})
    whole, numbers = LogStream(SESSIONS), sizes(np.random.default_rng(at), len(log))
    feed(whole, log[:at], sessions=keys[:at], numbers=numbers[:at])
    twin = LogStream.restore(SESSIONS, whole.snapshot())
    assert twin.open_sessions == whole.open_sessions > 0
    for stream in (whole, twin):
        stream.tick(2 * SECOND_NS)
    rest = {"sessions": keys[at:], "numbers": numbers[at:], "first": at, "now_ns": 3 * SECOND_NS}
    assert feed(twin, log[at:], **rest) == feed(whole, log[at:], **rest)  # type: ignore[arg-type]
    assert twin.flush() == whole.flush()


def test_other_sizes_start_anew_and_other_thresholds_go_on() -> None:
    stream = LogStream(SMALL)
    feed(stream, mixed_log(3))
    data = stream.snapshot()
    assert LogStream.restore(replace(SMALL, hop_size=4), data).warm_up.phase == "learning"
    stricter = LogStream.restore(replace(SMALL, p_value_threshold=0.001), data)
    assert stricter.baseline_ref == stream.baseline_ref
    assert stricter.warm_up.phase == "calibrating"


def test_warm_up_is_told_honestly_and_ends_within_two_hundred_units() -> None:
    for chosen in (LogSettings(), SMALL, LogSettings(window_size=25, p_value_threshold=0.01)):
        stream, rng = LogStream(chosen), np.random.default_rng(0)
        assert stream.warm_up.phase == "learning"
        assert stream.warm_up.earliest_p == 1.0
        assert stream.baseline_ref == ""
        needed = stream.warm_up.units_needed
        assert needed <= 200
        assert not feed(stream, zipf(rng, needed * chosen.hop_size - 1))
        feed(stream, [1])
        assert stream.warm_up.units_seen == needed
        assert stream.warm_up.calibration_size >= UNITS_BEFORE_VERDICT_MIN
        assert stream.warm_up.earliest_p == 1 / (1 + stream.warm_up.calibration_size)
        allowed = stream.warm_up.earliest_p <= chosen.p_value_threshold
        assert stream.warm_up.phase == ("ready" if allowed else "calibrating")
        assert feed(stream, zipf(rng, 10 * chosen.hop_size))


def test_the_baseline_is_content_addressed_and_holds_its_units() -> None:
    log = mixed_log(4)
    stream, twin = LogStream(SMALL), LogStream(SMALL)
    feed(stream, log)
    feed(twin, log[:400])
    assert stream.baseline_ref == hashlib.sha256(stream.baseline_bytes()).hexdigest()
    assert stream.baseline_bytes() == twin.baseline_bytes()
    baseline = Baseline.decode(stream.baseline_bytes())
    assert baseline.encode() == stream.baseline_bytes()
    told = [baseline.templates[i][1] for unit in baseline.units for i in unit.tolist()]
    assert told == [line_of(t) for t in log[: len(told)]]
    assert len(baseline.units) == stream.warm_up.units_needed
    assert 0 < baseline.kept.count(False) <= 0.075 * len(baseline.units)


def test_an_alarm_explains_itself_and_its_bits_add_up_to_the_score() -> None:
    for chosen, log in ((SMALL, mixed_log(6)), (replace(SMALL, window_size=5), mixed_log(7))):
        alarms = [v for v in feed(LogStream(chosen), log) if v.alarm]
        assert alarms
        for verdict in alarms:
            detail = json.loads(json.dumps(verdict.detail))
            lines = detail["lines"]
            told = sum(line["bits"] for line in lines) + detail["other_lines"]["bits"]
            told += sum(part["bits"] for part in detail["whole_unit"]) + detail["earlier_blocks"]["bits"]
            assert told == verdict.score == detail["score_bits"] == sum(detail["parts"].values())
            for line in lines:
                assert sum(token["bits"] for token in line["tokens"]) == line["bits"]
                assert " ".join(token["text"] for token in line["tokens"]) == line["line"]
                text_bits = sum(token["text_bits"] for token in line["tokens"]) + line["text_end_bits"]
                assert text_bits == line["text_bits"]
            if not detail["other_lines"]["count"]:
                told = sum(line["count"] * line["text_bits"] for line in lines)
                assert told == detail["text_model"]["bits"]
            assert verdict.measures is not None
            assert 0.0 <= verdict.measures.ncd <= 1.5
            assert f"p = {verdict.p_value:.3g}" in verdict.explanation
            assert verdict.severity in {"critical", "high", "medium", "low"}
            assert verdict.events == (10 if chosen.window_size == 10 else 5)


def test_the_cause_of_an_alarm_is_the_line_that_was_never_seen() -> None:
    rng = np.random.default_rng(8)
    stream = LogStream(LogSettings())
    feed(stream, zipf(rng, 5_000, 12))
    log = zipf(rng, 500, 12).tolist()
    log[210:213] = [49, 49, 49]
    alarms = [v for v in feed(stream, log, first=5_000) if v.alarm]
    assert len(alarms) == 1
    (alarm,) = alarms
    assert alarm.first <= 5_210 <= alarm.last
    assert line_of(49).decode() in alarm.explanation
    assert "none of" in alarm.explanation
    assert alarm.detail["lines"][0]["line"] == line_of(49).decode()
    assert [t["line"] for t in alarm.detail["templates_new"]] == [line_of(49).decode()]
    assert alarm.p_value < 0.01
    assert alarm.first_time_ns == alarm.first * SECOND_NS


def test_a_missing_line_and_a_changed_count_are_told_in_words() -> None:
    rng = np.random.default_rng(9)
    units = [job(rng) for _ in range(400)]
    stream = LogStream(replace(SESSIONS, alert_budget=1e9))
    feed(stream, flat(units), sessions=[b"%d" % n for n, unit in enumerate(units) for _ in unit])
    stream.flush()
    data = stream.snapshot()
    cut_short, burst = [0, 1, 2, 3], [0, 1, 3, *[2] * 400, 10, 11]
    feed(stream, cut_short, sessions=[b"short"] * 4)
    (short,) = stream.flush()
    stream = LogStream.restore(replace(SESSIONS, alert_budget=1e9), data)
    feed(stream, burst, sessions=[b"burst"] * len(burst))
    (noisy,) = stream.flush()
    assert short.alarm
    assert short.key == "short"
    assert "lacks" in short.explanation
    gone = {t["line"] for t in short.detail["templates_gone"]}
    assert {line_of(10).decode(), line_of(11).decode()} <= gone
    assert noisy.alarm
    assert "occurs 400 times" in noisy.explanation
    assert noisy.detail["templates_shifted"][0]["line"] == line_of(2).decode()


def test_sessions_close_when_silent_when_full_and_when_crowded() -> None:
    tight = replace(SESSIONS, baseline_units=2, session_events_max=5, sessions_open_max=3)
    stream = LogStream(tight)
    feed(stream, [0, 1] * 2, sessions=[b"a", b"a", b"b", b"b"])
    assert stream.open_sessions == 2
    assert not stream.tick(5 * SECOND_NS)
    stream.tick(12 * SECOND_NS)
    assert stream.open_sessions == 0
    assert stream.warm_up.phase != "learning"
    (full,) = feed(stream, [0, 1, 2, 3, 4], sessions=[b"c"] * 5, now_ns=13 * SECOND_NS)
    assert (full.key, full.events) == ("c", 5)
    (crowded,) = feed(stream, [0, 1, 2, 3], sessions=[b"d", b"e", b"f", b"g"], now_ns=14 * SECOND_NS)
    assert crowded.key == "d"
    assert not feed(stream, [0, 1], sessions=[b"", b""], now_ns=14 * SECOND_NS)
    assert [v.key for v in stream.flush()] == ["e", "f", "g"]


def test_each_unit_is_scored_once() -> None:
    log, keys = keyed_log(3, 150)
    stream = LogStream(SESSIONS)
    verdicts = feed(stream, log, sessions=keys, cuts=range(7, len(log), 7), step_ns=SECOND_NS // 50)
    verdicts += stream.tick(10**15) + stream.flush()
    seen = [v.key for v in verdicts]
    assert len(seen) == len(set(seen)) == 150 - (150 - len(seen))
    assert sum(v.events for v in verdicts) <= len(log)


@pytest.mark.parametrize("kind", ["usual", "all new", "long sessions"])
def test_state_is_bounded(kind: str) -> None:
    rng = np.random.default_rng(10)
    if kind == "long sessions":
        stream = LogStream(replace(SESSIONS, session_idle_ns=10**18))
        log = zipf(rng, 20_000, 400, 0.3)
        feed(stream, log, sessions=[b"%d" % n for n in rng.integers(0, 300, len(log))])
    else:
        stream = LogStream(LogSettings())
        feed(stream, zipf(rng, 20_000, 30) if kind == "usual" else np.arange(20_000))
    assert stream.state_bytes <= (400_000 if kind == "long sessions" else 256 * 1024)


def test_a_stream_of_ever_new_lines_is_no_chain_of_records() -> None:
    stream = LogStream(replace(SMALL, window_size=5, alert_budget=20.0))
    verdicts = feed(stream, np.arange(6_000))
    p = np.array([v.p_value for v in verdicts])
    assert (p <= 0.05).mean() <= 0.06
    assert sum(v.alarm for v in verdicts) <= 3


def test_inputs_are_not_written_to() -> None:
    stream = LogStream(SMALL)
    arrays = [np.arange(1, 101, dtype=np.uint64), np.frombuffer(b"x" * 100, np.uint8)]
    arrays += [np.arange(100), np.arange(1, 101), np.zeros(100, np.int64), np.arange(100)]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    stream.add(*arrays, now_ns=1)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop_size": 0},
        {"window_size": 500},
        {"hop_size": 60},
        {"p_value_threshold": 0.0},
        {"p_value_threshold": 1.0},
        {"alert_budget": -1.0},
        {"mode": "lines"},
        {"session_idle_ns": 0},
        {"session_idle_ns": 10**18 + 1},
        {"calibration_max": 10},
        {"baseline_units": 1},
    ],
)
def test_settings_that_clash_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        LogSettings(**wrong)  # type: ignore[arg-type]


def test_verdicts_are_plain_values() -> None:
    verdicts = feed(LogStream(SMALL), mixed_log(11))
    for verdict in verdicts:
        assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
