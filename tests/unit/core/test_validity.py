"""What p-values promise, by simulation: false alarms on stationary logs, and power against real change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from core_logs import SECOND_NS, feed, flat, job, zipf

from driftlock.core.log_stream import LogSettings, LogStream

STREAMS = 6


def daily_log(rng: np.random.Generator, events: int) -> list[int]:
    """A Markov chain over templates whose mix has a day of 2,000 events."""
    day = 0.5 + 0.4 * np.sin(np.arange(events) / 2_000 * 2 * np.pi)
    jump = rng.random(events) < 0.5
    fresh = np.where(rng.random(events) < day, zipf(rng, events, 10), 10 + zipf(rng, events, 10))
    log = [0]
    for at in range(1, events):
        log.append(int(fresh[at]) if jump[at] else (log[-1] + 1) % 20)
    return log


@pytest.mark.parametrize("shape", [(25, 25), (50, 25), (10, 10)])
def test_blocks_of_a_stationary_log_are_flagged_at_most_at_the_nominal_rate(shape: tuple[int, int]) -> None:
    window, hop = shape
    p_values, alarms, units = [], 0, 0
    for seed in range(STREAMS):
        stream = LogStream(LogSettings(window_size=window, hop_size=hop))
        verdicts = feed(stream, zipf(np.random.default_rng(seed), 1_000 * hop, 30))
        p_values += [v.p_value for v in verdicts]
        alarms += sum(v.alarm for v in verdicts)
        units += len(verdicts)
    p = np.array(p_values)
    assert (p <= 0.05).mean() <= 1.2 * 0.05
    assert (p <= 0.01).mean() <= 1.2 * 0.01
    assert alarms <= 0.01 * units


def many_rare_templates(rng: np.random.Generator, events: int) -> np.ndarray:
    return zipf(rng, events, 5_000)


def no_order(rng: np.random.Generator, events: int) -> np.ndarray:
    return zipf(rng, events, 1_000)


def one_cycle(rng: np.random.Generator, events: int) -> np.ndarray:
    """The same 25 lines over and over; one line in a thousand is another one."""
    return np.where(rng.random(events) < 0.001, 25, np.arange(events) % 25)


def two_cycles(rng: np.random.Generator, events: int) -> np.ndarray:
    """A cycle of 25 lines, and at random, one time in twenty, another one."""
    other = np.repeat(rng.random(events // 25) < 0.05, 25)
    return np.arange(events) % 25 + 30 * other


@pytest.mark.parametrize("log", [many_rare_templates, no_order, one_cycle, two_cycles])
def test_what_a_stream_goes_on_learning_makes_no_alarms(
    log: Callable[[np.random.Generator, int], np.ndarray],
) -> None:
    """A model grows surer, so the same rare event costs more each time; ranked exactly, it would outrank its
    like: these logs realised up to three times α."""
    p_values = []
    for seed in range(4):
        stream = LogStream(LogSettings(window_size=25), tells=False)
        p_values += [v.p_value for v in feed(stream, log(np.random.default_rng(seed), 40_000))]
    p = np.array(p_values)
    assert len(p) > 6_000
    assert (p <= 0.05).mean() <= 1.2 * 0.05
    assert (p <= 0.01).mean() <= 1.2 * 0.01 + 2 * (0.01 / len(p)) ** 0.5
    assert (p <= 0.005).mean() <= 1.2 * 0.005 + 2 * (0.005 / len(p)) ** 0.5


def test_sessions_of_a_stationary_log_are_flagged_at_most_at_the_nominal_rate() -> None:
    p_values, alarms = [], 0
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        units = [job(rng) for _ in range(2_000)]
        stream = LogStream(LogSettings(mode="session"))
        keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
        cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
        verdicts = feed(stream, flat(units), sessions=keys, cuts=cuts, step_ns=20 * SECOND_NS)
        p_values += [v.p_value for v in verdicts + stream.flush()]
        alarms += sum(v.alarm for v in verdicts)
    p = np.array(p_values)
    assert len(p) > 5_000
    assert (p <= 0.05).mean() <= 1.2 * 0.05
    assert (p <= 0.01).mean() <= 1.2 * 0.01
    assert alarms <= 3 * 12


def request(rng: np.random.Generator) -> list[int]:
    """Calls end before their callers: 1 calls 0 up to three times, 3 calls 2, and 4 calls 1, 3, or both."""
    parts = [[0] * int(rng.integers(1, 4)) + [1], [2] * int(rng.integers(1, 3)) + [3]]
    chosen = [part for part in parts if rng.random() < 0.7] or parts[:1]
    return [*flat(chosen if rng.random() < 0.5 else chosen[::-1]), 4]


@pytest.mark.parametrize("wrong", [[2, 0, 3, 4], [0, 1, 2, 0, 3, 4], [0, 0, 1, 0, 3, 4], [2, 2, 3, 1, 4]])
def test_one_wrong_step_among_right_ones_is_found(wrong: list[int]) -> None:
    """Each line of these sessions is usual, and so is which lines they hold."""
    rng = np.random.default_rng(5)
    units = [request(rng) for _ in range(600)] + [wrong]
    stream = LogStream(LogSettings(mode="session"))
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    cuts = np.cumsum([len(unit) for unit in units])[:-1].tolist()
    feed(stream, flat(units[:-1]), sessions=keys[: -len(wrong)], cuts=cuts[:-1], step_ns=20 * SECOND_NS)
    feed(stream, wrong, sessions=keys[-len(wrong) :], step_ns=SECOND_NS)
    verdict = stream.flush()[-1]
    assert verdict.key == "600"
    assert verdict.p_value <= 0.01
    costliest = max(verdict.detail["lines"], key=lambda line: line["bits"])
    assert costliest["count"] >= 1


def test_a_log_with_memory_and_days_raises_few_alarms() -> None:
    stream = LogStream(LogSettings())
    verdicts = feed(stream, daily_log(np.random.default_rng(3), 40_000))
    p = np.array([v.p_value for v in verdicts])
    assert (p <= 0.05).mean() <= 0.1
    assert sum(v.alarm for v in verdicts) <= 20


@pytest.mark.parametrize(("anomalous", "least"), [(1, 0.6), (3, 0.9), (8, 0.99), (25, 1.0)])
def test_power_against_unusual_but_known_lines(anomalous: int, least: float) -> None:
    """Windows of 25 in which some events come from the tail of what was ever seen, not from anything new."""
    stream, rng = LogStream(LogSettings(window_size=25)), np.random.default_rng(20)
    feed(stream, zipf(rng, 25 * 500, 30))
    found = []
    for trial in range(40):
        odd = zipf(rng, 25, 30)
        places = rng.choice(25, anomalous, replace=False)
        odd[places] = 60 + rng.integers(0, 3, anomalous) + 3 * trial
        judge = LogStream.restore(LogSettings(window_size=25), stream.snapshot())
        (verdict,) = feed(judge, odd)
        found.append(verdict.p_value <= 0.05)
    assert np.mean(found) >= least


def test_anomalous_sessions_are_found_although_the_baseline_holds_some() -> None:
    rng = np.random.default_rng(30)
    broken = rng.random(3_000) < 0.03
    units = [job(rng, broken=bool(b)) for b in broken]
    stream = LogStream(LogSettings(mode="session"))
    keys = [b"%d" % n for n, unit in enumerate(units) for _ in unit]
    feed(stream, flat(units), sessions=keys)
    verdicts = stream.flush()
    # sessions that were crowded out were judged by `feed`; these are the last ones
    p = {int(v.key): v.p_value for v in verdicts}
    strange = np.array([p[n] for n in p if broken[n]])
    ordinary = np.array([p[n] for n in p if not broken[n]])
    assert (strange <= 0.05).mean() >= 0.95
    assert (ordinary <= 0.05).mean() <= 0.05
