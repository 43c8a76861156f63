"""Units of a log stream as columns, and blocks of consecutive events.

Owns what a complete unit is to the rest of the core, and the block being filled. Knows no coders. Which units
come out, and in which order, depends on the events alone, not on how events come in calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.coder_calls import NO_CALLS, Calls
from driftlock.core.coder_numbers import NumberBits
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import IdArray

PARTS_MAX = 32
"""Parts that are joined into one: a part of one unit takes ten times the bytes of its events."""

Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Float32s = npt.NDArray[np.float32]
ALL_KEPT: Int64s = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Units:
    """Complete units, one row each: names, template ids in order, where and when they began and ended.

    Unit i is `ids[bounds[i]:bounds[i + 1]]`; `calls` has the same events' spans and parents, or no rows where
    events do not tell them (`coder_calls`). A session that went on after it was judged comes again, whole:
    its first `known[i]` events were learned before (by the students too if `taught[i]`), and `alarmed[i]`
    says whether it alarmed then. `slots` is where the session store keeps it, -1 for what is not kept.
    `number_bits` and `number_causes` tell of its strangest number.
    `volumes` are the events of each unit where `ids` may be fewer (`time_blocks`), else it has no rows.
    """

    keys: Sequence[str]
    ids: IdArray
    calls: Calls
    bounds: Int64s
    first: Int64s
    last: Int64s
    first_time_ns: Int64s
    last_time_ns: Int64s
    known: IdArray
    taught: Flags
    alarmed: Flags
    slots: IdArray
    number_bits: Float32s
    number_causes: IdArray
    volumes: Int64s = field(default_factory=lambda: ALL_KEPT)

    @classmethod
    def new(
        cls,
        keys: Sequence[str],
        ids: IdArray,
        bounds: Int64s,
        span: tuple[Int64s, Int64s, Int64s, Int64s],
        numbers: NumberBits,
        volumes: Int64s = ALL_KEPT,
    ) -> Units:
        """Units that were never judged; `span` is first, last, first_time_ns, last_time_ns."""
        none = np.zeros(len(keys), np.bool_)
        kept = np.full(len(keys), -1, np.int32)
        known = np.zeros(len(keys), np.int32)
        return cls(keys, ids, NO_CALLS, bounds, *span, known, none, none, kept, *numbers, volumes)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def numbers(self) -> NumberBits:
        """The strangest number of each unit."""
        return NumberBits(self.number_bits, self.number_causes)

    def ids_of(self, unit: int) -> IdArray:
        """The template ids of one unit."""
        return self.ids[self.bounds[unit] : self.bounds[unit + 1]]

    def sizes(self) -> Int64s:
        """Events of each unit that are kept."""
        return np.diff(self.bounds)

    def events(self) -> Int64s:
        """Events of each unit."""
        return self.volumes if len(self.volumes) else self.sizes()

    def part(self, low: int, high: int) -> Units:
        """The units from `low` to `high`."""
        rows, bounds = slice(low, high), self.bounds[low : high + 1]
        return Units(
            self.keys[rows],
            self.ids[bounds[0] : bounds[-1]],
            self.calls[bounds[0] : bounds[-1]],
            bounds - bounds[0],
            *(column[rows] for column in self._columns()),
        )

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        return (
            self.first,
            self.last,
            self.first_time_ns,
            self.last_time_ns,
            self.known,
            self.taught,
            self.alarmed,
            self.slots,
            *self.numbers,
            self.volumes,
        )

    def state(self) -> list[Any]:
        """What `of_state` restores exactly."""
        return [
            list(self.keys),
            pack_array(self.ids),
            pack_array(self.calls),
            pack_array(self.bounds),
            *map(pack_array, self._columns()),
        ]

    @classmethod
    def of_state(cls, state: list[Any]) -> Units:
        """The inverse of `state`."""
        return cls(state[0], *map(unpack_array, state[1:]))


@dataclass(frozen=True, slots=True)
class Assembled:
    """Units assembled by the caller: names, and where and when each began and ended.

    Unit i's events are the rows from `bounds[i]` to `bounds[i + 1]`; every unit has one at least.
    """

    keys: Sequence[str]
    bounds: Int64s
    first: Int64s
    last: Int64s
    first_time_ns: Int64s
    last_time_ns: Int64s

    @property
    def clocks(self) -> Int64s:
        """The stream's clock at each unit."""
        return np.maximum.accumulate(self.last_time_ns)

    def of(self, low: int, high: int, ids: IdArray, numbers: NumberBits) -> Units:
        """The units from `low` to `high`, with the ids and the strangest numbers of all their events."""
        rows, bounds = slice(low, high), self.bounds[low : high + 1] - self.bounds[low]
        span = (self.first[rows], self.last[rows], self.first_time_ns[rows], self.last_time_ns[rows])
        return Units.new(self.keys[rows], ids, bounds, span, numbers.of_units(bounds))


