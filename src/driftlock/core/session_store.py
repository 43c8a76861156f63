"""Sessions of a stream: events grouped by key, judged when they fall silent, taken up again when they go on.

Owns who is open, who is kept after a verdict and who is forgotten, within a bound on bytes for the whole.
In an endless stream nobody knows when a session is over. So a session that fell silent is judged, then kept
by the hash of its key: if it goes on, it opens again, and at its next silence it is judged as a whole, what
was learned of it before taken back first. When room is needed, sessions whose end was an expected one are
forgotten first, then others judged, each the longest judged first; when none are left, a sixteenth of the
open sessions, those that have been silent longest, are judged early. A stream whose other parts take much
has less room for sessions, so that its whole state stays bounded. All of it depends on events and clocks
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core import session_kernel as kernels
from driftlock.core.coder_calls import NO_CALLS, Calls
from driftlock.core.coder_numbers import NumberBits
from driftlock.core.log_settings import SESSION_KEY_BYTES_MAX, LogSettings
from driftlock.core.log_units import Units
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.session_kernel import CHUNK_IDS, HELD, LISTS, OPEN, OVER, PAUSED
from driftlock.core.templates import IdArray

TRACE_KEY_BYTES = 32
CROWD_SHARE = 16
_SLOTS_STEP = 64
_CHUNKS_BYTES_STEP = 3 * 1024

Int64s = npt.NDArray[np.int64]


class SessionStore:
    """The sessions of one stream. Not thread-safe."""

    def __init__(self, settings: LogSettings) -> None:
        self._idle_ns = settings.session_idle_ns
        self._chunk_width = CHUNK_IDS * (1 + kernels.CALL_COLUMNS * settings.calls)
        self._chunks_step = _CHUNKS_BYTES_STEP // (2 * self._chunk_width)
        self._limits = kernels.Limits(
            settings.session_events_max, settings.sessions_open_max, settings.sessions_bytes_max
        )
        self._keys: dict[int, bytes] = {}  # of open sessions, by slot
        self._key_bytes_more = 0  # of keys longer than a trace id: little, so the bound does without it
        self.unkeyed = 0
        self.crowded_out = 0
        self._allocate()

    def _allocate(self) -> None:
        self._rows = _NO_ROWS  # grown before anything is written to them
        ends, free = np.full(2 * LISTS, -1, np.int16), np.zeros(kernels.FREE, np.int64)
        free[[kernels.FREE_SLOT, kernels.FREE_CHUNK]] = -1
        no_chunks = np.zeros((0, self._chunk_width), np.uint16)
        self._links = kernels.Links(_NO_PLACES, no_chunks, _NO_ROWS.head, ends, free)

    def leave_room(self, others: int) -> None:
        """Tells what the stream's other parts take, without what grows by the template."""
        self._links.free[kernels.OTHERS] = others

    @property
    def open(self) -> int:
        """Sessions that only time, or their events, will complete."""
        return int(self._links.free[HELD + OPEN])

    @property
    def kept(self) -> int:
        """Sessions that were judged and would be taken up again."""
        return int(self._links.free[HELD + PAUSED] + self._links.free[HELD + OVER])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        if self._rows is _NO_ROWS:
            return 200
        rows = sum(column.nbytes for column in self._rows)
        links = sum(column.nbytes for column in self._links)
        return int(rows + links) + kernels.KEY_BYTES * len(self._keys) + self._key_bytes_more

    def add(
        self,
        ids: IdArray,
        keys: Sequence[bytes],
        positions: Int64s,
        times: Int64s,
        *,
        numbers: NumberBits,
        now_ns: int,
        calls: Calls = NO_CALLS,
        texts: kernels.Texts,
    ) -> Iterator[Units]:
        """Takes events with their session keys; yields each session that is full or must make room.

        The caller judges what is yielded, and tells `settle`, before it asks for more. Events with an empty
        key belong to no session and are counted. `calls` has each event's span and parent, in stores that
        keep calls (`coder_calls`), `numbers` its strangest number. `texts` are, by template, the bytes of all
        texts, and of what else is kept by template, when it was new.
        """
        hashes, halves = _hashes(keys), np.ascontiguousarray(calls).view(np.uint16)
        self.unkeyed += int(np.count_nonzero(hashes == 0))
        opened = np.empty((len(ids), 2), np.int32)
        row = 0
        while row < len(ids):
            row, why, rows = kernels.take_events(
                self._rows,
                self._links,
                row,
                ids,
                *numbers,
                halves,
                texts,
                hashes,
                positions,
                times,
                now_ns,
                self._limits,
                opened,
            )
            for slot, event in opened[:rows].tolist():
                self._keep_key(slot, keys[event])
            if why == kernels.FULL:
                slot = int(self._links.ends[2 * OPEN + 1])
                units = self._units(np.array([slot], np.int32))
                self._drop(slot)
                yield units
            elif why == kernels.NEEDS_ROOM:
                yield from self._make_room()
            elif why == kernels.NEEDS_GROWTH:
                self._grow()
        self._compact()

    def _compact(self) -> None:
        """Gives back what the arrays have too much of: many short sessions now, few long ones then."""
        spare_rows = len(self._rows.key) - self.open - self.kept
        spare_chunks = len(self._links.chunks) - int(self._links.free[kernels.CHUNKS_USED])
        if self.nbytes > kernels.room(self._links, self._limits) and (
            spare_rows >= _SLOTS_STEP or spare_chunks >= self._chunks_step
        ):
            self.load(self.state())

    def _make_room(self) -> Iterator[Units]:
        """Makes room for one more session and chunk, by the rule above."""
        if self.open >= self._limits.open_max:
            yield self._crowd_out()
        one_more = kernels.SLOT_BYTES + kernels.KEY_BYTES + kernels.chunk_bytes(self._links)
        while kernels.bytes_used(self._links) + one_more > kernels.room(self._links, self._limits):
            if not self.kept:
                yield self._crowd_out()
            oldest = int(self._links.ends[2 * OVER])
            self._drop(oldest if oldest >= 0 else int(self._links.ends[2 * PAUSED]))

    def _crowd_out(self) -> Units:
        """Closes a few of the open sessions at once, since judging many together costs little more."""
        slots = self._listed(OPEN)[: max(self.open // CROWD_SHARE, 1)]
        self.crowded_out += len(slots)
        return self._closed(slots)

    def _grow(self) -> None:
        if self._links.free[kernels.FREE_SLOT] < 0:
            self._grow_rows(_SLOTS_STEP)
        if self._links.free[kernels.FREE_CHUNK] < 0:
            self._grow_chunks(self._chunks_step)

    def idle(self, now_ns: int) -> Units | None:
        """Closes the sessions that have been silent for long enough; returns them for judgement."""
        if not self._links.free[HELD + OPEN]:
            return None
        if now_ns - self._rows.touched[self._links.ends[2 * OPEN]] < self._idle_ns:
            return None
        slots = self._listed(OPEN)
        heard = now_ns - self._rows.touched[slots] < self._idle_ns
        return self._closed(slots[: int(heard.argmax())] if heard.any() else slots)

    def flush(self) -> Units | None:
        """Ends the input: closes all open sessions, in order of their last event."""
        slots = self._listed(OPEN)
        return self._closed(slots) if len(slots) else None

    def settle(
        self,
        units: Units,
        taught: npt.NDArray[np.bool_],
        over: npt.NDArray[np.bool_],
        alarmed: npt.NDArray[np.bool_],
    ) -> None:
        """Takes note of how units were judged: whether the students learned them, whether their end was an
        expected one, whether they alarmed."""
        for row, slot in enumerate(units.slots.tolist()):
            s = self._rows
            if slot < 0 or slot >= len(s.key) or s.first[slot] != units.first[row]:
                continue  # forgotten meanwhile; what is noted on a free slot is wiped when it is taken
            s.taught[slot], s.alarmed[slot] = taught[row], alarmed[row]
            if over[row] and s.place[slot] == PAUSED:
                kernels.unlink(s, self._links, slot)
                kernels.link(s, self._links, slot, OVER)

    def slots_of(self, first: Int64s) -> IdArray:
        """Where sessions are kept now, by the position of their first event; -1 for what is not kept.

        Slots are good until events are taken: the store is packed anew when it is restored or has too much
        room. What waited for longer, as a baseline does, looks them up again.
        """
        held = np.concatenate([self._listed(place) for place in range(LISTS)])
        places = dict(zip(self._rows.first[held].tolist(), held.tolist(), strict=True))
        return np.array([places.get(position, -1) for position in first.tolist()], np.int32)

    def ids_in_use(self) -> IdArray:
        """The template ids that open sessions name."""
        return np.unique(self._gathered(self._listed(OPEN)))

    def forget(self, templates: Sequence[int]) -> None:
        """Forgets judged sessions that name templates whose ids are given to others."""
        slots = np.concatenate([self._listed(PAUSED), self._listed(OVER)])
        if not len(slots):
            return
        starts = np.concatenate([[0], np.cumsum(self._rows.events[slots], dtype=np.int64)[:-1]])
        names = np.logical_or.reduceat(np.isin(self._gathered(slots), templates), starts)
        for slot in slots[names].tolist():
            self._drop(slot)

    def forget_learned(self) -> None:
        """What was learned of sessions cannot be taken back any more: the counters were halved."""
        self._rows.known[:] = 0

    def _listed(self, place: int) -> IdArray:
        out = np.empty(int(self._links.free[HELD + place]), np.int32)
        kernels.in_order(self._rows, self._links, place, out)
        return out

    def _gathered(self, slots: IdArray) -> IdArray:
        out = np.empty(int(self._rows.events[slots].sum(dtype=np.int64)), np.int32)
        kernels.gather(self._rows, self._links, slots, out)
        return out

    def _calls(self, slots: IdArray) -> Calls:
        if self._chunk_width == CHUNK_IDS:
            return NO_CALLS
        out = np.empty((int(self._rows.events[slots].sum(dtype=np.int64)), kernels.CALL_COLUMNS), np.uint16)
        kernels.gather_calls(self._rows, self._links, slots, out)
        return out.view(np.uint32)

    def _closed(self, slots: IdArray) -> Units:
        units = self._units(slots)
        for slot in slots.tolist():
            self._drop_key(slot)
            kernels.unlink(self._rows, self._links, slot)
            kernels.link(self._rows, self._links, slot, PAUSED)
        self._rows.known[slots] = self._rows.events[slots]
        return units

    def _units(self, slots: IdArray) -> Units:
        s = self._rows
        sizes = s.events[slots].astype(np.int64)
        return Units(
            [self._keys[slot].decode("utf-8", "replace") for slot in slots.tolist()],
            self._gathered(slots),
            self._calls(slots),
            np.concatenate([[0], np.cumsum(sizes)]),
            s.first[slots],
            s.last[slots],
            s.first_time[slots],
            s.last_time[slots],
            s.known[slots].astype(np.int32),
            s.taught[slots],
            s.alarmed[slots],
            slots,
            s.bits[slots],
            s.cause[slots],
        )

    def _drop(self, slot: int) -> None:
        kernels.drop(self._rows, self._links, slot)
        self._drop_key(slot)

    def _keep_key(self, slot: int, key: bytes) -> None:
        self._keys[slot] = key[:SESSION_KEY_BYTES_MAX]
        self._key_bytes_more += max(0, len(self._keys[slot]) - TRACE_KEY_BYTES)

    def _drop_key(self, slot: int) -> None:
        self._key_bytes_more -= max(0, len(self._keys.pop(slot, b"")) - TRACE_KEY_BYTES)

    def _grow_rows(self, more: int) -> None:
        held = len(self._rows.key)
        grown = (np.concatenate([column, np.zeros(more, column.dtype)]) for column in self._rows)
        self._rows = kernels.Sessions(*grown)
        self._rows.after[held:] = np.arange(held + 1, held + more + 1)
        self._rows.after[-1] = self._links.free[kernels.FREE_SLOT]
        self._links.free[kernels.FREE_SLOT] = held
        slots = np.concatenate([self._listed(place) for place in range(LISTS)])
        size = 1 << (2 * (held + more) - 1).bit_length()
        self._links = self._links._replace(places=np.zeros(size, np.int16))
        kernels.reindex(self._rows, self._links, slots)

    def _grow_chunks(self, more: int) -> None:
        held = len(self._links.chunks)
        following = np.concatenate(
            [self._links.following, np.arange(held + 1, held + more + 1, dtype=np.int16)]
        )
        following[-1] = self._links.free[kernels.FREE_CHUNK]
        chunks = np.concatenate([self._links.chunks, np.zeros((more, self._chunk_width), np.uint16)])
        self._links.free[kernels.FREE_CHUNK] = held
        self._links = self._links._replace(chunks=chunks, following=following)

    def state(self) -> list[Any]:
        """What `load` restores exactly: the sessions in the order of their lists."""
        top, texts = (int(self._links.free[at]) for at in (kernels.TOP, kernels.TEXTS))
        told = [self.unkeyed, self.crowded_out, top, texts]
        if not self.open and not self.kept:
            return [told]
        lists = [self._listed(place) for place in range(LISTS)]
        slots = np.concatenate(lists)
        columns = [pack_array(getattr(self._rows, name)[slots]) for name in _STORED]
        return [
            told,
            [len(part) for part in lists],
            columns,
            pack_array(self._gathered(slots).astype(np.uint16)),
            pack_array(self._calls(slots)),
            [self._keys[slot] for slot in lists[OPEN].tolist()],
        ]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        (self.unkeyed, self.crowded_out, top, texts), *held_sessions = state
        others = int(self._links.free[kernels.OTHERS])
        self._allocate()
        self.leave_room(others)
        self._links.free[[kernels.TOP, kernels.TEXTS]] = top, texts
        self._keys, self._key_bytes_more = {}, 0
        if held_sessions:
            self._load_sessions(*held_sessions)

    def _load_sessions(
        self, sizes: list[int], columns: list[Any], packed: Any, calls: Any, keys: list[bytes]
    ) -> None:
        held = sum(sizes)
        values = dict(zip(_STORED, map(unpack_array, columns), strict=True))
        self._grow_rows(-(-held // _SLOTS_STEP) * _SLOTS_STEP)
        chunks = int((-(-values["events"] // CHUNK_IDS)).sum(dtype=np.int64))
        self._grow_chunks(-(-chunks // self._chunks_step) * self._chunks_step)
        ids = unpack_array(packed).astype(np.int32)
        lists, of_calls = np.array(sizes, np.int64), unpack_array(calls).view(np.uint16)
        kernels.refill(self._rows, self._links, values["key"], lists, values["events"], ids, of_calls)
        for name in _STORED:
            getattr(self._rows, name)[:held] = values[name]
        for slot, key in enumerate(keys):
            self._keep_key(slot, key)


_STORED = (
    "key",
    "first",
    "last",
    "first_time",
    "last_time",
    "touched",
    "events",
    "known",
    "taught",
    "alarmed",
    "bits",
    "cause",
)
_KINDS = (np.uint64, *[np.int64] * 5, *[np.int16] * 6, np.uint8, np.bool_, np.bool_, np.float32, np.int32)
_NO_ROWS = kernels.Sessions(*(np.zeros(0, kind) for kind in _KINDS))
_NO_PLACES = np.zeros(2, np.int16)


def _hashes(keys: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    bounds = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key) for key in keys], out=bounds[1:])
    out = np.empty(len(keys), np.uint64)
    kernels.hash_keys(np.frombuffer(b"".join(keys), np.uint8), bounds, out)
    return out
