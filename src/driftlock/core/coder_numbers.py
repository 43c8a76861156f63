"""The number coder: how surprising the magnitudes of a unit's numbers are.

A template is a line without its numbers, so what their sizes say is coded apart: of each place of a number
in a template, how often it had which magnitude (16 buckets, 0 for none). A number's bucket has the weight ½
H + ½ U. H is the smoothed share of the bucket: ((c + near/64) · n/t + ½)/(n + 1), with c times in t, near
the times in the buckets beside it (zero is beside .1 to 1, and what is beside that), and n = min(t,
`SAMPLE`); divided by d² where the nearest bucket ever seen is d away, two or more, as the count coder
prices the distance of counts. U is that of numbers drawn evenly up to the largest bucket seen, as ids are:
.9 in that bucket, .09 one decade below, and .009 further down, where even draws get the rarer the longer
they go on, and mean nothing; none above. So a number far larger than ever costs up to sixteen bits, one in
the decade above the largest seven, and a small one at most eight.

An event is coded before it is learned, as it comes. Magnitudes are a property of events and not of units:
they are not taken back when a session goes on, and no gate holds them.

A unit's code length is that of its strangest number, less what one in `USUAL_SHARE` units exceeds and
`MARGIN_BITS`: where numbers are anything, that is nearly all. Without the margin, regular sessions that
hold ids would have nothing else that differs, and each id of fewer digits than before would be the
costliest ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, enlarged, on_grid
from driftlock.core.logarithm import log2
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import CAPACITY_START, OTHER, IdArray, TemplateTable

PLACES = 8
BUCKETS = 16
BUCKET_BITS = 4
ROWS_MAX = 250
"""Places of numbers that a stream learns; the templates that come later than these are coded without."""
ROWS_STEP = 50
ROW_BYTES = 2 * BUCKETS
SAMPLE = 1_000
"""Rarer than one in so many costs no more, at any age of the stream, as with presence."""
NEAR_SHARE = 1.0 / 64.0
"""Of the times in a bucket beside it, what counts as its own: ids that grow cross a boundary once."""
ROW_COUNT_MAX = 16_384
USUAL_SHARE = 32
MARGIN_BITS = 4.0
LEVELS = 64
LEVEL_BITS = 0.25  # the bits of units are counted in steps of so many
BITS_MAX = 15.75
"""Of a number: bits below 16 on the grid of 2⁻²⁰ are exact in 32 bits of floating point."""

NO_CAUSE = -1
_TOTAL = 0  # of a row: no number has bucket 0, so its place counts all
_NO_ROOM = 255
_ZERO, _FRACTION = 1, 5  # the buckets of zero and of .1 to 1, see `signals.magnitudes`
_EVEN = np.array([0.9, 0.09, 0.009])  # by decades below the largest bucket

Bits = npt.NDArray[np.float32]
Levels = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.uint16]


class NumberBits(NamedTuple):
    """Of each event or unit, the bits of its strangest number, and which it is (`Strange`), −1 for none."""

    bits: Bits
    causes: IdArray

    @classmethod
    def none(cls, rows: int) -> NumberBits:
        """Of events or units without numbers."""
        return cls(np.zeros(rows, np.float32), np.full(rows, NO_CAUSE, np.int32))

    def part(self, rows: slice) -> NumberBits:
        """Of some of the rows."""
        return NumberBits(self.bits[rows], self.causes[rows])

    def then(self, more: NumberBits) -> NumberBits:
        """These rows, then `more`."""
        return NumberBits(np.concatenate([self.bits, more.bits]), np.concatenate([self.causes, more.causes]))

    def of_units(self, bounds: npt.NDArray[np.int64]) -> NumberBits:
        """Of units whose events are the rows from `bounds[i]` to `bounds[i + 1]`."""
        units = NumberBits.none(len(bounds) - 1)
        _strangest(self.bits, self.causes, bounds, units.bits, units.causes)
        return units


class Strange(NamedTuple):
    """A number of an event, as it was when it came: its template, which of its numbers it is, its bucket, the
    most usual bucket there, and whether its own was never seen there."""

    template: int
    place: int
    bucket: int
    usual: int
    unseen: bool

    @classmethod
    def of(cls, cause: int) -> Strange:
        """From a cause other than `NO_CAUSE`."""
        return cls(cause >> 12, (cause >> 9) & 7, (cause >> 5) & 15, (cause >> 1) & 15, bool(cause & 1))


@numba.njit(cache=True)
def _strangest(
    bits: Bits, causes: IdArray, bounds: npt.NDArray[np.int64], out_bits: Bits, out_causes: IdArray
) -> None:
    for unit in range(len(bounds) - 1):
        for event in range(bounds[unit], bounds[unit + 1]):
            if bits[event] > out_bits[unit]:
                out_bits[unit], out_causes[unit] = bits[event], causes[event]


@numba.njit(cache=True)
def _place(bucket: int) -> int:
    """Where a bucket lies among the others: zero is where a fraction is, since whole numbers have none."""
    return _FRACTION if bucket == _ZERO else bucket


@numba.njit(cache=True)
def _near(row: Counts, bucket: int) -> float:
    """The times in the buckets beside this one."""
    if bucket == _ZERO:
        return float(row[_FRACTION - 1]) + float(row[_FRACTION]) + float(row[_FRACTION + 1])
    near = float(row[bucket - 1]) if bucket - 1 > _ZERO else 0.0
    near += float(row[bucket + 1]) if bucket + 1 < BUCKETS else 0.0
    return near + (float(row[_ZERO]) if abs(bucket - _FRACTION) <= 1 else 0.0)


@numba.njit(cache=True)
def _away(row: Counts, bucket: int) -> int:
    """How far from this bucket the nearest one is that was seen."""
    away = BUCKETS
    for each in range(1, BUCKETS):
        if row[each] > 0:
            away = min(away, abs(_place(each) - _place(bucket)))
    return away


@numba.njit(cache=True)
def _chance(row: Counts, bucket: int) -> float:
    """The weight of a bucket; the row has counted some."""
    near, total = _near(row, bucket), float(row[_TOTAL])
    sample = total if total < SAMPLE else float(SAMPLE)
    away = _away(row, bucket) if row[bucket] == 0 and near == 0.0 else 1
    seen = ((row[bucket] + near * NEAR_SHARE) * sample / total + 0.5) / ((sample + 1.0) * away * away)
    top = BUCKETS - 1
    while row[top] == 0 and top > _ZERO:
        top -= 1
    below = _place(top) - _place(bucket)
    return float(0.5 * seen + (0.5 * _EVEN[min(below, 2)] if below >= 0 else 0.0))


@numba.njit(cache=True)
def _cause(row: Counts, template: int, place: int, bucket: int) -> int:
    """What `Strange` reads: the row has counted other numbers, and not yet this one."""
    usual = 1
    for each in range(2, BUCKETS):
        if row[each] > row[usual]:
            usual = each
    return template << 12 | place << 9 | bucket << 5 | usual << 1 | (1 if row[bucket] == 0 else 0)


@numba.njit(cache=True)
def _learn_number(row: Counts, bucket: int) -> None:
    row[bucket] += 1
    row[_TOTAL] += 1
    if row[_TOTAL] >= ROW_COUNT_MAX:
        row[_TOTAL] = 0
        for each in range(1, BUCKETS):
            row[each] >>= 1
            row[_TOTAL] += row[each]


@numba.njit(cache=True)
def _give_rows(rows: Rows, spare: Rows, held: Counts, template: int, packed: int) -> None:
    """Gives each number of the event's template a row, as long as there are any."""
    place = 0
    while packed != 0 and place < PLACES:
        if rows[template, place] == 0:
            if spare[0] > 0:
                rows[template, place] = spare[spare[0]]
                spare[0] -= 1
            else:
                rows[template, place] = _NO_ROOM
        packed >>= BUCKET_BITS
        place += 1
    held[template] = (len(spare) - 1 - spare[0]) * ROW_BYTES


