"""The kernel that takes many units at a stretch, against one unit after another by the plain methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from core_logs import SECOND_NS, feed, hash_of, job, line_of, sizes, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder import UNITS_REMEMBERED_MAX
from driftlock.core.log_model import LogModel, _leave_one_out
from driftlock.core.log_run import NEEDS_ROOM
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.log_units import Assembled
from driftlock.core.verdict import Verdict

BLOCKS = LogSettings(baseline_size=40, window_size=15, hop_size=5, alert_budget=1e9)
SESSIONS = LogSettings(mode="session", baseline_size=100, session_idle_ns=10 * SECOND_NS, alert_budget=1e9)
TIMES = LogSettings(mode="time", block_ns=10 * SECOND_NS, baseline_units=60, alert_budget=1e9)


@contextmanager
def one_by_one() -> Iterator[None]:
    """The oracle: every unit goes by the plain methods, for the kernel always says that it needs room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            LogModel, "run", lambda self, units, callers, hours, first, *_, **__: (first, NEEDS_ROOM)
        )
        patch.setattr(
            LogModel,
            "_leave_one_out",
            lambda self, units, kept: _leave_one_out(self._coders, units, kept, self.assess),
        )
        yield


def both(work: Callable[[], tuple[list[Verdict], bytes]]) -> tuple[list[Verdict], bytes]:
    with one_by_one():
        slow = work()
    fast = work()
    assert fast == slow
    return fast


@given(st.integers(0, 9), st.sampled_from([5, 10, 15]), st.sampled_from([2, 12, 60]))
@settings(max_examples=25, deadline=None)
def test_blocks_are_judged_alike(seed: int, window: int, templates: int) -> None:
    rng = np.random.default_rng(seed)
    log, numbers = zipf(rng, 2_000, templates), sizes(rng, 2_000)

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(BLOCKS, window_size=window))
        return feed(stream, log, numbers=numbers, cuts=[700, 701, 1_500]), stream.snapshot()

    verdicts, _ = both(work)
    assert len(verdicts) > 300


@given(st.integers(0, 9), st.sampled_from([0.5, 4.0, 40.0]), st.sampled_from([0.01, 0.05]))
@settings(max_examples=12, deadline=None)
def test_blocks_of_time_are_judged_alike_empty_and_flooded_ones_too(
    seed: int, rate: float, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    volumes = rng.poisson(rate, 700)
    volumes[400:410], volumes[500:502], volumes[600] = 0, 50 * rate, 3_000
    log = zipf(rng, int(volumes.sum()), 12)
    times = (1_000 + 10 * np.repeat(np.arange(700), volumes)) * SECOND_NS

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(TIMES, p_value_threshold=threshold))
        return feed(stream, log, times_ns=times, cuts=[70, 71, 1_500], now_ns=0), stream.snapshot()

    verdicts, _ = both(work)
    assert len(verdicts) > 300
    assert any(not v.events for v in verdicts)
    assert rate < 40 or "silence" in {v.kind for v in verdicts if v.alarm}


@given(st.integers(0, 9), st.integers(1, 5), st.booleans(), st.sampled_from([0.02, 0.05]))
@settings(max_examples=15, deadline=None)
def test_units_of_known_hours_are_judged_alike(
    seed: int, hours: int, timeless: bool, threshold: float
) -> None:
    """Days of few hours, so that their own sets fill, grow and give way; some events tell no time."""
    rng = np.random.default_rng(seed)
    log = zipf(rng, 12_000, 20)
    days, places = np.divmod(np.arange(len(log)), 300 * hours)
    times = (days * 24 + places // 300) * 3600 * SECOND_NS + 1
    times[rng.random(len(log)) < 0.05 * timeless] = 0

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(BLOCKS, p_value_threshold=threshold))
        return feed(stream, log, times_ns=times, cuts=[700, 701, 9_000]), stream.snapshot()

    verdicts, _ = both(work)
    assert any(v.calibration_size <= 256 for v in verdicts[1_000:])


@given(st.integers(0, 9), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_sessions_that_go_on_are_judged_alike(seed: int, pause: int) -> None:
    rng = np.random.default_rng(seed)
    events: list[int] = []
    keys: list[bytes] = []
    for number in rng.integers(0, 300, 900).tolist():
        part = job(rng, broken=bool(rng.random() < 0.02))
        events += part
        keys += [b"job-%d" % number] * len(part)
    numbers = sizes(rng, len(events))

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(SESSIONS)
        cuts = range(pause, len(events), pause)
        told = {"sessions": keys, "numbers": numbers}
        verdicts = feed(stream, events, **told, cuts=cuts, step_ns=SECOND_NS // 5)
        return verdicts + stream.flush(), stream.snapshot()

    verdicts, _ = both(work)
    assert any(v.events_known for v in verdicts)


def test_tables_that_grow_fill_and_fade_are_treated_alike() -> None:
    rng = np.random.default_rng(4)
    log = np.where(rng.random(60_000) < 0.3, rng.integers(0, 400, 60_000), rng.integers(0, 6, 60_000))

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(BLOCKS, hop_size=3, window_size=3))
        return feed(stream, log), stream.snapshot()

    verdicts, _ = both(work)
    assert len(verdicts) > UNITS_REMEMBERED_MAX  # so that counters were halved, too


def test_units_of_whole_input_are_judged_alike_and_long_ones_too() -> None:
    rng = np.random.default_rng(7)
    lengths = [*rng.integers(1, 12, 400).tolist(), 300, 5, 129, 128, 127]
    log, numbers = zipf(rng, sum(lengths), 30), sizes(rng, sum(lengths))
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    lines = [line_of(int(t)) for t in log]
    ends = np.cumsum([len(line) for line in lines])
    starts = ends - [len(line) for line in lines]
    units = Assembled(
        [f"u{n}" for n in range(len(lengths))],
        bounds,
        bounds[:-1] + 1,
        bounds[1:],
        bounds[:-1] * SECOND_NS,
        bounds[1:] * SECOND_NS,
    )

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(SESSIONS, baseline_units=50))
        hashes = np.array([hash_of(int(t)) for t in log], np.uint64)
        buffer = np.frombuffer(b"".join(lines), np.uint8)
        return stream.add_units(units, hashes, buffer, starts, ends, numbers=numbers), stream.snapshot()

    verdicts, _ = both(work)
    assert [v.key for v in verdicts] == [f"u{n}" for n in range(50, len(lengths))]
    assert [v.events for v in verdicts] == lengths[50:]


@pytest.mark.parametrize("templates", [8, 400])
def test_long_baselines_are_learned_alike(templates: int) -> None:
    """With many templates the tables fill on the way, so that some units go by the plain methods."""
    rng = np.random.default_rng(templates)
    lengths = [*rng.integers(1, 20, 900).tolist(), 200, 3]
    log = rng.integers(0, templates, sum(lengths))
    numbers = sizes(rng, len(log))
    keys = [b"%d" % unit for unit, size in enumerate(lengths) for _ in range(size)]

    def work() -> tuple[list[Verdict], bytes]:
        stream = LogStream(replace(SESSIONS, baseline_units=800))
        told = {"sessions": keys, "numbers": numbers}
        verdicts = feed(stream, log, **told, cuts=range(90, len(log), 90), step_ns=SECOND_NS)
        assert stream.baseline_ref
        return verdicts, stream.snapshot() + stream.baseline_bytes()

    both(work)
