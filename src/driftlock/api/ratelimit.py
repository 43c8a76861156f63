"""How many requests a minute each key may make: an exact sliding window, counted by this process alone.

With several API replicas a key may make as many times more; a shared count would cost a round trip a
request. Fields as in the IETF draft "RateLimit header fields for HTTP".
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

WINDOW_S = 60.0
# whoever waits exactly as long as it was told must not fail by the last bit of a float
ROUNDING_S = 1e-6
# least recently seen first out: a forgotten key starts afresh, which only favours it
TRACKED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """The outcome for one request. `reset_s`: until the window holds fewer requests than now."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy`, and `Retry-After` when the request is refused."""
        told = {
            "RateLimit-Policy": f'"key";q={self.limit};w={int(WINDOW_S)}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
        }
        if not self.allowed:
            told["Retry-After"] = str(self.reset_s)
        return told


class RateLimiter:
    """Remembers the times of the last requests of each identity; refused requests do not count."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, identity: str, *, limit: int, now_s: float) -> Allowance:
        """Counts one request of an identity against its limit."""
        times = self._times(identity, now_s)
        allowed = len(times) < limit
        if allowed:
            times.append(now_s)
        return self._allowance(times, limit=limit, allowed=allowed, now_s=now_s)

    def _times(self, identity: str, now_s: float) -> deque[float]:
        times = self._seen.setdefault(identity, deque())
        self._seen.move_to_end(identity)
        while times and times[0] + WINDOW_S <= now_s + ROUNDING_S:
            times.popleft()
        if len(self._seen) > TRACKED_MAX:
            self._seen.popitem(last=False)
        return times

    def _allowance(self, times: deque[float], *, limit: int, allowed: bool, now_s: float) -> Allowance:
        # the limit may have been lowered: then several must expire before one is free
        freeing = times[max(0, len(times) - limit)] if times else now_s - WINDOW_S
        reset_s = max(1, math.ceil(freeing + WINDOW_S - now_s)) if times else 0
        return Allowance(allowed, limit, max(0, limit - len(times)), reset_s)