@numba.njit(cache=True)
def take_numbers(
    ids: IdArray,
    numbers: Numbers,
    start: int,
    rows: Rows,
    counts: Counts,
    spare: Rows,
    held: Counts,
    learns: bool,
    bits: Bits,
    causes: IdArray,
) -> int:
    """Codes, and if `learns` learns, the numbers of events from `start` on; returns the first event not taken
    because rows are to be added first."""
    for event in range(start, len(ids)):
        packed, template = int(numbers[event]), int(ids[event])
        if packed == 0 or template == OTHER:
            continue
        if rows[template, 0] == 0 and learns:
            if spare[0] < PLACES and len(counts) <= ROWS_MAX:
                return event
            _give_rows(rows, spare, held, template, packed)
        least, place = 1.0, 0
        while packed != 0:
            bucket, row = packed & (BUCKETS - 1), int(rows[template, place])
            if 0 < row < _NO_ROOM and bucket > 0:
                if counts[row, _TOTAL] > 0:
                    chance = _chance(counts[row], bucket)
                    if chance < least:
                        least = chance
                        causes[event] = _cause(counts[row], template, place, bucket)
                if learns:
                    _learn_number(counts[row], bucket)
            packed >>= BUCKET_BITS
            place += 1
        bits[event] = min(on_grid(-log2(least)), BITS_MAX)
    return len(ids)


