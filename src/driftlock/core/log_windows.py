"""The windows of a stream: its present one, and those that each of a stretch of units ends.

Owns the window's blocks (for sessions, the one unit under test) and sums over them. All bits lie on one grid,
so that sums and differences of sums are exact and do not depend on how units come in calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.coder import CodedUnit, Part, coded_unit
from driftlock.core.explanation import Explained
from driftlock.core.log_model import Assessment
from driftlock.core.log_run import COUNT, PRESENCE, SCORE, SET, SURPRISE, Found
from driftlock.core.log_units import Units
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import IdArray

BLOCKS_EXPLAINED_MAX = 32
"""Of a window of more blocks than this, only the last ones are kept for explanation."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """Where and when a scored unit began and ended, its score and its code length."""

    key: str
    events: int
    first: int
    first_time_ns: int
    score: float
    surprise_bits: float


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that each of some units ends, one row each, as a verdict tells them."""

    keys: list[str]
    first: Int64s
    last: Int64s
    first_time_ns: Int64s
    last_time_ns: Int64s
    events: Int64s
    surprise_bits: Float64s

    def rows(self) -> Iterator[tuple[str, int, int, int, int, int]]:
        """Key, first, last, first and last time, events."""
        columns = (self.first, self.last, self.first_time_ns, self.last_time_ns, self.events)
        return zip(self.keys, *(column.tolist() for column in columns), strict=True)


class Window:
    """The last blocks of a stream. Not thread-safe."""

    def __init__(self, blocks: int) -> None:
        self._spans: deque[Span] = deque(maxlen=blocks)
        self.recent: deque[Explained] = deque(maxlen=min(blocks, BLOCKS_EXPLAINED_MAX))
        self._blocks = blocks

    @property
    def full(self) -> bool:
        """Whether it has all its blocks."""
        return len(self._spans) == self._blocks

    @property
    def earlier_scores(self) -> list[float]:
        """The scores of the blocks that share a window with the next one, oldest first."""
        return [span.score for span in self._spans][1:]

    @property
    def oldest(self) -> Span:
        """Its first block."""
        return self._spans[0]

    @property
    def score(self) -> float:
        """The sum of the blocks' scores."""
        return sum(span.score for span in self._spans)

    @property
    def surprise_bits(self) -> float:
        """The sum of the blocks' code lengths."""
        return sum(span.surprise_bits for span in self._spans)

    @property
    def events(self) -> int:
        """The events in its blocks."""
        return sum(span.events for span in self._spans)

    @property
    def ids(self) -> list[IdArray]:
        """The template ids of the blocks kept for explanation."""
        return [block.unit.ids for block in self.recent]

    def key(self, newest: str) -> str:
        """The name of the window that ends with the unit of this name."""
        return newest if self._blocks == 1 else _joined(self.oldest.key, newest)

    def add(self, units: Units, row: int, coded: CodedUnit, made: Assessment) -> None:
        """A unit that was assessed; the oldest one leaves."""
        self.recent.append(Explained(coded, made))
        self._add_span(units, row, made.score, made.surprise_bits)

    def _add_span(self, units: Units, row: int, score: float, surprise_bits: float) -> None:
        events = int(units.bounds[row + 1] - units.bounds[row])
        first = int(units.first[row])
        span = Span(units.keys[row], events, first, int(units.first_time_ns[row]), score, surprise_bits)
        self._spans.append(span)

    def pass_on(
        self, units: Units, low: int, high: int, found: Found, marks: IdArray, *, ends: bool
    ) -> Windows:
        """What `add` does for units that the kernel took; returns the windows that they end."""
        made = self._windows(units, low, high, found)
        for row in range(max(low, high - self._blocks), high):
            self._add_span(units, row, float(found.bits[row, SCORE]), float(found.bits[row, SURPRISE]))
        for row in range(max(low, high - (self.recent.maxlen or 1)), high):
            self.recent.append(_explained(units, row, found, marks, signs_more=int(ends)))
        return made

    def _windows(self, units: Units, low: int, high: int, found: Found) -> Windows:
        earlier, count = list(self._spans)[1:], high - low
        keys = list(units.keys[low:high])
        if earlier:
            oldest = [*(span.key for span in earlier), *keys]
            keys = [_joined(first, last) for first, last in zip(oldest, keys, strict=False)]
        first = _after([span.first for span in earlier], units.first[low:high])
        began = _after([span.first_time_ns for span in earlier], units.first_time_ns[low:high])
        events = _after([span.events for span in earlier], units.sizes()[low:high])
        bits = np.concatenate([[s.surprise_bits for s in earlier], found.bits[low:high, SURPRISE]])
        return Windows(
            keys,
            first[:count],
            units.last[low:high],
            began[:count],
            units.last_time_ns[low:high],
            self._sums(events),
            self._sums(bits),
        )

    def _sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sum over each window."""
        if self._blocks == 1:
            return values
        total = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
        return np.asarray(total[self._blocks :] - total[: -self._blocks])

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return sum(200 + 16 * len(block.unit) for block in self.recent) + 200 * len(self._spans)

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        spans = [[s.key, s.events, s.first, s.first_time_ns, s.score, s.surprise_bits] for s in self._spans]
        return [spans, [_explained_state(block) for block in self.recent]]

    def load(self, state: list[Any], marks: IdArray) -> None:
        """Takes over a state made by `state`."""
        self._spans.extend(Span(*raw) for raw in state[0])
        self.recent.extend(_explained_of(raw, marks) for raw in state[1])


def _joined(oldest: str, newest: str) -> str:
    return f"{oldest} to {newest.removeprefix('block ')}"


def _after(earlier: list[int], column: Int64s) -> Int64s:
    return np.concatenate([np.array(earlier, np.int64), column])


def _explained(units: Units, row: int, found: Found, marks: IdArray, *, signs_more: int) -> Explained:
    """A unit of the kernel's as it is explained, should the window that it is in alarm."""
    bits, templates = found.bits[row].tolist(), found.templates[row].tolist()
    begin = int(units.bounds[row]) + row
    shares = found.shares[begin : begin + int(units.bounds[row + 1] - units.bounds[row]) + signs_more].copy()
    presence, count = Part(bits[PRESENCE], templates[0]), Part(bits[COUNT], templates[1])
    made = Assessment(bits[SCORE], bits[SURPRISE], presence, count, bits[SET], shares)
    return Explained(coded_unit(units.ids_of(row).copy(), marks), made)


def _explained_state(block: Explained) -> list[Any]:
    made = block.assessment
    parts = [made.presence.bits, made.presence.template, made.count.bits, made.count.template]
    shares = pack_array(made.order_shares)
    return [pack_array(block.unit.ids), made.score, made.surprise_bits, made.set_bits, parts, shares]


def _explained_of(raw: list[Any], marks: IdArray) -> Explained:
    ids, score, surprise_bits, set_bits, parts, shares = raw
    made = Assessment(
        score, surprise_bits, Part(*parts[:2]), Part(*parts[2:]), set_bits, unpack_array(shares)
    )
    return Explained(coded_unit(unpack_array(ids), marks), made)
