"""The session store's compiled parts: an index by key hash, ids in chunks, and three lists in order of time.

Owns layout and links only; `session_store` decides who is closed, kept and dropped. A slot is in exactly one
list: open sessions by their last event, those judged and perhaps unfinished, and those judged whose end was
an expected one, both by the time they were judged.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

CHUNK_IDS = 8
CALL_COLUMNS = 4  # span and parent of an event as halves of 32 bits, in stores that keep calls
OPEN, PAUSED, OVER = 0, 1, 2
LISTS = 3
ALL_TAKEN, NEEDS_ROOM, NEEDS_GROWTH, FULL = 0, 1, 2, 3

SLOT_BYTES = 78  # the columns, and three entries of the index
KEY_BYTES = 96  # of an open session: the object of a trace id, and the table that holds it

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int16s = npt.NDArray[np.int16]
Hashes = npt.NDArray[np.uint64]
Calls = npt.NDArray[np.uint16]
Texts = npt.NDArray[np.uint16]


class Sessions(NamedTuple):
    """One row a slot, in small numbers: a stream's sessions are to fit into some hundred kilobytes.

    `head` and `tail` are chunks, `before` and `after` neighbours in the slot's list, `bits` and `cause` those
    of the strangest number (`coder_numbers`).
    """

    key: Hashes
    first: Int64s
    last: Int64s
    first_time: Int64s
    last_time: Int64s
    touched: Int64s
    head: Int16s
    tail: Int16s
    events: Int16s
    known: Int16s
    before: Int16s
    after: Int16s
    place: npt.NDArray[np.uint8]
    taught: npt.NDArray[np.bool_]
    alarmed: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.float32]
    cause: Int32s


class Links(NamedTuple):
    """`places`: slot + 1 by key hash, open addressing. `chunks` of ids, and in stores that keep calls of
    their spans and parents behind them; `following` has each chunk's next one.
    `ends`: oldest and newest of each list. `free`: the first free slot, the first free chunk, sessions in
    each list, chunks in use, the highest template id ever taken, the most bytes by template (`take_events`)
    when one was new, bytes of the stream's other parts."""

    places: Int16s
    chunks: npt.NDArray[np.uint16]
    following: Int16s
    ends: Int16s
    free: Int64s


class Limits(NamedTuple):
    """Events of a session, open sessions, and bytes of all sessions in use (see `room`)."""

    events_max: int
    open_max: int
    bytes_max: int


FREE_SLOT, FREE_CHUNK, HELD, CHUNKS_USED, TOP = 0, 1, 2, 5, 6
TEXTS, OTHERS = 7, 8
FREE = 9
REST_BYTES = 100 * 1024
"""So much of a stream's state may be other things than sessions before these have less room."""
SPARE_BYTES, CALLS_BYTES = 20 * 1024, 5 * 1024
"""Arrays grow in steps, and hold so much more than is in use; those of calls are longer, and more."""
ROWS_MAX = 256
ROW_BYTES, TEXT_BYTES = 246, 40
"""A template's places in all arrays by id, which double up to 512 ids, and its text's object."""


@numba.njit(cache=True)
def chunk_bytes(links: Links) -> int:
    """Bytes of a chunk."""
    return 2 * int(links.chunks.shape[1]) + 2


@numba.njit(cache=True)
def bytes_used(links: Links) -> int:
    """Bytes of the sessions held, whatever room the arrays have."""
    free = links.free
    held = int(free[HELD + OPEN] + free[HELD + PAUSED] + free[HELD + OVER])
    chunks = int(free[CHUNKS_USED]) * chunk_bytes(links)
    return held * SLOT_BYTES + chunks + int(free[HELD + OPEN]) * KEY_BYTES