@numba.njit(cache=True)
def usual_bits(levels: Levels) -> float:
    """What at most one in `USUAL_SHARE` units exceeds, rounded up to the next level."""
    may_exceed, exceed = levels.sum() // USUAL_SHARE, 0
    for level in range(LEVELS - 1, -1, -1):
        exceed += levels[level]
        if exceed > may_exceed:
            return (level + 1) * LEVEL_BITS
    return LEVELS * LEVEL_BITS


@numba.njit(cache=True)
def number_bits(levels: Levels, bits: float) -> float:
    """The bits of a unit whose strangest number costs `bits`."""
    return max(bits - usual_bits(levels) - MARGIN_BITS, 0.0) if bits > 0.0 else 0.0


@numba.njit(cache=True)
def follow_levels(levels: Levels, bits: float) -> None:
    """Counts a unit's strangest number."""
    levels[min(int(bits / LEVEL_BITS), LEVELS - 1)] += 1
    if levels.sum() >= UNITS_REMEMBERED_MAX:
        levels >>= 1


class NumberCoder:
    """Counts of magnitudes by place and template. Ids of templates that are forgotten begin anew."""

    name: ClassVar[str] = "numbers"
    version: ClassVar[int] = 1

    def __init__(self, templates: TemplateTable) -> None:
        self._templates = templates
        self.levels: Levels = np.zeros(LEVELS, np.int32)
        self._rows: Rows = np.zeros((CAPACITY_START, PLACES), np.uint8)
        self._counts: Counts = np.zeros((1, BUCKETS), np.uint16)
        self._spare: Rows = np.zeros(1, np.uint8)  # how many rows are spare, then these, the next one last
        self._held: Counts = np.zeros(CAPACITY_START, np.uint16)

    def take(self, ids: IdArray, numbers: Numbers, *, learns: bool = True) -> NumberBits:
        """Codes the numbers of events, each before it is learned.

        `numbers` has their magnitudes, four bits each, the first number lowest. Without `learns` nothing is
        learned and nothing written to.
        """
        self._reserve()
        found = NumberBits.none(len(ids))
        event = 0
        while True:
            event = take_numbers(
                ids, numbers, event, self._rows, self._counts, self._spare, self._held, learns, *found
            )
            if event == len(ids):
                return found
            self._add_rows()

    def _reserve(self) -> None:
        capacity = self._templates.capacity
        self._rows, self._held = enlarged(self._rows, capacity), enlarged(self._held, capacity)

    def _add_rows(self) -> None:
        first = len(self._counts)
        more = np.arange(first + ROWS_STEP - 1, first - 1, -1, dtype=np.uint8)
        spare = self._spare[1 : 1 + self._spare[0]]
        self._spare = np.zeros(first + ROWS_STEP, np.uint8)
        self._spare[0] = len(spare) + ROWS_STEP
        self._spare[1 : 1 + ROWS_STEP] = more
        self._spare[1 + ROWS_STEP : 1 + self._spare[0]] = spare
        self._counts = enlarged(self._counts, first + ROWS_STEP)

    def forget(self, templates: Sequence[int]) -> None:
        """Frees the rows of evicted templates, for others and for those that found no room."""
        self._reserve()
        for template in templates:
            for row in self._rows[template].tolist():
                if 0 < row < _NO_ROOM:
                    self._counts[row] = 0
                    self._spare[0] += 1
                    self._spare[self._spare[0]] = row
            self._rows[template] = 0
        self._rows[self._rows == _NO_ROOM] = 0

    def bytes_when_new(self, capacity: int) -> npt.NDArray[np.uint16]:
        """By template, the bytes of rows in use when it got its own: known event by event, unlike arrays."""
        return enlarged(self._held, capacity)[:capacity]

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        arrays = (self.levels, self._rows, self._counts, self._spare, self._held)
        return {"arrays": [pack_array(array) for array in arrays]}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.levels, self._rows, self._counts, self._spare, self._held = map(unpack_array, state["arrays"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self.levels, self._rows, self._counts, self._spare, self._held)
        return sum(array.nbytes for array in arrays)
