"""`Detector`: what it finds, that calls may be cut anywhere, and that a snapshot is the whole state."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_logs import BEGIN, in_pieces, job_lines, job_log, web_log

from driftlock import Detector
from driftlock.cli.logfile import LogFile
from driftlock.cli.units import score_blocks
from driftlock.core.log_settings import LogSettings
from driftlock.errors import InputError, UsageError

SMALL = {"baseline_size": 60, "window_size": 10, "hop_size": 5}
LOG = web_log(1, 700, faults={500})
JOBS = job_log(2, 150, broken={120})
ODD = [
    "",
    "  ",
    '{"message": "started", "level": "info", "n": 5}',
    "{ no json",
    "\x00\xff",
    "a\nb",
    "x" * 9_000,
]


def test_an_injected_fault_alarms_and_the_stationary_part_does_not() -> None:
    """320 windows of stationary log hold a few records, about the logarithm of their number; then silence."""
    detector = Detector()
    calm = detector.observe(web_log(3, 8_000))
    assert len([v for v in calm if v.alarm]) <= 4
    assert [v for v in calm if v.alarm and v.first > 6_000] == []
    (alarm,) = [v for v in detector.observe(web_log(4, 2_000, faults={1_000})) if v.alarm]
    assert alarm.first <= 9_001 <= alarm.last
    assert alarm.score > max(v.score for v in calm)
    assert "lost its connection" in alarm.explanation
    assert alarm.p_value <= detector.settings.p_value_threshold
    assert alarm.baseline_ref == detector.baseline_ref
    assert alarm.detail["score_bits"] == alarm.score


def test_a_broken_session_alarms_by_pattern_by_key_and_as_a_whole() -> None:
    by_pattern = Detector(mode="session", session_pattern=r"job=(\w+)", session_idle_s=60, baseline_size=100)
    found = by_pattern.observe(JOBS) + by_pattern.flush()
    alarms = sorted((v for v in found if v.alarm), key=lambda v: -v.score)
    assert alarms[0].key == "j120"
    assert len(alarms) <= 2

    by_key = Detector(mode="session", session_idle_s=60, baseline_size=100)
    keys = [line.split("job=")[1].split()[0] for line in JOBS]
    assert by_key.observe(JOBS, session=keys) + by_key.flush() == found

    rng = np.random.default_rng(5)
    whole = Detector(mode="session", baseline_units=50)
    units = [whole.observe_unit(job_lines(rng, f"j{n}", broken=n == 80), key=f"j{n}") for n in range(100)]
    assert units[:50] == [None] * 50
    assert [v.key for v in units if v is not None and v.alarm] == ["j80"]


@given(st.lists(st.integers(1, 699), max_size=12))
@settings(max_examples=15, deadline=None)
def test_blocks_do_not_depend_on_how_lines_come_in_calls(cuts: list[int]) -> None:
    whole, cut = Detector(**SMALL), Detector(**SMALL)
    expected = whole.observe(LOG)
    assert in_pieces(cut, LOG, cuts) == expected
    assert cut.snapshot() == whole.snapshot()
    assert any(v.alarm for v in expected)


@given(st.lists(st.integers(1, len(JOBS) - 1), max_size=12))
@settings(max_examples=15, deadline=None)
def test_sessions_do_not_depend_on_how_lines_come_in_calls(cuts: list[int]) -> None:
    whole, cut = (Detector(mode="session", session_pattern=r"job=(\w+)", session_idle_s=20) for _ in "ab")
    assert in_pieces(cut, JOBS, cuts) == whole.observe(JOBS)
    assert cut.snapshot() == whole.snapshot()


@given(st.lists(st.sampled_from([*ODD, *LOG[:5]]), max_size=60), st.lists(st.integers(1, 59), max_size=6))
@settings(max_examples=40, deadline=None)
def test_odd_lines_are_no_crash_and_do_not_depend_on_calls_either(lines: list[str], cuts: list[int]) -> None:
    whole, cut = Detector(**SMALL), Detector(**SMALL)
    assert in_pieces(cut, lines, cuts) == whole.observe(lines)
    assert cut.snapshot() == whole.snapshot()


@given(st.integers(0, 699))
@settings(max_examples=15, deadline=None)
def test_a_restored_detector_continues_bit_for_bit(at: int) -> None:
    whole = Detector(**SMALL)
    before = whole.observe(LOG[:at])
    data = whole.snapshot()
    copies = [Detector.restore(data), pickle.loads(pickle.dumps(whole)), copy.deepcopy(whole)]
    after = whole.observe(LOG[at:])
    for restored in copies:
        assert restored.snapshot() == data
        assert restored.observe(LOG[at:]) == after
        assert restored.snapshot() == whole.snapshot()
    assert before + after == Detector(**SMALL).observe(LOG)


def test_sessions_are_restored_while_they_are_open() -> None:
    whole = Detector(
        mode="session", session_pattern=r"job=(\w+)", session_idle_s=20, alert_budget=float("inf")
    )
    whole.observe(JOBS[:401])
    restored = Detector.restore(whole.snapshot())
    assert restored.settings == whole.settings
    assert restored.observe(JOBS[401:]) == whole.observe(JOBS[401:])
    assert restored.flush() == whole.flush()


def test_scores_are_those_of_the_command_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "app.log").write_text("\n".join(LOG))
    shape = LogSettings(alert_budget=float("inf"))
    with LogFile(str(tmp_path / "app.log")) as file:
        scored = score_blocks(file, shape, lambda lines, position: None)
    found = Detector(alert_budget=float("inf")).observe("\n".join(LOG))
    assert [(v.key, v.score, v.p_value) for v in found] == [
        (v.key, v.score, v.p_value) for v in scored.verdicts
    ]


def test_lines_may_be_text_bytes_or_one_text() -> None:
    for lines in (
        "\n".join(LOG),
        "\n".join(LOG) + "\n",
        "\n".join(LOG).encode(),
        [line.encode() for line in LOG],
        (line for line in LOG),
        np.array(LOG),
    ):
        detector = Detector(**SMALL)
        assert detector.observe(lines) == Detector(**SMALL).observe(LOG)
        assert detector.lines_seen == len(LOG)


def test_inputs_are_not_mutated() -> None:
    lines, times = list(LOG), np.arange(len(LOG), dtype=np.int64) * 10**9
    times.flags.writeable = False
    Detector(**SMALL).observe(lines, time=times)
    assert lines == LOG


def test_json_lines_are_read_by_their_body() -> None:
    plain, packed = Detector(**SMALL), Detector(**SMALL)
    rows = [json.dumps({"time": line.split(" ", 1)[0], "message": line.split(" ", 1)[1]}) for line in LOG]
    expected = [v.alarm for v in plain.observe(LOG)]
    assert [v.alarm for v in packed.observe(rows)] == expected


def test_times_are_read_or_told_and_move_the_clock() -> None:
    keyed = {"mode": "session", "session_idle_s": 30.0}
    for time in (
        BEGIN,
        BEGIN.isoformat(),
        int(BEGIN.timestamp()) * 10**9,
        np.datetime64(BEGIN.replace(tzinfo=None)),
        None,
    ):
        detector = Detector(**keyed, baseline_units=2)
        line = f"{BEGIN:%Y-%m-%dT%H:%M:%S}Z hello"
        for n in range(3):
            detector.observe([line], session=f"s{n}", time=time)
        assert detector.advance(int(BEGIN.timestamp() + 29) * 10**9) == []
        assert detector.warm_up.units_seen == 0
        (verdict,) = detector.advance(int(BEGIN.timestamp() + 30) * 10**9)
        assert verdict.key == "s2"
        assert verdict.last_time_ns == int(BEGIN.timestamp()) * 10**9


def test_warm_up_is_told() -> None:
    detector = Detector()
    assert detector.warm_up.phase == "learning"
    detector.observe(LOG * 2)
    assert detector.warm_up.phase == "ready"
    assert detector.warm_up.earliest_p <= 0.05
    assert len(detector.baseline_ref) == 64
    assert detector.state_bytes > 1_000


@pytest.mark.parametrize(
    "call",
    [
        lambda: Detector(mode="trace"),
        lambda: Detector(window_size=5),
        lambda: Detector(p_value_threshold=0),
        lambda: Detector(session_pattern="x"),
        lambda: Detector(mode="session", session_pattern=""),
        lambda: Detector(mode="session", session_idle_s=0),
        lambda: Detector(mode="session", session_idle_s=1e300),
        lambda: Detector(mode="session", session_idle_s=float("nan")),
        lambda: Detector(mode="session").observe(["no key"]),
        lambda: Detector().observe(["a key"], session="s"),
        lambda: Detector().observe_unit(["a line"]),
    ],
    ids=["mode", "sizes", "p", "pattern", "empty", "idle", "long", "nan", "no-key", "key", "unit"],
)
def test_wrong_use_is_a_value_error(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.observe([1]),
        lambda d: d.observe(["a", "b"], time=[1]),
        lambda d: d.observe(["a"], time=1.5),
        lambda d: d.observe(["a"], time=datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda d: d.observe(["a"], time="yesterday"),
        lambda d: d.observe(["a"], time=[None]),
    ],
    ids=["line", "count", "float", "naive", "text", "none"],
)
def test_wrong_input_is_refused_and_nothing_is_learned(call) -> None:  # type: ignore[no-untyped-def]
    detector = Detector()
    before = detector.snapshot()
    with pytest.raises(InputError):
        call(detector)
    assert detector.snapshot() == before


def test_a_pattern_that_cannot_be_used_is_told() -> None:
    with pytest.raises(UsageError):
        Detector(mode="session", session_pattern="(")
    with pytest.raises(InputError):
        Detector(mode="session").observe(["a", "b"], session=["one"])


@pytest.mark.parametrize("cut", [0, 4, 30, 400])
def test_what_is_no_snapshot_is_refused(cut: int) -> None:
    detector = Detector(**SMALL)
    detector.observe(LOG)
    for data in (detector.snapshot()[:cut], detector.snapshot()[:-cut], b"DLDETECT" + b"\xff" * cut):
        if data != detector.snapshot():
            with pytest.raises(InputError):
                Detector.restore(data)


def test_a_time_of_day_is_kept_to_the_nanosecond() -> None:
    detector = Detector(mode="session", baseline_units=2)
    when = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
    for n in range(3):
        verdict = detector.observe_unit(["a line"], key=str(n), time=when)
    assert verdict is not None
    assert verdict.first_time_ns == 1_772_368_215_123_456_000
