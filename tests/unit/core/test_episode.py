"""Episodes: when they grow and end, by an oracle; those of a stream of lines, whole and cut into calls."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from core_logs import SECOND_NS, feed, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.calibration_hours import Rank
from driftlock.core.episode import BLOCKS_QUIET, BlockEpisodes, Episode
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.verdict import Verdict

SETTINGS = LogSettings(baseline_size=400, window_size=50, hop_size=25)


def expected(verdicts: list[Verdict]) -> list[Episode | None]:
    """Each verdict's episode by definition, from the p-values and alarms before it."""
    found: list[Episode | None] = []
    members: list[Verdict] = []
    quiet = 0
    for v in verdicts:
        if v.alarm or (members and suspicious(v, members)):
            members.append(v)
            quiet = 0
        elif members:
            quiet += 1
        told = bool(members) and (members[-1] is v or quiet == BLOCKS_QUIET)
        found.append(_of(members, is_open=quiet < BLOCKS_QUIET) if told else None)
        if quiet == BLOCKS_QUIET:
            members, quiet = [], 0
    return found


def suspicious(v: Verdict, own: list[Verdict]) -> bool:
    """By its p-value, or by that among the scores which are not the episode's own."""
    threshold, size = SETTINGS.p_value_threshold, v.calibration_size
    reached = round(v.p_value * (1 + size)) - 1
    return v.p_value <= threshold or (1 + max(reached - len(own), 0)) / (1 + size - len(own)) <= threshold


def _of(members: list[Verdict], *, is_open: bool) -> Episode:
    alarm, newest = members[0], members[-1]
    peak, lowest = max(m.score for m in members), min(m.p_value for m in members)
    name = (alarm.key, alarm.first, alarm.last)
    return Episode(*name, is_open, len(members), newest.last, newest.last_time_ns, peak, lowest)


def faulty(seed: int, events: int = 16_000) -> np.ndarray:
    """Ordinary lines with stretches of faults of several lengths, each of a kind of its own."""
    rng = np.random.default_rng(seed)
    lines = zipf(rng, events)
    for number, length in enumerate((30, 200, 400)):
        start = 8_000 + number * 2_500 + int(rng.integers(100))
        lines[start : start + length : 3] = 49 + 50 * (number + 1)
    return lines


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_streams_episodes_are_those_of_the_definition(seed: int) -> None:
    verdicts = feed(LogStream(SETTINGS, tells=False), faulty(seed))
    told = [v.episode for v in verdicts]
    assert told == expected(verdicts)
    alarms = [v for v in verdicts if v.alarm]
    assert alarms
    assert all(v.episode is not None and v.episode.units == 1 and v.episode.open for v in alarms)
    ended = [e for e in told if e is not None and not e.open]
    lengths = [e.last_event - e.first for e in ended if e.first >= 7_900]
    assert len(lengths) >= 3
    assert max(lengths) >= 350, "a stretch of 400 lines is one event"


@given(st.lists(st.integers(1, 15_999), max_size=12), st.booleans())
@settings(max_examples=15, deadline=None)
def test_cuts_and_restarts_change_no_episode(cuts: list[int], restarts: bool) -> None:
    lines = faulty(1)
    whole = feed(LogStream(SETTINGS, tells=False), lines)
    stream, verdicts, low = LogStream(SETTINGS, tells=False), [], 0
    for cut in [*sorted(set(cuts)), len(lines)]:
        verdicts += feed(stream, lines[low:cut], first=low)
        low = cut
        if restarts:
            stream = LogStream.restore(SETTINGS, stream.snapshot())
            stream._judge._tell = None  # what is told in words takes long, and is not compared here
    assert [v.episode for v in verdicts] == [v.episode for v in whole]


def test_an_open_episode_can_be_ended_once() -> None:
    stream = LogStream(SETTINGS, tells=False)
    lines = faulty(1)
    begun = next(v for v in feed(LogStream(SETTINGS, tells=False), lines) if v.alarm)
    feed(stream, lines[: begun.last + 1])
    assert stream.in_episode
    ended = stream.end_episode()
    assert ended is not None
    assert not ended.open
    assert (ended.first, ended.last, ended.units) == (begun.first, begun.last, 1)
    assert not stream.in_episode
    assert stream.end_episode() is None


