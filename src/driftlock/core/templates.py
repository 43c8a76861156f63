"""The templates a stream knows: 64-bit hash to small id and canonical text, bounded.

Owns ids, texts and the rule of eviction. When the table is full, the eighth of it that was seen longest ago
gives way, but never a template that an unfinished unit still names; if none may go, the newcomer becomes
`OTHER` and is counted. The rule reads event numbers only, so it does not depend on how events come in calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.packing import pack_array, unpack_array

TEMPLATES_MAX = 512
TEMPLATE_TEXT_BYTES_MAX = 512
TEXT_BYTES_MAX = 40 * 1024
CAPACITY_START = 32
EVICTED_SHARE = 8
OTHER = 0
OPERATION_MIN = 3

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

IdArray = npt.NDArray[np.int32]
Pinned = Callable[[], IdArray]


@numba.njit(cache=True)
def _slot_of(key: np.uint64, mask: int) -> int:
    return int((key * _MULTIPLIER) >> np.uint64(40)) & mask


@numba.njit(cache=True)
def _look_up(
    wanted: npt.NDArray[np.uint64],
    start: int,
    slots: IdArray,
    hashes: npt.NDArray[np.uint64],
    last_seen: npt.NDArray[np.int64],
    event: int,
    out: IdArray,
) -> int:
    """Fills `out` from `start` on; returns the row of the first unknown template, or the row count."""
    mask = len(slots) - 1
    for row in range(start, len(wanted)):
        key = wanted[row]
        at = _slot_of(key, mask)
        while slots[at] != 0 and hashes[slots[at]] != key:
            at = (at + 1) & mask
        if slots[at] == 0:
            return row
        out[row] = slots[at]
        last_seen[slots[at]] = event + row
    return len(wanted)


@numba.njit(cache=True)
def _index(slots: IdArray, hashes: npt.NDArray[np.uint64], used: npt.NDArray[np.bool_], size: int) -> None:
    slots[:] = 0
    mask = len(slots) - 1
    for item in range(1, size):
        if used[item]:
            at = _slot_of(hashes[item], mask)
            while slots[at] != 0:
                at = (at + 1) & mask
            slots[at] = item


def operation_hash(name: bytes) -> int:
    """32 bits, `OPERATION_MIN` or more: lower ones are codes of `coder_calls`."""
    digest = hashlib.blake2b(name, digest_size=4, person=b"driftlock-operat").digest()
    return max(int.from_bytes(digest, "little"), OPERATION_MIN)


class TemplateTable:
    """Templates by hash. Id 0 is `OTHER`, what found no room; `size` is one more than the highest id."""

    def __init__(self, *, operations: bool = False) -> None:
        self.hashes = np.zeros(CAPACITY_START, np.uint64)
        named = CAPACITY_START if operations else 0
        self.operations = np.zeros(named, np.uint32)
        """By id, a hash of what in its text names the operation, `OPERATION_MIN` or more; empty if unused."""
        self._heads = np.zeros(named, np.uint16)
        self.texts_when_new = np.zeros(CAPACITY_START, np.uint16)
        """By id, the bytes of all texts held when it was given."""
        self._last_seen = np.zeros(CAPACITY_START, np.int64)
        self._used = np.zeros(CAPACITY_START, np.bool_)
        self._slots = np.zeros(2 * CAPACITY_START, np.int32)
        self._texts: list[bytes] = [b"<other>"]
        self._free: list[int] = []
        self._text_bytes = 0
        self.events = 0
        self.overflowed = 0
        self.hashes[OTHER] = np.uint64(0xFFFFFFFFFFFFFFFF)

    @property
    def capacity(self) -> int:
        """How many ids arrays indexed by id must hold now."""
        return len(self.hashes)

    @property
    def size(self) -> int:
        """One more than the highest id in use."""
        return len(self._texts)

    @property
    def nbytes(self) -> int:
        """Bytes held, with 40 for each text object."""
        arrays = self.hashes.nbytes + self._last_seen.nbytes + self._used.nbytes + self._slots.nbytes
        arrays += self.texts_when_new.nbytes
        named = self.operations.nbytes + self._heads.nbytes
        return arrays + named + self._text_bytes + 40 * self.size

    def text(self, template: int) -> bytes:
        """The canonical line of a template, cut at `TEMPLATE_TEXT_BYTES_MAX`."""
        return self._texts[template]

    def operation(self, template: int) -> bytes:
        """What of a template's text names its operation."""
        return self._texts[template][: int(self._heads[template])]

    def ids(
        self,
        wanted: npt.NDArray[np.uint64],
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        *,
        pinned: Pinned | None,
        heads: npt.NDArray[np.int64] | None = None,
    ) -> tuple[IdArray, list[int]]:
        """The ids of the first events' templates, and the ids that were taken from older templates.

        Stops before an event that finds no room, unless it is the first: the caller has then used the
        ids so far and knows better what may go. `pinned` gives the ids that unfinished units still name,
        or is None while nothing may be evicted. At least one event is taken. `heads` tells of each event
        how many bytes of its line name its operation, for a table of operations; without, all do.
        """
        out = np.empty(len(wanted), np.int32)
        evicted: list[int] = []
        row = 0
        while True:
            row = _look_up(wanted, row, self._slots, self.hashes, self._last_seen, self.events, out)
            if row == len(wanted):
                break
            text = buffer[starts[row] : min(ends[row], starts[row] + TEMPLATE_TEXT_BYTES_MAX)].tobytes()
            if not self._has_room(len(text)):
                if row > 0:
                    break
                evicted = self._evict(pinned()) if pinned is not None else []
            head = len(text) if heads is None else min(int(heads[row]), len(text))
            out[row] = self._insert(wanted[row], text, head, self.events + row)
            row += 1
        self.events += row
        return out[:row], evicted

    def _insert(self, key: np.uint64, text: bytes, head: int, event: int) -> int:
        if not self._has_room(len(text)):
            self.overflowed += 1
            return OTHER
        if self._free:
            item = self._free.pop()
            self._texts[item] = text
        else:
            item = len(self._texts)
            self._texts.append(text)
            if item >= self.capacity:
                self._grow()
        self.hashes[item], self._last_seen[item], self._used[item] = key, event, True
        if len(self.operations):
            self.operations[item], self._heads[item] = operation_hash(text[:head]), head
        self._text_bytes += len(text)
        self.texts_when_new[item] = self._text_bytes
        mask = len(self._slots) - 1
        at = int(_slot_of(key, mask))
        while self._slots[at]:
            at = (at + 1) & mask
        self._slots[at] = item
        return item

    def _has_room(self, text_bytes: int) -> bool:
        return bool(self._free or self.size < TEMPLATES_MAX) and (
            self._text_bytes + text_bytes <= TEXT_BYTES_MAX
        )

    def _grow(self) -> None:
        spare = self.capacity
        self.hashes = np.concatenate([self.hashes, np.zeros(spare, np.uint64)])
        self._last_seen = np.concatenate([self._last_seen, np.zeros(spare, np.int64)])
        self._used = np.concatenate([self._used, np.zeros(spare, np.bool_)])
        self.texts_when_new = np.concatenate([self.texts_when_new, np.zeros(spare, np.uint16)])
        if len(self.operations):
            self.operations = np.concatenate([self.operations, np.zeros(spare, np.uint32)])
            self._heads = np.concatenate([self._heads, np.zeros(spare, np.uint16)])
        self._slots = np.zeros(2 * self.capacity, np.int32)
        _index(self._slots, self.hashes, self._used, self.size - 1)

    def _evict(self, pinned: IdArray) -> list[int]:
        may_go = self._used.copy()
        may_go[pinned] = False
        candidates = np.flatnonzero(may_go)
        oldest = candidates[np.argsort(self._last_seen[candidates], kind="stable")]
        gone = [int(item) for item in oldest[: TEMPLATES_MAX // EVICTED_SHARE]]
        for item in gone:
            self._used[item] = False
            self._text_bytes -= len(self._texts[item])
            self._texts[item] = b""
        self._free = sorted({*self._free, *gone}, reverse=True)
        _index(self._slots, self.hashes, self._used, self.size)
        return gone

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "hashes": pack_array(self.hashes),
            "last_seen": pack_array(self._last_seen),
            "used": pack_array(self._used),
            "heads": pack_array(self._heads),
            "texts_when_new": pack_array(self.texts_when_new),
            "texts": list(self._texts),
            "free": list(self._free),
            "events": self.events,
            "overflowed": self.overflowed,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.hashes = unpack_array(state["hashes"])
        self._last_seen = unpack_array(state["last_seen"])
        self._used = unpack_array(state["used"])
        self._texts, self._free = list(state["texts"]), list(state["free"])
        self._heads, self.texts_when_new = unpack_array(state["heads"]), unpack_array(state["texts_when_new"])
        self.operations = np.zeros(len(self._heads), np.uint32)
        for item in range(1, len(self._texts) if len(self._heads) else 0):
            self.operations[item] = operation_hash(self.operation(item))
        self.events, self.overflowed = state["events"], state["overflowed"]
        self._text_bytes = sum(len(text) for text in self._texts[1:])
        self._slots = np.zeros(2 * self.capacity, np.int32)
        _index(self._slots, self.hashes, self._used, self.size)
