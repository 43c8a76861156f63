"""What the engine hands out: an accepted verdict with the stream and the place in the log it belongs to, and
how the event that it told of goes on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from driftlock.core.episode import Episode
from driftlock.core.verdict import Verdict
from driftlock.signals.batch import StreamKey

TIMESTAMP_PAST_MAX_NS = 7 * 86_400 * 1_000_000_000
TIMESTAMP_FUTURE_MAX_NS = 300 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """An alarm of one stream. `position` and `received_ns` are those of the log message that completed the
    unit, so a replay of the log yields the same finding."""

    key: StreamKey
    verdict: Verdict
    position: int
    received_ns: int
    config_version: int
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_ids: tuple[str, ...] = ()

    @property
    def timestamp_ns(self) -> int:
        """When it happened: the unit's last event time, or the received time if that clock is far off."""
        event = self.verdict.last_time_ns
        earliest = self.received_ns - TIMESTAMP_PAST_MAX_NS
        latest = self.received_ns + TIMESTAMP_FUTURE_MAX_NS
        return event if earliest <= event <= latest else self.received_ns

    @property
    def seed(self) -> bytes:
        """What makes the finding's id: its stream and unit, nothing that a second run could change."""
        return _seed(self.key, self.verdict)


@dataclass(frozen=True, slots=True)
class Course:
    """What the episode of an earlier finding has become; `timestamp_ns` is that finding's."""

    key: StreamKey
    episode: Episode
    timestamp_ns: int

    @property
    def seed(self) -> bytes:
        """What makes the id of the finding that the episode began with."""
        return _seed(self.key, self.episode)


def _seed(key: StreamKey, unit: Verdict | Episode) -> bytes:
    parts = (key.id.hex, unit.key, str(unit.first), str(unit.last))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()