def test_sessions_have_no_episodes() -> None:
    rng = np.random.default_rng(5)
    stream = LogStream(LogSettings(mode="session", session_idle_ns=10), tells=False)
    lines = [int(t) for t in zipf(rng, 6_000)]
    lines[5_000:5_050] = [149] * 50
    keys = [b"s%d" % (n // 10) for n in range(6_000)]
    verdicts = feed(stream, lines, sessions=keys, cuts=range(50, 6_000, 50), step_ns=1) + stream.flush()
    assert any(v.alarm for v in verdicts)
    assert not any(v.episode for v in verdicts)


def strange(reached: int = 0, size: int = 999, *, of_hour: bool = False) -> Rank:
    return Rank(reached, size, of_hour)


def test_its_own_blocks_are_left_out_of_the_comparison_by_hour() -> None:
    episodes = BlockEpisodes(0.01)
    episodes.begin(Episode.begun("k", 0, 9, time_ns=1, score=30.0, p_value=0.001), 14)
    for n in range(40):  # beyond αn = 10 blocks
        grown = episodes.take(n, time_ns=n, score=30.0, rank=strange(n + 1), hour=14)
        assert grown is not None
        assert grown.units == n + 2
    twin = BlockEpisodes(0.01)
    twin.load(episodes.state())
    assert twin.state() == episodes.state()
    # an hour later, ranked among that hour's scores, none of which are its own
    for each in (episodes, twin):
        assert each.take(50, time_ns=50, score=9.0, rank=strange(30, 200, of_hour=True), hour=15) is None
        quiet = [each.take(51 + n, time_ns=51, score=9.0, rank=strange(60), hour=15) for n in range(2)]
        assert quiet[0] is None
        assert quiet[1] is not None
        assert (quiet[1].open, quiet[1].units) == (False, 41)
        assert not each.open


def test_what_lasts_becomes_usual() -> None:
    """Its blocks are left out up to a bound, so that an episode ends at last even if nothing is learned."""
    episodes = BlockEpisodes(0.01)
    episodes.begin(Episode.begun("k", 0, 0, time_ns=1, score=30.0, p_value=0.001), -1)
    units = 0
    while episodes.open and units < 2_000:
        units += 1
        episodes.take(units, time_ns=units, score=30.0, rank=strange(min(units, 2_000), 2_000), hour=-1)
    assert 500 <= units <= 530


def test_doublings_and_the_end_are_news() -> None:
    episode = Episode.begun("k", 0, 0, time_ns=0, score=1.0, p_value=0.01)
    told = []
    for n in range(20):
        told += [episode.units] if episode.is_news else []
        episode = episode.grown(n, time_ns=n, score=1.0, p_value=0.01)
    assert told == [1, 2, 4, 8, 16]
    assert not episode.is_news
    assert episode.ended().is_news


def two_faults(*, silence_h: int, cuts: list[int]) -> list[Verdict]:
    """A fault of 60 lines, nothing for so long, and another fault of 60 lines; the state restored at cuts."""
    log = [*zipf(np.random.default_rng(8), 2_010, 8).tolist(), *[70] * 60, *[80] * 60]
    log += zipf(np.random.default_rng(9), 200, 8).tolist()
    times = np.arange(1, 1 + len(log)) * SECOND_NS
    times[2_070:] += silence_h * 3_600 * SECOND_NS
    stream, verdicts = LogStream(SETTINGS), list[Verdict]()
    for low, high in pairwise([0, *cuts, len(log)]):
        verdicts += feed(stream, log[low:high], first=low, times_ns=times[low:high])
        stream = LogStream.restore(SETTINGS, stream.snapshot())
    return verdicts


@pytest.mark.parametrize("cuts", [[2_069], [2_070], [2_071], list(range(7, 2_300, 7))])
def test_an_hour_without_events_ends_an_episode_so_that_the_next_fault_is_told(cuts: list[int]) -> None:
    verdicts = two_faults(silence_h=2, cuts=cuts)
    assert verdicts == two_faults(silence_h=2, cuts=[])
    first, second = (verdict for verdict in verdicts if verdict.alarm)
    assert ("thing 70 " in first.explanation, "thing 80 " in second.explanation) == (True, True)
    courses = [v.episode for v in verdicts if v.episode is not None]
    over = [episode for episode in courses if not episode.open]
    assert [(episode.first, episode.last_event) for episode in over][:1] == [(first.first, 2_049)]
    assert len([v for v in two_faults(silence_h=0, cuts=cuts) if v.alarm]) == 1
