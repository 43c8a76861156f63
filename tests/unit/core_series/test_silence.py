"""A series that falls silent is told once, at the right second, and a healthy one hardly ever."""

from __future__ import annotations

import bisect
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.silence import (
    EDGES,
    LEAP_S,
    NEVER,
    PAUSE_FACTOR,
    SILENCES_A_WEEK,
    WEEK_S,
    Silence,
    SilenceWatch,
)
from driftlock.errors import UsageError

SECOND_NS = 10**9
START_S = 1_700_000_000
ALPHA = 0.01
ONE = np.zeros(1, np.int64)


class Player:
    """Lets one watch live through seconds, as the engine does: first the clock, then the reports."""

    def __init__(self, series: int = 1) -> None:
        self.watch = SilenceWatch(p_value_threshold=ALPHA)
        self.now_s = START_S
        self.rows = np.arange(series)
        self.found: list[tuple[int, Silence]] = []

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.found += [(self.now_s, s) for s in self.watch.move(self.now_s * SECOND_NS)]

    def report(self, rows: np.ndarray | None = None) -> None:
        rows = self.rows if rows is None else rows
        self.watch.heard(rows, np.zeros(len(rows), np.int64), rows, now_ns=self.now_s * SECOND_NS)

    def steady(self, gap: int, reports: int) -> None:
        for _ in range(reports):
            self.report()
            self.wait(gap)


def slow_wait(gaps: list[int]) -> int:
    """The shortest pause that is told after these gaps, from the list of them."""
    n = len(gaps)
    if not n:
        return int(NEVER)
    edges = EDGES.tolist()
    floors = [edges[bisect.bisect_right(edges, gap) - 1] for gap in gaps]
    median = next(e for e in edges if 2 * sum(f >= e for f in floors) <= n)
    for edge in edges:
        reached = sum(gap >= edge for gap in gaps)
        p = Fraction(1 + reached, 1 + n)
        rare = reached == 0 or p * WEEK_S * n / sum(gaps) <= SILENCES_A_WEEK
        if float(p) <= ALPHA and rare and edge >= PAUSE_FACTOR * max(median - 1, 1):
            return int(edge)
    return int(NEVER)


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 100), min_size=1, max_size=60),
    times=st.integers(1, 12),
)
def test_the_deadline_is_the_oracles(gaps: list[int], times: int) -> None:
    gaps = gaps * times
    watch = SilenceWatch(p_value_threshold=ALPHA)
    now = START_S
    watch.heard(ONE, ONE, ONE, now_ns=now * SECOND_NS)
    for gap in gaps:
        now += gap
        assert len(watch.move(now * SECOND_NS)) <= 1
        watch.heard(ONE, ONE, ONE, now_ns=now * SECOND_NS)
    expected = slow_wait(gaps)
    for second in range(1, 1_300):
        found = watch.move((now + second) * SECOND_NS)
        if found:
            assert second == expected
            return
    assert expected > 1_299


def test_a_steady_series_that_stops_is_told_once() -> None:
    player = Player()
    player.steady(60, 300)
    player.wait(3_600)
    ((when, silence),) = player.found
    last = START_S + 299 * 60
    assert silence.since_ns == last * SECOND_NS
    assert silence.elapsed_s == when - last
    assert 180 <= silence.elapsed_s <= 240
    assert (silence.gaps, silence.reached, silence.p_value) == (299, 0, 1 / 300)
    assert not player.watch.pending, "nothing is waited for once it was told"


def test_when_it_comes_back_the_silence_is_over_and_the_next_is_judged_by_it() -> None:
    player = Player()
    player.steady(60, 300)
    player.wait(1_200)
    player.steady(60, 30)
    assert len(player.found) == 1
    player.wait(1_000)
    assert len(player.found) == 1, "it has been silent for so long before, and not long ago"
    player.wait(2_000)
    assert len(player.found) == 2, "but not for so long"


def test_one_lost_report_is_no_silence() -> None:
    player = Player()
    player.steady(60, 300)
    player.wait(60)
    player.steady(60, 10)
    assert player.found == []


def test_too_few_gaps_tell_nothing_and_the_waiting_ends() -> None:
    player = Player()
    player.steady(10, 99)
    assert player.watch.pending
    player.wait(4_000)
    assert player.found == []
    assert not player.watch.pending


def test_time_in_which_nobody_listened_is_not_counted() -> None:
    player = Player()
    player.steady(60, 300)
    player.now_s += LEAP_S + 3_600
    player.steady(60, 10)
    assert player.found == []


@pytest.mark.parametrize("kind", ["steady", "jitter", "poisson", "heavy"])
def test_healthy_series_are_hardly_ever_told(kind: str) -> None:
    """A week of reports about every minute: at most ln N + the weekly share on average over the series."""
    rng = np.random.default_rng(5)
    series = 4
    watch = SilenceWatch(p_value_threshold=ALPHA)
    draw = {
        "steady": lambda n: np.full(n, 60.0),
        "jitter": lambda n: rng.normal(60, 8, n),
        "poisson": lambda n: rng.exponential(60, n),
        "heavy": lambda n: 30 * (1 + rng.pareto(1.5, n)),
    }[kind]
    reports = [(int(t), row) for row in range(series) for t in np.cumsum(np.maximum(draw(22_000), 1))]
    told = 0
    for t, row in sorted(r for r in reports if r[0] < WEEK_S):
        now_ns = (START_S + t) * SECOND_NS
        told += len(watch.move(now_ns))
        watch.heard(np.array([row]), ONE, ONE, now_ns=now_ns)
    limit = {"steady": 0.0, "jitter": 0.0}.get(kind, np.log(10_000 / 99) + SILENCES_A_WEEK)
    assert told / series <= limit


def test_restored_and_cut_anywhere_it_finds_the_same() -> None:
    rng = np.random.default_rng(3)
    plan = [rng.random(3) < 0.3 for _ in range(1_500)]
    whole, cut = Player(3), Player(3)
    for step, rows in enumerate(plan):
        alive = np.flatnonzero(rows & (np.array([step, step + 300, step + 600]) < 1_400))
        for player in (whole, cut):
            player.wait(2)
            if len(alive):
                player.report(alive)
        if step % 97 == 0:
            clock, data = cut.watch.clock, cut.watch.snapshot()
            cut.watch = SilenceWatch.restore(data, p_value_threshold=ALPHA)
            cut.watch.clock = clock
    for player in (whole, cut):
        player.wait(600)
    assert whole.found == cut.found
    assert {s.row for _, s in whole.found} == {0, 1, 2}
    assert whole.watch.snapshot() == cut.watch.snapshot()


def test_another_layout_is_refused() -> None:
    with pytest.raises(UsageError, match="another version"):
        SilenceWatch.restore(b"DLQUIET0" + bytes(8), p_value_threshold=ALPHA)


def test_counts_are_halved_before_they_overflow() -> None:
    player = Player()
    player.steady(1, 70_000)
    assert player.found == []
    player.wait(100)
    ((_, silence),) = player.found
    assert 32_768 <= silence.gaps < 65_535
    assert silence.usual_s == 1