def joined(parts: Sequence[Units]) -> Units:
    """The units of all parts, in order."""
    sizes = np.concatenate([part.sizes() for part in parts])
    columns = zip(*(part._columns() for part in parts), strict=True)
    return Units(
        [key for part in parts for key in part.keys],
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.calls for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]),
        *(np.concatenate(column) for column in columns),
    )


class Waiting:
    """Units until they make a baseline: of a session that went on, what it became."""

    def __init__(self) -> None:
        self._parts: list[Units] = []
        self.units = 0
        self.events = 0

    def add(self, units: Units) -> None:
        """Adds units; one with known events takes the place of what was added of it before."""
        self._parts.append(units)
        self.units += int(np.count_nonzero(units.known == 0))
        self.events += len(units.ids) - int(units.known.sum())
        if len(self._parts) > PARTS_MAX:
            self._parts = [joined(self._parts)]

    def whole(self) -> Units:
        """All units, in the order of their last addition, as ones that were never judged."""
        units = joined(self._parts)
        last = {
            (key, first): row
            for row, (key, first) in enumerate(zip(units.keys, units.first.tolist(), strict=True))
        }
        # two sessions of one key, the first forgotten meanwhile, differ in where they began
        rows = np.array(sorted(last.values()), np.int64)
        sizes = units.sizes()[rows]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        at = np.repeat(units.bounds[rows] - bounds[:-1], sizes) + np.arange(int(bounds[-1]))
        kept = Units(
            [units.keys[row] for row in rows.tolist()],
            units.ids[at],
            units.calls[at] if len(units.calls) else units.calls,
            bounds,
            *(column[rows] if len(column) else column for column in units._columns()),
        )
        kept.known[:] = 0
        return kept

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return sum(4 * len(part.ids) + part.calls.nbytes + 150 * len(part) for part in self._parts)


class BlockAssembler:
    """Cuts a stream of events into blocks of `hop` events."""

    waits_for_clock = False
    late_events = 0

    def __init__(self, hop: int) -> None:
        self._hop = hop
        self._ids = np.zeros(0, np.int32)
        self._numbers = NumberBits.none(0)
        self._number = 0
        self._first = self._first_time = 0

    @property
    def pending(self) -> IdArray:
        """The ids in the unfinished block."""
        return self._ids

    def add(
        self, ids: IdArray, numbers: NumberBits, positions: Int64s, times: Int64s, *, now_ns: int
    ) -> Units | None:
        """Takes events, each with its strangest number; returns the blocks that they complete, if any. The
        clock changes nothing."""
        waiting = len(self._ids)
        whole = (waiting + len(ids)) // self._hop
        if not waiting and len(ids):
            self._first, self._first_time = int(positions[0]), int(times[0])
        if not whole:
            self._ids, self._numbers = np.concatenate([self._ids, ids]), self._numbers.then(numbers)
            return None
        ends = np.arange(1, whole + 1) * self._hop - waiting  # in the rows of this call
        starts = ends[:-1]
        span = (
            np.concatenate([[self._first], positions[starts]]),
            positions[ends - 1],
            np.concatenate([[self._first_time], times[starts]]),
            times[ends - 1],
        )
        keys = [f"block {number}" for number in range(self._number, self._number + whole)]
        blocks, bounds = np.concatenate([self._ids, ids[: ends[-1]]]), np.arange(whole + 1) * self._hop
        strangest = self._numbers.then(numbers.part(slice(0, ends[-1]))).of_units(bounds)
        self._number += whole
        self._ids = ids[ends[-1] :].copy()
        self._numbers = NumberBits.none(0).then(numbers.part(slice(ends[-1], None)))  # no view of the call's
        rest = ends[-1] < len(ids)
        self._first = int(positions[ends[-1]]) if rest else 0
        self._first_time = int(times[ends[-1]]) if rest else 0
        return Units.new(keys, blocks, bounds, span, strangest)

    def move(self, now_ns: int) -> Units | None:
        """Nothing: no clock completes a block."""
        return None

    def interrupt(self, now_ns: int) -> None:
        """Nothing: a block is as long as it takes."""

    def flush(self) -> None:
        """Ends the input: an unfinished block is no unit, as it is not like the others."""
        self._ids, self._numbers = self._ids[:0], NumberBits.none(0)

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        arrays = [pack_array(self._ids), *map(pack_array, self._numbers)]
        return [arrays, [self._number, self._first, self._first_time]]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._ids, *numbers = map(unpack_array, state[0])
        self._numbers = NumberBits(*numbers)
        self._number, self._first, self._first_time = state[1]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 3 * self._ids.nbytes + 100
