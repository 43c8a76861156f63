"""A bounded hash table of counters, for contexts and sets: 32-bit keys, open addressing, counts that fade.

Owns growth and pruning. An entry is an item (odd key), which may belong to a group, or a group (even key):
a group's count is the sum of its items' counts and its link the number of distinct items. Items are minor if
others tell more for less room: those of long contexts, which chance makes by the thousand. When the largest
table is half full, each slot newly taken lets a sweep pass over some others and drop what was counted once, a
little at a time, since a sudden loss would shift all scores, and of minor items alone until it is three
quarters full. If that does not do, the counts of minor items are halved, then all. Two keys may collide (odds
below 1 in 50 for a whole full table); a count is then too high, the same everywhere.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.packing import pack_array, unpack_array

SLOTS_START = 256
SWEPT_PER_SLOT = 4

Uints = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int32]


@numba.njit(cache=True)
def mixed(a: np.uint64, b: np.uint64) -> np.uint64:
    """A 64-bit hash of an ordered pair (the finaliser of MurmurHash3 over a multiply-add)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) + np.uint64(0x632BE59BD9B4E019)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@numba.njit(cache=True)
def item_key(h: np.uint64, minor: bool) -> np.uint32:
    """The table key of an item with this hash: odd, and the next bit tells whether it is a minor one."""
    return np.uint32(((h >> np.uint64(32)) & np.uint64(0xFFFFFFFC)) | np.uint64(3 if minor else 1))


@numba.njit(cache=True)
def group_key(h: np.uint64) -> np.uint32:
    """The table key of a group with this hash: even, never 0."""
    return np.uint32(((h >> np.uint64(32)) & np.uint64(0xFFFFFFFC)) | np.uint64(2))


@numba.njit(cache=True)
def slot_of(keys: Uints, key: np.uint32) -> int:
    """The slot that holds `key`, or the empty one where it belongs. The table must not be full."""
    mask = len(keys) - 1
    at = int(key >> np.uint32(2)) & mask
    while keys[at] != 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


@numba.njit(cache=True)
def add_item(keys: Uints, counts: Ints, links: Uints, item: np.uint32, group: np.uint32, weight: int) -> int:
    """Adds `weight` to an item and its group (0: none). Returns how many slots were newly taken.

    What is taken back must still be there: a sweep may have dropped it meanwhile.
    """
    taken = 0
    at = slot_of(keys, item)
    if weight < 0 and counts[at] < -weight:
        return 0
    if keys[at] == 0:
        keys[at] = item
        taken += 1
    before = counts[at]
    counts[at] = before + weight
    links[at] = group
    if group == 0:
        return taken
    after = counts[at]
    at = slot_of(keys, group)
    if keys[at] == 0:
        keys[at] = group
        taken += 1
    counts[at] += weight
    links[at] = np.uint32(np.int64(links[at]) + np.int64(after > 0) - np.int64(before > 0))
    return taken


@numba.njit(cache=True)
def _rebuild(
    old: tuple[Uints, Ints, Uints], keys: Uints, counts: Ints, links: Uints, shift: int, minor_shift: int
) -> int:
    taken = 0
    for at in range(len(old[0])):
        key = old[0][at]
        if key & np.uint32(1):
            count = old[1][at] >> (minor_shift if key & np.uint32(2) else shift)
            if count > 0:
                taken += add_item(keys, counts, links, key, old[2][at], count)
    return taken


@numba.njit(cache=True)
def sweep(keys: Uints, counts: Ints, links: Uints, taken: int, start: int, slots: int) -> None:
    """Drops what was counted once from so many slots on; minor items alone while there is room."""
    dropped = np.uint32(3 if 4 * taken <= 3 * len(keys) else 1)
    for step in range(slots):
        at = (start + step) & (len(keys) - 1)
        if keys[at] & dropped == dropped and counts[at] == 1:
            counts[at] = 0
            if links[at]:
                group = slot_of(keys, links[at])
                counts[group] -= 1
                links[group] -= np.uint32(1)


class CounterTable:
    """Counters by key, at most `slots_max` slots (a power of two) of which seven eighths are filled.

    An `empty` one has no room and is never asked or told anything.
    """

    def __init__(self, slots_max: int, *, empty: bool = False) -> None:
        self.slots_max = slots_max
        self._allocate(0 if empty else SLOTS_START)

    def _allocate(self, slots: int) -> None:
        self.keys: Uints = np.zeros(slots, np.uint32)
        self.counts: Ints = np.zeros(slots, np.int32)
        self.links: Uints = np.zeros(slots, np.uint32)
        self.taken = 0
        self.swept = 0

    def reserve(self, more: int) -> None:
        """Makes sure that `more` slots can be taken: grows, and at the largest size drops or fades."""
        if self._fits(more):
            return
        while not self._fits(more) and len(self.keys) < self.slots_max:
            self._renew(2 * len(self.keys), 0, 0)
        if not self._fits(more):
            self._renew(len(self.keys), 0, 0)
        if not self._fits(more):
            self._renew(len(self.keys), 0, 1)
        while not self._fits(more) and self.taken > 0:
            self.fade()

    def _fits(self, more: int) -> bool:
        return self.taken + more <= len(self.keys) * 7 // 8

    def took(self, slots: int) -> None:
        """Notes slots newly taken by a kernel; past half of the largest table, sweeps for each of them."""
        self.taken += slots
        if slots and len(self.keys) == self.slots_max and 2 * self.taken > self.slots_max:
            count = SWEPT_PER_SLOT * slots
            sweep(self.keys, self.counts, self.links, self.taken, self.swept, count)
            self.swept = (self.swept + count) % len(self.keys)

    def fade(self) -> None:
        """Halves all counts and drops what is then zero."""
        self._renew(len(self.keys), 1, 1)

    def _renew(self, slots: int, shift: int, minor_shift: int) -> None:
        old = (self.keys, self.counts, self.links)
        self._allocate(slots)
        self.taken = int(_rebuild(old, self.keys, self.counts, self.links, shift, minor_shift))

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        arrays = (self.keys, self.counts, self.links)
        return {"taken": self.taken, "swept": self.swept, "arrays": [pack_array(a) for a in arrays]}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.taken, self.swept = state["taken"], state["swept"]
        self.keys, self.counts, self.links = (unpack_array(a) for a in state["arrays"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.keys.nbytes + self.counts.nbytes + self.links.nbytes