@numba.njit(cache=True)
def room(links: Links, limits: Limits) -> int:
    """Bytes that sessions may take: less what the rest of the stream's state takes beyond `REST_BYTES`, so
    that the whole is bounded, but never less than an eighth of the limit."""
    templates = links.free[TOP] + 1
    rows = ROW_BYTES * min(templates, ROWS_MAX) + TEXT_BYTES * max(templates - ROWS_MAX, 0)
    rest = rows + links.free[TEXTS] + links.free[OTHERS] + SPARE_BYTES
    rest += CALLS_BYTES if links.chunks.shape[1] > CHUNK_IDS else 0
    return int(max(limits.bytes_max - max(rest - REST_BYTES, 0), limits.bytes_max // 12))


@numba.njit(cache=True)
def _find(s: Sessions, links: Links, key: np.uint64) -> tuple[int, np.int64]:
    """The slot of a key (-1: none) and its place in the index."""
    mask = len(links.places) - 1
    at = np.int64(key & np.uint64(mask))
    while links.places[at] != 0:
        if s.key[links.places[at] - 1] == key:
            return int(links.places[at]) - 1, at
        at = (at + 1) & mask
    return -1, at


@numba.njit(cache=True)
def link(s: Sessions, links: Links, slot: int, place: int) -> None:
    """Puts a slot at the newest end of a list."""
    newest = links.ends[2 * place + 1]
    s.place[slot], s.before[slot], s.after[slot] = place, newest, -1
    if newest >= 0:
        s.after[newest] = slot
    else:
        links.ends[2 * place] = slot
    links.ends[2 * place + 1] = slot
    links.free[HELD + place] += 1


@numba.njit(cache=True)
def unlink(s: Sessions, links: Links, slot: int) -> None:
    """Takes a slot out of its list."""
    place, before, after = int(s.place[slot]), s.before[slot], s.after[slot]
    if before >= 0:
        s.after[before] = after
    else:
        links.ends[2 * place] = after
    if after >= 0:
        s.before[after] = before
    else:
        links.ends[2 * place + 1] = before
    links.free[HELD + place] -= 1


@numba.njit(cache=True)
def drop(s: Sessions, links: Links, slot: int) -> None:
    """Forgets a session: its list, its chunks, its place in the index."""
    unlink(s, links, slot)
    chunk = s.head[slot]
    while chunk >= 0:
        following = links.following[chunk]
        links.following[chunk] = links.free[FREE_CHUNK]
        links.free[FREE_CHUNK] = chunk
        links.free[CHUNKS_USED] -= 1
        chunk = following
    mask = len(links.places) - 1
    _, hole = _find(s, links, s.key[slot])
    at = hole
    while True:  # close the gap, so that every key is still found from its own place on
        at = (at + 1) & mask
        if links.places[at] == 0:
            break
        home = np.int64(s.key[links.places[at] - 1] & np.uint64(mask))
        if (at - home) & mask >= (at - hole) & mask:
            links.places[hole] = links.places[at]
            hole = at
    links.places[hole] = 0
    s.place[slot] = OPEN  # a late word on its verdict must not take the free slot for one judged
    s.after[slot] = links.free[FREE_SLOT]
    links.free[FREE_SLOT] = slot


@numba.njit(cache=True)
def _append(s: Sessions, links: Links, slot: int, template: int, calls: Calls, event: int) -> None:
    fill = s.events[slot] % CHUNK_IDS
    if fill == 0:
        chunk = int(links.free[FREE_CHUNK])
        links.free[FREE_CHUNK] = links.following[chunk]
        links.free[CHUNKS_USED] += 1
        links.following[chunk] = -1
        if s.head[slot] < 0:
            s.head[slot] = chunk
        else:
            links.following[s.tail[slot]] = chunk
        s.tail[slot] = chunk
    chunk = s.tail[slot]
    links.chunks[chunk, fill] = template
    for column in range(links.chunks.shape[1] // CHUNK_IDS - 1):
        links.chunks[chunk, (column + 1) * CHUNK_IDS + fill] = calls[event, column]
    s.events[slot] += 1


@numba.njit(cache=True)
def take_events(
    s: Sessions,
    links: Links,
    start: int,
    ids: Int32s,
    bits: npt.NDArray[np.float32],
    causes: Int32s,
    calls: Calls,
    texts: Texts,
    keys: Hashes,
    positions: Int64s,
    times: Int64s,
    now_ns: int,
    limits: Limits,
    opened: Int32s,
) -> tuple[int, int, int]:
    """Appends events from `start` on; returns the next event, why it stopped there, and how many rows
    `opened` has: slot and event of each session that opened. Stops before an event that needs more than the
    limits or the arrays have room for, and after one that fills a session, then the newest open one."""
    rows = 0
    for i in range(start, len(ids)):
        if keys[i] == 0:
            continue
        links.free[TOP] = max(links.free[TOP], ids[i])
        links.free[TEXTS] = max(links.free[TEXTS], np.int64(texts[ids[i]]))
        slot, at = _find(s, links, keys[i])
        opens = slot < 0 or s.place[slot] != OPEN
        begins = slot < 0 or s.events[slot] % CHUNK_IDS == 0
        need = (SLOT_BYTES if slot < 0 else 0) + (KEY_BYTES if opens else 0)
        need += chunk_bytes(links) if begins else 0
        if (need and bytes_used(links) + need > room(links, limits)) or (
            opens and links.free[HELD + OPEN] >= limits.open_max
        ):
            return i, NEEDS_ROOM, rows
        if (begins and links.free[FREE_CHUNK] < 0) or (slot < 0 and links.free[FREE_SLOT] < 0):
            return i, NEEDS_GROWTH, rows
        if slot < 0:
            slot = int(links.free[FREE_SLOT])
            links.free[FREE_SLOT] = s.after[slot]
            links.places[at] = slot + 1
            s.key[slot], s.first[slot], s.first_time[slot] = keys[i], positions[i], times[i]
            s.head[slot], s.tail[slot], s.events[slot], s.known[slot] = -1, -1, 0, 0
            s.taught[slot], s.alarmed[slot] = False, False
            s.bits[slot], s.cause[slot] = 0.0, -1
        else:
            unlink(s, links, slot)
        if opens:
            opened[rows, 0], opened[rows, 1] = slot, i
            rows += 1
        link(s, links, slot, OPEN)
        _append(s, links, slot, ids[i], calls, i)
        if bits[i] > s.bits[slot]:
            s.bits[slot], s.cause[slot] = bits[i], causes[i]
        s.last[slot], s.last_time[slot], s.touched[slot] = positions[i], times[i], now_ns
        if s.events[slot] >= limits.events_max:
            return i + 1, FULL, rows
    return len(ids), ALL_TAKEN, rows


@numba.njit(cache=True)
def gather(s: Sessions, links: Links, slots: Int32s, out: Int32s) -> None:
    """Writes the ids of the sessions one after the other."""
    o = 0
    for slot in slots:
        chunk, left = s.head[slot], s.events[slot]
        while left > 0:
            for i in range(min(left, CHUNK_IDS)):
                out[o] = links.chunks[chunk, i]
                o += 1
            left -= CHUNK_IDS
            chunk = links.following[chunk]


@numba.njit(cache=True)
def gather_calls(s: Sessions, links: Links, slots: Int32s, out: Calls) -> None:
    """Writes the spans and parents of the sessions' events one after the other."""
    o = 0
    for slot in slots:
        chunk, left = s.head[slot], s.events[slot]
        while left > 0:
            for i in range(min(left, CHUNK_IDS)):
                for column in range(CALL_COLUMNS):
                    out[o, column] = links.chunks[chunk, (column + 1) * CHUNK_IDS + i]
                o += 1
            left -= CHUNK_IDS
            chunk = links.following[chunk]


@numba.njit(cache=True)
def in_order(s: Sessions, links: Links, place: int, out: Int32s) -> int:
    """Writes the slots of a list, the oldest first; returns how many."""
    slot, size = links.ends[2 * place], 0
    while slot >= 0:
        out[size] = slot
        size += 1
        slot = s.after[slot]
    return size


@numba.njit(cache=True)
def reindex(s: Sessions, links: Links, slots: Int32s) -> None:
    """Fills an empty index with these slots."""
    for slot in slots:
        _, at = _find(s, links, s.key[slot])
        links.places[at] = slot + 1


@numba.njit(cache=True)
def hash_keys(buffer: npt.NDArray[np.uint8], bounds: Int64s, out: Hashes) -> None:
    """A 64-bit hash of each key, never 0, but 0 for an empty one (FNV-1a with a finish of MurmurHash3)."""
    for i in range(len(bounds) - 1):
        if bounds[i] == bounds[i + 1]:
            out[i] = 0
            continue
        h = np.uint64(0xCBF29CE484222325)
        for at in range(bounds[i], bounds[i + 1]):
            h = (h ^ np.uint64(buffer[at])) * np.uint64(0x100000001B3)
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        h = h ^ (h >> np.uint64(33))
        out[i] = h if h != 0 else np.uint64(1)


@numba.njit(cache=True)
def refill(
    s: Sessions, links: Links, keys: Hashes, sizes: Int64s, events: Int16s, ids: Int32s, calls: Calls
) -> None:
    """Fills an empty store: sessions list by list, `sizes` of them in each, their events one after the
    other."""
    row, at = 0, 0
    for place in range(LISTS):
        for _ in range(sizes[place]):
            slot = int(links.free[FREE_SLOT])
            links.free[FREE_SLOT] = s.after[slot]
            s.key[slot], s.head[slot], s.tail[slot], s.events[slot] = keys[row], -1, -1, 0
            _, where = _find(s, links, keys[row])
            links.places[where] = slot + 1
            link(s, links, slot, place)
            for _ in range(events[row]):
                _append(s, links, slot, ids[at], calls, at)
                at += 1
            row += 1
