"""A stream cut by time as a whole: silence and floods are found, and ordinary blocks are left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from core_logs import SECOND_NS, hash_of, line_of, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder_bytes import NAMES
from driftlock.core.log_baseline import Baseline
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.templates import TEMPLATES_MAX
from driftlock.core.time_blocks import EMPTY_BLOCKS_MAX
from driftlock.core.verdict import Verdict

MINUTE_NS = 60 * SECOND_NS
BEGIN_NS = 1_767_225_600 * SECOND_NS  # 2026-01-01
SERVER = LogSettings(mode="time", p_value_threshold=0.01)
SMALL = LogSettings(mode="time", block_ns=10 * SECOND_NS, baseline_units=60, alert_budget=1e9)

LINES = [line_of(template) for template in range(600)]
ENDS = np.cumsum([len(line) for line in LINES])
STARTS = ENDS - np.array([len(line) for line in LINES])
BUFFER = np.frombuffer(b"".join(LINES), np.uint8)
HASHES = np.array([hash_of(template) for template in range(len(LINES))], np.uint64)

Int64s = npt.NDArray[np.int64]


def add(
    stream: LogStream, templates: Int64s, times: Int64s, *, first: int = 0, now_ns: int = 0, calls: int = 1
) -> list[Verdict]:
    """Feeds events in so many calls."""
    found: list[Verdict] = []
    for rows in np.array_split(np.arange(len(templates)), calls):
        kinds = templates[rows]
        columns = (HASHES[kinds], BUFFER, STARTS[kinds], ENDS[kinds], times[rows], rows + first)
        found += stream.add(*columns, now_ns=now_ns)
    return found


def poisson(seed: int, rates: npt.ArrayLike, *, begin_ns: int = BEGIN_NS) -> tuple[Int64s, Int64s]:
    """Events of blocks of a minute with these expected volumes: templates and times."""
    rng = np.random.default_rng(seed)
    volumes = rng.poisson(np.asarray(rates))
    offsets = rng.integers(0, MINUTE_NS, int(volumes.sum()))
    times = np.sort(begin_ns + np.repeat(np.arange(len(volumes)) * MINUTE_NS, volumes) + offsets)
    return zipf(rng, len(times), 30), times


def of_day(blocks: int, season: float = 0.6) -> npt.NDArray[np.float64]:
    """What of its mean rate a stream has in each minute from midnight on."""
    shares: npt.NDArray[np.float64] = 1 + season * np.sin(2 * np.pi * np.arange(blocks) / 1_440)
    return shares


@pytest.fixture(scope="module")
def learned() -> tuple[bytes, int]:
    """A stream of forty lines a minute after two days, and the end of its last block."""
    stream = LogStream(SERVER, tells=False)
    add(stream, *poisson(1, np.full(2_880, 40.0)))
    stream.tick(BEGIN_NS + 2_880 * MINUTE_NS)
    return stream.snapshot(), BEGIN_NS + 2_880 * MINUTE_NS


def test_a_stream_that_falls_silent_alarms_once_with_its_first_empty_block(
    learned: tuple[bytes, int],
) -> None:
    state, end_ns = learned
    stream = LogStream.restore(SERVER, state)
    found = stream.tick(end_ns + 600 * MINUTE_NS)
    assert [v.events for v in found] == [0] * EMPTY_BLOCKS_MAX
    assert [v.alarm for v in found] == [True, False, False]
    alarm = found[0]
    assert (alarm.kind, alarm.key) == ("silence", "block 2026-01-03T00:00:00Z")
    assert (alarm.first_time_ns, alarm.last_time_ns) == (end_ns, end_ns + MINUTE_NS - 1)
    assert alarm.first == alarm.last == found[2].last  # the last line before it
    assert alarm.p_value <= 0.001
    assert alarm.severity == "critical"
    assert alarm.explanation.endswith(": no line came, where about 41 a block are usual.")
    detail = json.loads(json.dumps(alarm.detail))
    assert detail["volume"] == {"lines_now": 0, "lines_usual": 41}
    assert detail["lines"] == []
    whole = {part["why"]: part["bits"] for part in detail["whole_unit"]}
    assert set(whole) == {"that nothing came", "its set of templates", "a usual line is missing"}
    assert sum(whole.values()) == sum(detail["parts"].values()) == alarm.score
    assert detail["templates_gone"][0]["line"] == LINES[0].decode()
    assert not stream.waits_for_block
    assert stream.in_episode


def test_the_episode_of_a_silence_lasts_until_lines_come_again(learned: tuple[bytes, int]) -> None:
    state, end_ns = learned
    stream = LogStream.restore(SERVER, state)
    begun = stream.tick(end_ns + 300 * MINUTE_NS)[0].episode
    assert begun is not None
    templates, times = poisson(3, np.full(10, 40.0), begin_ns=end_ns + 300 * MINUTE_NS)
    found = add(stream, templates, times, first=10**6)
    assert not any(v.alarm for v in found)
    (over,) = [v.episode for v in found if v.episode is not None and not v.episode.open]
    assert (over.key, over.units) == (begun.key, EMPTY_BLOCKS_MAX)


@pytest.mark.parametrize("times_as_much", [10.0, 0.1])
def test_a_flood_and_a_trickle_alarm_by_their_volume(
    learned: tuple[bytes, int], times_as_much: float
) -> None:
    state, end_ns = learned
    stream = LogStream.restore(SERVER, state)
    add(stream, *poisson(4, [40 * times_as_much], begin_ns=end_ns), first=10**6)
    (alarm,) = stream.tick(end_ns + MINUTE_NS)
    assert (alarm.alarm, alarm.kind) == (True, "unit")
    assert alarm.explanation.endswith(f": {alarm.events:,} lines came, where about 41 a block are usual.")
    told = json.loads(json.dumps(alarm.detail))
    assert told["volume"] == {"lines_now": alarm.events, "lines_usual": 41}
    shown = sum(line["bits"] for line in told["lines"]) + told["other_lines"]["bits"]
    assert shown + sum(part["bits"] for part in told["whole_unit"]) == alarm.score == told["score_bits"]
    assert sum(told["parts"].values()) == alarm.score


@pytest.mark.parametrize("rate", [12, 40])
def test_every_silence_is_found_by_the_server_s_defaults_after_two_days(rate: int) -> None:
    for seed in range(6):
        stream = LogStream(SERVER, tells=False)
        add(stream, *poisson(10 + seed, np.full(2_880, float(rate))))
        found = [v for v in stream.tick(BEGIN_NS + 2_890 * MINUTE_NS) if not v.events]
        assert found[0].p_value <= 0.01
        assert stream.in_episode, "it alarmed, unless an earlier alarm is still open"


def test_a_second_silence_a_week_later_is_found_as_the_first_was() -> None:
    stream, end_ns = LogStream(SERVER, tells=False), BEGIN_NS
    alarms = []
    for part, days in enumerate((3, 7)):
        add(stream, *poisson(part, np.full(days * 1_440, 40.0), begin_ns=end_ns), first=part * 10**6)
        end_ns += days * 1_440 * MINUTE_NS
        stream.tick(end_ns)
        end_ns += 60 * MINUTE_NS
        alarms.append([v.alarm for v in stream.tick(end_ns)])
    assert alarms == [[True, False, False]] * 2


@pytest.mark.parametrize(("rate", "season"), [(3.0, 0.0), (40.0, 0.0), (40.0, 0.6)])
def test_ordinary_blocks_reach_p_values_no_more_often_than_promised(rate: float, season: float) -> None:
    """Poisson streams of four days, with hours of the day told apart on the last."""
    p_values = []
    for seed in range(3):
        stream = LogStream(SERVER, tells=False)
        found = add(stream, *poisson(seed, rate * of_day(5_760, season)))
        p_values.append([v.p_value for v in found])
    every = np.concatenate(p_values)
    assert len(every) > 16_000
    for alpha in (0.05, 0.01):
        assert (every <= alpha).mean() <= 1.2 * alpha
    assert sum(v.alarm for v in found) <= 20


@given(calls=st.integers(1, 400), cut=st.integers(1, 3_999))
@settings(max_examples=8, deadline=None)
def test_verdicts_depend_neither_on_calls_nor_on_restarts(calls: int, cut: int) -> None:
    rng = np.random.default_rng(8)
    times = BEGIN_NS + np.sort(rng.integers(0, 300 * 10 * SECOND_NS, 4_000))
    times[3_000:] += 10_000 * SECOND_NS  # a pause, and some that are late or tell no time
    times[rng.integers(0, 4_000, 50)] -= 25 * SECOND_NS
    times[rng.integers(0, 4_000, 50)] = 0
    templates = zipf(rng, 4_000, 20)
    whole = LogStream(SMALL)
    expected = add(whole, templates, times)
    assert any(v.alarm and not v.events for v in expected)
    stream = LogStream(SMALL)
    found = add(stream, templates[:cut], times[:cut], calls=min(calls, cut))
    data = stream.snapshot()
    restored = LogStream.restore(SMALL, data)
    assert restored.snapshot() == data
    found += add(restored, templates[cut:], times[cut:], first=cut, calls=calls)
    assert found == expected
    assert restored.snapshot() == whole.snapshot()
    assert restored.late_events == whole.late_events > 0


def test_the_baseline_holds_the_volumes_of_its_blocks_and_what_of_them_was_kept() -> None:
    stream = LogStream(replace(SMALL, block_ns=60 * SECOND_NS, baseline_units=50))
    add(stream, *poisson(1, [3_000.0, *[2.0] * 60]))
    baseline = Baseline.decode(stream.baseline_bytes())
    assert baseline.encode() == stream.baseline_bytes()
    assert len(baseline.volumes) == 50
    assert list(baseline.volumes) == [len(unit) for unit in baseline.units]
    assert 0 in baseline.volumes


@pytest.mark.parametrize("coder", [name for name in NAMES if name != "openzl"])
def test_a_block_of_nothing_is_told_by_every_compressor(learned: tuple[bytes, int], coder: str) -> None:
    state, end_ns = learned
    stream = LogStream.restore(replace(SERVER, byte_coder=coder), state)  # type: ignore[arg-type]
    measures = stream.tick(end_ns + MINUTE_NS)[0].measures
    assert measures is not None
    assert 0.0 <= measures.ncd <= 1.5


def test_the_state_of_busy_blocks_stays_within_256_kib() -> None:
    """Thousands of lines a block, templates that come and go, all hours of the day."""
    rng = np.random.default_rng(2)
    stream = LogStream(replace(SMALL, block_ns=60 * SECOND_NS, baseline_units=None), tells=False)
    for day in range(3):
        for hour in range(24):
            begin_ns = BEGIN_NS + (day * 24 + hour) * 3_600 * SECOND_NS
            times = begin_ns + np.sort(rng.integers(0, 240 * SECOND_NS, 6_000))
            kinds = rng.integers(0, TEMPLATES_MAX + 80, 6_000)
            add(stream, kinds, times, first=(day * 24 + hour) * 6_000)
            assert stream.state_bytes <= 256 * 1024
    assert stream.warm_up.phase == "ready"


def test_a_log_without_lines_in_its_baseline_but_one_is_judged_all_the_same() -> None:
    stream = LogStream(SMALL)
    times = BEGIN_NS + np.arange(200) * 200 * SECOND_NS  # nineteen empty blocks after each
    found = add(stream, np.zeros(200, np.int64), times)
    judged = 198 + 199 * EMPTY_BLOCKS_MAX  # without the first block of a line and the last
    assert len(found) == judged - 60
    assert not any(v.alarm for v in found[200:])
