"""The sliding window equals its slow definition: at most `limit` allowed requests in any 60 seconds."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from driftlock.api.ratelimit import ROUNDING_S, TRACKED_MAX, WINDOW_S, RateLimiter


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 5)), max_size=60))
def test_equals_the_slow_definition(steps: list[tuple[float, int]]) -> None:
    limiter, allowed, now_s = RateLimiter(), list[float](), 1000.0
    for wait_s, limit in steps:
        now_s += wait_s
        recent = [time for time in allowed if time + WINDOW_S > now_s + ROUNDING_S]
        outcome = limiter.take("key", limit=limit, now_s=now_s)
        assert outcome.allowed is (len(recent) < limit)
        if outcome.allowed:
            allowed.append(now_s)
            recent.append(now_s)
        assert outcome.remaining == max(0, limit - len(recent))


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.integers(1, 4))
def test_retry_after_is_long_enough(waits: list[float], limit: int) -> None:
    limiter, now_s = RateLimiter(), 0.0
    for wait_s in waits:
        now_s += wait_s
        outcome = limiter.take("key", limit=limit, now_s=now_s)
        if not outcome.allowed:
            assert int(outcome.headers()["Retry-After"]) == outcome.reset_s >= 1
            now_s += outcome.reset_s
            assert limiter.take("key", limit=limit, now_s=now_s).allowed


def test_keys_do_not_share_a_window() -> None:
    limiter = RateLimiter()
    assert limiter.take("a", limit=1, now_s=0).allowed
    assert limiter.take("b", limit=1, now_s=0).allowed
    assert not limiter.take("a", limit=1, now_s=0).allowed


def test_memory_is_bounded() -> None:
    limiter = RateLimiter()
    for number in itertools.islice(itertools.count(), TRACKED_MAX + 100):
        limiter.take(str(number), limit=1, now_s=0)
    assert len(limiter._seen) == TRACKED_MAX
    assert limiter.take("0", limit=1, now_s=0).allowed  # the oldest was forgotten
