"""The streams of one partition: who they are, when they last spoke, and who must go when there are too many.

Owns the bound on distinct streams. The rule to evict is a function of the log alone, so a replay evicts the
same streams: a newcomer displaces the least recently active stream that is still warming up; when all are
past warm-up, the newcomer is refused and its events are counted, so that a flood of invented names never
costs an established stream its baseline.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.engine.refresh import RefreshMark
from driftlock.signals.batch import Signal, StreamKey, StreamUnit

SERIES_SETTLED_EVENTS = 1_000


@dataclass(slots=True)
class StreamEntry:
    """A stream's state; `last_active` orders streams by activity, in log positions.

    `stored` tells that a checkpoint may hold it: only then must its removal be written.

    `detector` is None for metric streams: their series live in the partition's bank. `episode_ns` is the time
    of the finding whose episode is open, if one is.
    """

    key: StreamKey
    detector: LogStream | None
    events: int = 0
    last_received_ns: int = 0
    last_active: int = 0
    findings: int = 0
    stored: bool = False
    refresh: RefreshMark | None = None
    episode_ns: int = 0

    @property
    def settled(self) -> bool:
        """Whether the stream is past warm-up, which protects it from eviction."""
        if self.detector is None:
            return self.events >= SERIES_SETTLED_EVENTS
        return self.detector.warm_up.phase == "ready"


class StreamRegistry:
    """Streams by key in order of last activity, at most `streams_max`."""

    def __init__(self, streams_max: int) -> None:
        self._streams: OrderedDict[StreamKey, StreamEntry] = OrderedDict()
        self._warming: OrderedDict[StreamKey, None] = OrderedDict()
        self._streams_max = streams_max
        self._dirty: set[StreamKey] = set()
        self._removed: set[uuid.UUID] = set()
        self.refused_events = 0
        self.evicted_streams = 0

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[StreamEntry]:
        return iter(self._streams.values())

    def touch(
        self, key: StreamKey, *, settings: LogSettings | None, events: int, now_ns: int, active: int
    ) -> StreamEntry | None:
        """The stream of a key, made if need be and marked as active; None when there is no room for it.

        `active` must grow from call to call (it orders evictions); `settings` is None for metric streams.
        """
        entry = self._streams.get(key)
        if entry is None:
            if not self._make_room():
                self.refused_events += events
                return None
            entry = StreamEntry(key, LogStream(settings) if settings is not None else None)
            self._streams[key] = entry
            self._warming[key] = None
            if self._removed and key.id in self._removed:
                self._removed.discard(key.id)
                entry.stored = True
        entry.events += events
        entry.last_received_ns, entry.last_active = now_ns, active
        self._streams.move_to_end(key)
        if key in self._warming:
            self._warming.move_to_end(key)
        self._dirty.add(key)
        return entry

    def get(self, key: StreamKey) -> StreamEntry | None:
        """The stream of a key, if it is known."""
        return self._streams.get(key)

    def changed(self, entry: StreamEntry) -> None:
        """Notes that a stream's state changed: it goes into the next checkpoint."""
        self._dirty.add(entry.key)
        if entry.key in self._warming and entry.settled:
            del self._warming[entry.key]

    def by_id(self, stream_id: uuid.UUID) -> StreamEntry | None:
        """The stream of an id, if it is known."""
        return next((entry for entry in self._streams.values() if entry.key.id == stream_id), None)

    def restarted(self, entry: StreamEntry) -> None:
        """Notes that a stream begins to learn anew: until it has, it may give way to others again."""
        self._dirty.add(entry.key)
        self._warming[entry.key] = None
        # in the order of activity, as after a restore
        for key in self._streams:
            if key in self._warming:
                self._warming.move_to_end(key)

    def _make_room(self) -> bool:
        if len(self._streams) < self._streams_max:
            return True
        if not self._warming:
            return False
        key, _ = self._warming.popitem(last=False)
        entry = self._streams.pop(key)
        self._dirty.discard(key)
        if entry.stored:
            self._removed.add(key.id)
        self.evicted_streams += 1
        return True

    def take_changes(self) -> tuple[list[StreamEntry], list[uuid.UUID]]:
        """Streams changed and stream ids removed since the last call."""
        changed = [self._streams[key] for key in sorted(self._dirty, key=lambda k: k.id)]
        for entry in changed:
            entry.stored = True
        removed = sorted(self._removed)
        self._dirty, self._removed = set(), set()
        return changed, removed

    def restore(self, entries: list[StreamEntry]) -> None:
        """Fills an empty registry; `last_active` gives back the order of activity."""
        for entry in sorted(entries, key=lambda e: e.last_active):
            entry.stored = True
            self._streams[entry.key] = entry
            if not entry.settled:
                self._warming[entry.key] = None


class StoredStream(msgspec.Struct, frozen=True):
    """A stream entry as a checkpoint holds it."""

    tenant: str
    signal: Signal
    service: str
    attributes: list[tuple[str, str]]
    events: int
    last_received_ns: int
    last_active: int
    findings: int
    detector: bytes | None
    refresh: RefreshMark | None = None
    unit: StreamUnit = ""
    episode_ns: int = 0


def dump_entry(entry: StreamEntry) -> bytes:
    """A stream entry as MessagePack bytes."""
    detector = entry.detector.snapshot() if entry.detector is not None else None
    key = entry.key
    return msgspec.msgpack.encode(
        StoredStream(
            key.tenant,
            key.signal,
            key.service,
            list(key.attributes),
            entry.events,
            entry.last_received_ns,
            entry.last_active,
            entry.findings,
            detector,
            entry.refresh,
            key.unit,
            entry.episode_ns,
        )
    )


def load_entry(data: bytes, settings_of: Callable[[StreamKey], LogSettings | None]) -> StreamEntry:
    """The inverse of `dump_entry`; `settings_of(key)` gives the log settings or None for metrics."""
    stored = msgspec.msgpack.decode(data, type=StoredStream)
    key = StreamKey(stored.tenant, stored.signal, stored.service, tuple(stored.attributes), stored.unit)
    settings = settings_of(key)
    detector = None
    if stored.detector is not None and settings is not None:
        detector = LogStream.restore(settings, stored.detector)
    entry = StreamEntry(
        key, detector, stored.events, stored.last_received_ns, stored.last_active, stored.findings
    )
    entry.refresh, entry.episode_ns = stored.refresh, stored.episode_ns
    return entry
