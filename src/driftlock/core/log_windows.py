"""The windows of a stream: its present one, and those that each of a stretch of units ends.

Owns the window's blocks (for sessions, the one unit under test) and sums over them. All bits lie on one grid,
so that sums and differences of sums are exact and do not depend on how units come in calls.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from driftlock.core.coder import CodedUnit, Part, coded_unit
from driftlock.core.explanation import Explained
from driftlock.core.log_model import Assessment, assessed
from driftlock.core.log_run import SCORE, SURPRISE, Found
from driftlock.core.log_units import Units
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import IdArray

BLOCKS_EXPLAINED_MAX = 32
"""Of a window of more blocks than this, only the last ones are kept for explanation."""
_NO_NOTES = np.zeros(0)


class Span(NamedTuple):  # a tuple, for one is made for every block
    """Where and when a scored unit began and ended, its score and its code length."""

    key: str
    events: int
    first: int
    first_time_ns: int
    score: float
    surprise_bits: float


class Ended(NamedTuple):
    """The windows that units end, as their verdicts tell them, in columns."""

    keys: list[str]
    first: list[int]
    last: list[int]
    first_time_ns: list[int]
    last_time_ns: list[int]
    events: list[int]
    surprise_bits: list[float]


class Kept(NamedTuple):
    """A block of the window: its template ids, its assessment from before it was learned, and its events."""

    ids: IdArray
    assessment: Assessment
    volume: int


class Window:
    """The last blocks of a stream. Not thread-safe."""

    def __init__(self, blocks: int) -> None:
        self._spans: deque[Span] = deque(maxlen=blocks)
        self.recent: deque[Kept] = deque(maxlen=min(blocks, BLOCKS_EXPLAINED_MAX))
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
        return [block.ids for block in self.recent]

    def explained(self, marks: IdArray) -> list[Explained]:
        """The blocks kept for explanation; `marks` is scratch, see `coded_unit`."""
        return [
            Explained(coded_unit(block.ids, marks, volume=block.volume), block.assessment)
            for block in self.recent
        ]

    def key(self, newest: str) -> str:
        """The name of the window that ends with the unit of this name."""
        return newest if self._blocks == 1 else _joined(self.oldest.key, newest)

    def add(self, units: Units, row: int, coded: CodedUnit, made: Assessment) -> None:
        """A unit that was assessed; the oldest one leaves."""
        self.recent.append(Kept(coded.ids, replace(made, order_notes=_NO_NOTES, end_bits=0.0), coded.volume))
        self._add_span(units, row, made.score, made.surprise_bits)

    def _add_span(self, units: Units, row: int, score: float, surprise_bits: float) -> None:
        events, first = int(units.events()[row]), int(units.first[row])
        span = Span(units.keys[row], events, first, int(units.first_time_ns[row]), score, surprise_bits)
        self._spans.append(span)

    def pass_on(self, units: Units, low: int, high: int, found: Found, *, ends: bool) -> Ended:
        """What `add` does for units that the kernel took; returns the windows that they end."""
        ended = (
            self._alone(units, low, high, found) if self._blocks == 1 else self._slid(units, low, high, found)
        )
        for row in range(max(low, high - (self.recent.maxlen or 1)), high):
            self.recent.append(_kept(units, row, found, ends=ends))
        return ended

    def _alone(self, units: Units, low: int, high: int, found: Found) -> Ended:
        """Windows of one unit each: nothing is summed, and only the last one stays."""
        rows, made = slice(low, high), found.bits[high - 1]
        self._add_span(units, high - 1, float(made[SCORE]), float(made[SURPRISE]))
        return Ended(
            list(units.keys[rows]),
            units.first[rows].tolist(),
            units.last[rows].tolist(),
            units.first_time_ns[rows].tolist(),
            units.last_time_ns[rows].tolist(),
            units.events()[rows].tolist(),
            found.bits[rows, SURPRISE].tolist(),
        )

    def _slid(self, units: Units, low: int, high: int, found: Found) -> Ended:
        """Windows that share blocks: sums are moved on."""
        rows = slice(low, high)
        spans = map(
            Span,
            units.keys[rows],
            units.events()[rows].tolist(),
            units.first[rows].tolist(),
            units.first_time_ns[rows].tolist(),
            found.bits[rows, SCORE].tolist(),
            found.bits[rows, SURPRISE].tolist(),
        )
        events_held, bits_held = self.events, self.surprise_bits
        ended = Ended([], [], units.last[rows].tolist(), [], units.last_time_ns[rows].tolist(), [], [])
        for span in spans:
            leaves = self._spans[0]
            self._spans.append(span)
            events_held += span.events - leaves.events
            bits_held += span.surprise_bits - leaves.surprise_bits
            oldest = self._spans[0]
            ended.keys.append(_joined(oldest.key, span.key))
            ended.first.append(oldest.first)
            ended.first_time_ns.append(oldest.first_time_ns)
            ended.events.append(events_held)
            ended.surprise_bits.append(bits_held)
        return ended

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return sum(200 + 16 * len(block.ids) for block in self.recent) + 200 * len(self._spans)

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        spans = [[s.key, s.events, s.first, s.first_time_ns, s.score, s.surprise_bits] for s in self._spans]
        return [spans, [_kept_state(block) for block in self.recent]]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._spans.extend(Span(*raw) for raw in state[0])
        self.recent.extend(_kept_of(raw) for raw in state[1])


def _joined(oldest: str, newest: str) -> str:
    return f"{oldest} to {newest.removeprefix('block ')}"


def _kept(units: Units, row: int, found: Found, *, ends: bool) -> Kept:
    """A unit of the kernel's as it is kept, should the window that it is in alarm."""
    made = assessed(found, row, units.bounds, units.number_causes, ends=ends, notes=_NO_NOTES)
    return Kept(units.ids_of(row).copy(), made, int(units.events()[row]))


def _kept_state(block: Kept) -> list[Any]:
    made = block.assessment
    parts = [[part.bits, part.template] for part in (made.presence, made.count, made.call, made.number)]
    causes, shares = [made.caller, made.number_cause], pack_array(made.order_shares)
    bits = [made.score, made.surprise_bits, made.set_bits]
    return [pack_array(block.ids), *bits, parts, causes, shares, block.volume]


def _kept_of(raw: list[Any]) -> Kept:
    ids, score, surprise_bits, set_bits, parts, (caller, cause), shares, volume = raw
    presence, count, call, number = (Part(*part) for part in parts)
    told = (call, caller, number, cause, unpack_array(shares), _NO_NOTES)
    made = Assessment(score, surprise_bits, presence, count, set_bits, *told)
    return Kept(unpack_array(ids), made, volume)
