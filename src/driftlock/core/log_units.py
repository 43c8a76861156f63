"""Units from events: blocks of consecutive events, or sessions by key that close when they fall silent.

Owns what is unfinished: the block being filled and the open sessions, both bounded. Knows no coders. Emits
complete units; which units come out, and in which order, depends on the events and clocks alone, not on how
events come in calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.log_settings import SESSION_KEY_BYTES_MAX, LogSettings
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import IdArray

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IdUnit:
    """A complete unit: its template ids in order, and where and when it began and ended."""

    key: str
    ids: IdArray
    first: int
    last: int
    first_time_ns: int
    last_time_ns: int


class BlockAssembler:
    """Cuts a stream of events into blocks of `hop` events."""

    def __init__(self, hop: int) -> None:
        self._ids = np.zeros(hop, np.int32)
        self._filled = 0
        self._number = 0
        self._first = self._first_time = self._last = self._last_time = 0

    @property
    def pending_events(self) -> int:
        """Events in the unfinished block."""
        return self._filled

    def add(self, ids: IdArray, positions: Times, times: Times) -> Iterator[IdUnit]:
        """Takes events; yields each block that they complete."""
        hop, at = len(self._ids), 0
        while at < len(ids):
            take = min(hop - self._filled, len(ids) - at)
            if self._filled == 0:
                self._first, self._first_time = int(positions[at]), int(times[at])
            self._ids[self._filled : self._filled + take] = ids[at : at + take]
            self._filled, at = self._filled + take, at + take
            self._last, self._last_time = int(positions[at - 1]), int(times[at - 1])
            if self._filled == hop:
                yield self._complete()

    def flush(self) -> Iterator[IdUnit]:
        """Ends the input: an unfinished block is no unit, as it is not like the others."""
        self._filled = 0
        yield from ()

    def _complete(self) -> IdUnit:
        unit = IdUnit(
            f"block {self._number}",
            self._ids[: self._filled].copy(),
            self._first,
            self._last,
            self._first_time,
            self._last_time,
        )
        self._filled = 0
        self._number += 1
        return unit

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        plain = [self._filled, self._number, self._first, self._first_time, self._last, self._last_time]
        return [pack_array(self._ids), plain]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._ids = unpack_array(state[0])
        self._filled, self._number, self._first, self._first_time, self._last, self._last_time = state[1]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._ids.nbytes + 100


@dataclass(slots=True)
class _Session:
    """An open session. `first_event` is the number of its first event; `touched_ns` the clock at its last."""

    ids: list[int]
    first_event: int
    touched_ns: int
    first: int
    first_time: int
    last: int
    last_time: int


class SessionAssembler:
    """Groups events by key. A session is complete when it falls silent, grows too long, or must make room."""

    def __init__(self, settings: LogSettings) -> None:
        self._idle_ns = settings.session_idle_ns
        self._events_max = settings.session_events_max
        self._open_max = settings.sessions_open_max
        self._open: dict[bytes, _Session] = {}  # the one touched longest ago first
        self._held = 0
        self.unkeyed = 0
        self.crowded_out = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def oldest_event(self) -> int | None:
        """The number of the first event that an open session holds."""
        return min((session.first_event for session in self._open.values()), default=None)

    def add(
        self,
        ids: IdArray,
        keys: Sequence[bytes],
        positions: Times,
        times: Times,
        *,
        first_event: int,
        now_ns: int,
    ) -> Iterator[IdUnit]:
        """Takes events with their session keys; yields each session that they complete."""
        rows = zip(ids.tolist(), keys, positions.tolist(), times.tolist(), strict=True)
        for event, (template, key, position, time_ns) in enumerate(rows, first_event):
            if not key:
                self.unkeyed += 1
                continue
            session = self._open.pop(key, None)
            if session is None:
                yield from self._make_room()
                session = _Session([], event, now_ns, position, time_ns, position, time_ns)
            session.ids.append(template)
            session.last, session.last_time, session.touched_ns = position, time_ns, now_ns
            self._held += 1
            if len(session.ids) >= self._events_max:
                yield self._complete(key, session)
            else:
                self._open[key] = session

    def idle(self, now_ns: int) -> Iterator[IdUnit]:
        """Yields sessions that have been silent for long enough."""
        while self._open:
            key = next(iter(self._open))
            if now_ns - self._open[key].touched_ns < self._idle_ns:
                return
            yield self._complete(key, self._open.pop(key))

    def flush(self) -> Iterator[IdUnit]:
        """Ends the input: yields the open sessions, in order of their last event."""
        while self._open:
            key = next(iter(self._open))
            yield self._complete(key, self._open.pop(key))

    def _make_room(self) -> Iterator[IdUnit]:
        if len(self._open) >= self._open_max:
            self.crowded_out += 1
            key = next(iter(self._open))
            yield self._complete(key, self._open.pop(key))

    def _complete(self, key: bytes, session: _Session) -> IdUnit:
        self._held -= len(session.ids)
        return IdUnit(
            key[:SESSION_KEY_BYTES_MAX].decode("utf-8", "replace"),
            np.array(session.ids, np.int32),
            session.first,
            session.last,
            session.first_time,
            session.last_time,
        )

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        return [
            [self.unkeyed, self.crowded_out],
            [
                [k, s.ids, s.first_event, s.touched_ns, s.first, s.first_time, s.last, s.last_time]
                for k, s in self._open.items()
            ],
        ]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self.unkeyed, self.crowded_out = state[0]
        self._open = {key: _Session(*rest) for key, *rest in state[1]}
        self._held = sum(len(session.ids) for session in self._open.values())

    @property
    def nbytes(self) -> int:
        """Bytes held, about 300 for each open session and 8 for each event in it."""
        return 300 * len(self._open) + 8 * self._held
