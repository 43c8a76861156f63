"""The call coder: who called each operation of a trace.

Owns how callers are found among a unit's events, and what a call costs. An event of a trace tells its span
and its parent's, each by a 32-bit hash (`ROOT`: it has no parent; `UNTOLD`: it does not say). Its caller is
the operation of the one event of the unit that has the parent's hash; if none has, the call came from
`ELSEWHERE`, which is all that a stream of one service can know of the others; if several have, whose
operations differ, the event says nothing. What came in which request, and in which order, does not matter.

A call costs −log2 of the smoothed share of this operation's calls, over units learned, that came from this
caller: (share · n + ½)/(n + 1) with n the operation's calls, at most `SAMPLE`; an operation never seen costs
nothing here, since the presence coder tells that. The unit's code length is the largest of these, for one
wrong call must not drown among fifty right ones; so it has one cause, too. Operations enter by hash, so the
duration, status and attributes of a span do not matter.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, on_grid
from driftlock.core.coder_presence import SAMPLE
from driftlock.core.counters import CounterTable, Ints, Uints, add_item, group_key, item_key, mixed, slot_of
from driftlock.core.logarithm import log2
from driftlock.core.templates import IdArray, TemplateTable

SLOTS_MAX = 512
PAIRS_MAX = 128
"""Distinct calls learned at one go: what they take fits into the smallest table that is at its largest."""

ROOT, UNTOLD = 0, 1  # of a parent's hash; those of spans lie above
NOBODY, ELSEWHERE, UNKNOWN = 1, 2, 0  # of a caller; those of operations lie above

Calls = npt.NDArray[np.uint32]
Callers = npt.NDArray[np.uint32]
NO_CALLS: Calls = np.zeros((0, 2), np.uint32)
NO_CALLERS: Callers = np.zeros(0, np.uint32)


@numba.njit(cache=True)
def _callers_of(ids: IdArray, calls: Calls, operations: Callers, out: Callers) -> None:
    for event in range(len(out)):
        parent = calls[event, 1]
        if parent <= UNTOLD:
            out[event] = NOBODY if parent == ROOT else UNKNOWN
            continue
        out[event] = ELSEWHERE
        for other in range(len(out)):
            if calls[other, 0] != parent or other == event:
                continue
            caller = operations[ids[other]]
            if out[event] == ELSEWHERE:
                out[event] = caller
            elif out[event] != caller:
                out[event] = UNKNOWN
                break


@numba.njit(cache=True)
def find_callers(
    ids: IdArray,
    bounds: npt.NDArray[np.int64],
    known: IdArray,
    calls: Calls,
    operations: Callers,
    out: Callers,
) -> None:
    """Writes each event's caller, in row 0 among its whole unit, in row 1 among its first `known` events."""
    for unit in range(len(bounds) - 1):
        begin, end = bounds[unit], bounds[unit + 1]
        _callers_of(ids[begin:end], calls[begin:end], operations, out[0, begin:end])
        end = begin + known[unit]
        _callers_of(ids[begin:end], calls[begin:end], operations, out[1, begin:end])


@numba.njit(cache=True)
def distinct_calls(ids: IdArray, callers: Callers, operations: Callers, out: IdArray) -> int:
    """Writes the first event of each distinct pair of operation and known caller; returns how many."""
    size = 0
    for event in range(len(callers)):
        if callers[event] == UNKNOWN:
            continue
        operation = operations[ids[event]]
        at = 0
        while at < size and (callers[out[at]] != callers[event] or operations[ids[out[at]]] != operation):
            at += 1
        if at == size:
            out[size] = event
            size += 1
    return size


@numba.njit(cache=True)
def _item(operation: np.uint32, caller: np.uint32) -> np.uint32:
    return item_key(mixed(mixed(np.uint64(0x43414C4C), np.uint64(operation)), np.uint64(caller)), False)


@numba.njit(cache=True)
def _group(operation: np.uint32) -> np.uint32:
    return group_key(mixed(np.uint64(0x43414C4C), np.uint64(operation)))


@numba.njit(cache=True)
def call_bits(
    keys: Uints, counts: Ints, ids: IdArray, callers: Callers, operations: Callers, events: IdArray
) -> tuple[float, int]:
    """The bits of the most surprising of these calls, and its event; −1 where none costs anything."""
    worst, cause = 0.0, -1
    for event in events:
        operation = operations[ids[event]]
        calls = counts[slot_of(keys, _group(operation))]
        if calls <= 0:
            continue
        alike = counts[slot_of(keys, _item(operation, callers[event]))]
        sample = min(calls, SAMPLE)
        bits = on_grid(log2((sample + 1.0) / (alike * sample / calls + 0.5)))
        if bits > worst:
            worst, cause = bits, event
    return worst, cause


@numba.njit(cache=True)
def learn_calls(
    keys: Uints,
    counts: Ints,
    links: Uints,
    ids: IdArray,
    callers: Callers,
    operations: Callers,
    events: IdArray,
    weight: int,
) -> int:
    """Adds `weight` to these calls; returns the slots taken."""
    taken = 0
    for event in events:
        operation = operations[ids[event]]
        taken += add_item(keys, counts, links, _item(operation, callers[event]), _group(operation), weight)
    return taken


class CallCoder:
    """Counts of calls by operation and caller. Without `active` there are none, and it takes no room."""

    name: ClassVar[str] = "calls"
    version: ClassVar[int] = 1

    def __init__(self, templates: TemplateTable, *, active: bool) -> None:
        self._templates = templates
        self.active = active
        self.table = CounterTable(SLOTS_MAX, empty=not active)
        self.units = self.halved = 0

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the unit's most surprising call, and the template of the operation called."""
        bits, event = self.code_event(unit)
        return Part(bits, int(unit.ids[event]) if event >= 0 else -1)

    def code_event(self, unit: CodedUnit) -> tuple[float, int]:
        """The same with the event, −1 where no call costs anything."""
        if not self.active:
            return 0.0, -1
        t, operations = self.table, self._templates.operations
        bits, event = call_bits(t.keys, t.counts, unit.ids, unit.callers, operations, self._events(unit))
        return float(bits), int(event)

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit's calls, each distinct one once."""
        if not self.active:
            return
        events, t = self._events(unit), self.table
        for first in range(0, len(events), PAIRS_MAX):
            part = events[first : first + PAIRS_MAX]
            t.reserve(2 * len(part))
            arrays = (t.keys, t.counts, t.links)
            t.took(
                int(learn_calls(*arrays, unit.ids, unit.callers, self._templates.operations, part, weight))
            )
        self.units += weight
        if self.units >= UNITS_REMEMBERED_MAX:
            t.fade()
            self.units >>= 1
            self.halved += 1

    def _events(self, unit: CodedUnit) -> IdArray:
        out = np.empty(len(unit.callers), np.int32)
        return out[: distinct_calls(unit.ids, unit.callers, self._templates.operations, out)]

    def counts(self, operation: int, caller: int) -> tuple[int, int]:
        """Of the operation's calls, those of this caller, and all."""
        t = self.table
        alike = t.counts[slot_of(t.keys, _item(np.uint32(operation), np.uint32(caller)))]
        return int(alike), int(t.counts[slot_of(t.keys, _group(np.uint32(operation)))])

    def reserve(self, capacity: int) -> None:
        """Nothing to do: operations are kept by hash."""

    def forget(self, templates: list[int]) -> None:
        """Nothing to do: operations of evicted templates fade with the table."""

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {"units": self.units, "table": self.table.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units = state["units"]
        self.table.load(state["table"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.table.nbytes
