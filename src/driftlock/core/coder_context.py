"""The context coder: how predictable the order of a unit's templates is.

Interpolated models of orders 0 to 3 with absolute discounting of ½ (Kneser and Ney 1995, without their
lower-order counts): E_k(s) = (max(c − ½, 0) + ½ T P_{k−1}(s)) / C, down to a uniform law over as many symbols
as a stream may know (over those it knows now, the new would cost more with every symbol learned), and with at
least a chance of ½ / `SAMPLE` for what a context never led to, however often it was seen. Each order
is heeded as far as it proved itself: P_k = w E_k + (1 − w) P_{k−1}, with the odds of w 2 to the bits that E_k
saved over P_{k−1} in the units before, which fade (Jelinek and Mercer 1980 with their buckets, learned online
as by Herbster and Warmuth 1998). There is one w for each order, size of the context's count, and whether one
or several symbols followed it: where events do not depend on the ones before, what long contexts learned is
chance, and order 3 unweighed costs ever more the longer such a stream is learned.

A unit starts in an empty context and, where units are whole sessions, ends with a symbol of its own, so that
a session cut short is a surprise. A unit's code length is its mean bits a symbol and, for one wrong step
drowns in the mean of fifty right ones, half of −log2 of the share of units whose most surprising symbol cost
as much as its own, or nearly: nothing where such steps are usual, four bits where they are new. A unit
without events is that last symbol alone, without a step: −log2 of the share of such units, or nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, on_grid
from driftlock.core.counters import (
    CounterTable,
    Ints,
    Uints,
    add_item,
    group_key,
    item_key,
    mixed,
    slot_of,
)
from driftlock.core.logarithm import exp2, log2
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import TEMPLATES_MAX, IdArray, TemplateTable

ORDER = 3
ORDERS = ORDER + 1
MAJOR_ORDER = 1
"""Items of longer contexts are minor: they go first when room is short."""
SLOTS_MAX = 4_096
CHUNK_SYMBOLS = 128
"""Symbols learned between two looks at the table's room; each takes at most 2 (order + 1) slots."""

SIZES = 4
"""Sizes of a context's count that are weighed apart: 1, 2 or 3, 4 to 7, more."""
GAINS = 2 * SIZES * ORDER
SAMPLE = 1_000
"""What never followed a context costs no more than after so many times, as a template does in presence."""

NOTES = GAINS + 2
"""What a unit tells about the coder itself: bits saved, its most surprising symbol's bits, and its place."""
WORST, WORST_AT = GAINS, GAINS + 1
NO_STEP = -1
"""The place of no symbol."""
STEPS = 128
STEP_WEIGHT = 0.5
STEP_SAMPLE = 128
"""Rarer than in one of so many units costs no more, at any age of the stream, as with counts."""
_STEP_BITS = 0.25  # that a step's place among the counts is wide
_STEPS_NEAR = 3  # places: what is learned makes steps dearer, as `calibration` says of scores

_DISCOUNT = 0.5
_FADING = 0.99  # of what an order saved, a unit: a stream may become more or less orderly
_SHARE_MIN = 0.005
"""Weight that either side keeps, as the numeric coder's predictors do."""
_RATIO_MAX = 1e100
_UNPLACED = -1
_NO_PLACES = np.zeros((0, 2 * ORDERS), np.int32)
_START = np.uint64(0x5354415254)
END = np.uint64(0x454E44)

Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


@numba.njit(cache=True)
def _context(symbols: Hashes, at: int, order: int) -> np.uint64:
    h = np.uint64(order)
    for back in range(1, order + 1):
        h = mixed(h, symbols[at - back] if at >= back else _START)
    return h


@numba.njit(cache=True)
def _gain_of(order: int, total: int, links: int) -> int:
    """The place among the gains of a context of this order."""
    size = 0
    while total > 1 and size < SIZES - 1:
        total >>= 1
        size += 1
    return ((order - 1) * SIZES + size) * 2 + (1 if links > 1 else 0)


@numba.njit(cache=True)
def _weight(gain: float) -> float:
    """The weight of an order that saved `gain` bits over the one below."""
    return _SHARE_MIN + (1.0 - 2.0 * _SHARE_MIN) / (1.0 + exp2(-gain))


@numba.njit(cache=True)
def follow_gains(gains: Floats, notes: Floats) -> None:
    """Adds the bits that the orders saved on a unit to those before."""
    for at in range(GAINS):
        if notes[at] != 0.0:
            gains[at] = on_grid(_FADING * gains[at]) + notes[at]


@numba.njit(cache=True)
def _step(worst: float) -> int:
    return min(int(worst / _STEP_BITS), STEPS - 1)


@numba.njit(cache=True)
def step_bits(steps: Ints, worst: float, own: int) -> float:
    """The bits of a unit whose most surprising symbol costs `worst`; `own` is 1 if it is counted already."""
    units = steps.sum() - own
    if units == 0:
        return 0.0
    reached = steps[max(_step(worst) - _STEPS_NEAR, 0) :].sum() - own
    return on_grid(STEP_WEIGHT * log2((STEP_SAMPLE + 1.0) / (reached / units * STEP_SAMPLE + 0.5)))


@numba.njit(cache=True)
def follow_steps(steps: Ints, worst: float) -> None:
    """Counts a unit's most surprising symbol."""
    steps[_step(worst)] += 1
    if steps.sum() >= UNITS_REMEMBERED_MAX:
        steps >>= 1


@numba.njit(cache=True)
def order_bits(
    keys: Uints,
    counts: Ints,
    links: Uints,
    symbols: Hashes,
    gains: Floats,
    out: Floats,
    notes: Floats,
    places: Ints,
) -> tuple[float, float]:
    """Mean and total bits of a unit's symbols, by what the orders saved before (`gains`); `out` takes the
    symbols' shares of the mean, `notes` what `follow` is to know, and `places`, unless it has no rows, the
    slots of each symbol's contexts and of itself after them, for `learn_again`."""
    weights, ratios = np.zeros(GAINS), np.ones(GAINS)
    notes[:] = 0.0
    mean, total_bits = 0.0, 0.0
    for at in range(len(symbols)):
        p = 1.0 / TEMPLATES_MAX
        if len(places):
            places[at] = _UNPLACED
        for order in range(ORDERS):
            context = _context(symbols, at, order)
            group = slot_of(keys, group_key(context))
            total = counts[group]
            if total <= 0:
                break  # nor is any longer context known
            item = slot_of(keys, item_key(mixed(context, symbols[at]), order > MAJOR_ORDER))
            seen = counts[item]
            if len(places) and keys[item] != 0:
                places[at, 2 * order], places[at, 2 * order + 1] = group, item
            escape = max(_DISCOUNT * links[group] / total, _DISCOUNT / SAMPLE)
            own = (
                max(seen - _DISCOUNT, 0.0) * (1.0 - escape) / (total - _DISCOUNT * links[group]) + escape * p
            )
            if order == 0:
                p = own
                continue
            gain = _gain_of(order, total, links[group])
            if weights[gain] == 0.0:
                weights[gain] = _weight(gains[gain])
            ratios[gain] *= own / p
            if not 1.0 / _RATIO_MAX < ratios[gain] < _RATIO_MAX:  # one logarithm for many symbols
                notes[gain] += on_grid(log2(ratios[gain]))
                ratios[gain] = 1.0
            p = weights[gain] * own + (1.0 - weights[gain]) * p
        bits = -log2(p)
        out[at] = on_grid(bits / len(symbols))
        mean += out[at]
        total_bits += on_grid(bits)
        if bits > notes[WORST]:
            notes[WORST], notes[WORST_AT] = bits, at
    for gain in range(GAINS):
        if ratios[gain] != 1.0:
            notes[gain] += on_grid(log2(ratios[gain]))
    return mean, total_bits


@numba.njit(cache=True)
def _learn_symbol(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, at: int, order: int, weight: int
) -> int:
    context = _context(symbols, at, order)
    item = item_key(mixed(context, symbols[at]), order > MAJOR_ORDER)
    return int(add_item(keys, counts, links, item, group_key(context), weight))


@numba.njit(cache=True)
def learn_order(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, first: int, last: int, weight: int
) -> int:
    """Adds `weight` to the symbols from `first` to `last` after their contexts; returns the slots taken."""
    taken = 0
    for at in range(first, last):
        for order in range(ORDERS):
            taken += _learn_symbol(keys, counts, links, symbols, at, order, weight)
    return taken


@numba.njit(cache=True)
def learn_again(keys: Uints, counts: Ints, links: Uints, symbols: Hashes, places: Ints) -> int:
    """`learn_order` of a whole unit, by the slots that `order_bits` found: taking others moves none."""
    taken = 0
    for at in range(len(symbols)):
        for order in range(ORDERS):
            group, item = places[at, 2 * order], places[at, 2 * order + 1]
            if group == _UNPLACED:
                taken += _learn_symbol(keys, counts, links, symbols, at, order, 1)
                continue
            before = counts[item]
            counts[item] = before + 1
            links[item] = keys[group]
            counts[group] += 1
            links[group] = np.uint32(np.int64(links[group]) + np.int64(before + 1 > 0) - np.int64(before > 0))
    return taken


class CodedOrder(NamedTuple):
    """A unit's bits and those of all its symbols together, each symbol's share of the former (the end's last,
    if any), the bits of the last symbol alone, and what `follow` is to know."""

    bits: float
    total_bits: float
    shares: Floats
    end_bits: float
    notes: Floats


class ContextCoder:
    """Counts of symbols after contexts of up to three. Templates enter by hash, so ids may change hands."""

    name: ClassVar[str] = "order"
    version: ClassVar[int] = 3

    def __init__(self, templates: TemplateTable, *, ends: bool) -> None:
        self._templates = templates
        self._ends = ends
        self.table = CounterTable(SLOTS_MAX)
        self.gains = np.zeros(GAINS)  # bits saved by order lately, on units before they were learned
        self.steps = np.zeros(STEPS, np.int32)  # units lately by their most surprising symbol
        self.units = self.halved = 0

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the unit's order; no single template causes it."""
        return Part(self.code_symbols(unit).bits, -1)

    def code_symbols(self, unit: CodedUnit) -> CodedOrder:
        """What the unit's symbols cost."""
        symbols = self._symbols(unit.ids)
        shares, notes = np.empty(len(symbols)), np.empty(NOTES)
        t = self.table
        mean, total = order_bits(t.keys, t.counts, t.links, symbols, self.gains, shares, notes, _NO_PLACES)
        if not len(unit):
            notes[WORST_AT] = NO_STEP
        end_bits = float(shares[-1]) * len(shares)
        step = self.add_step(shares, notes)
        return CodedOrder(mean + step, total, shares, end_bits, notes)

    def add_step(self, shares: Floats, notes: Floats, *, own: bool = False) -> float:
        """Adds the bits of the most surprising step to its symbol's share and returns them; `own` if it is
        among those counted."""
        if notes[WORST_AT] == NO_STEP:
            return 0.0
        bits = float(step_bits(self.steps, notes[WORST], int(own)))
        shares[int(notes[WORST_AT])] += bits
        return bits

    def follow(self, notes: Floats) -> None:
        """Takes note of what a unit told about the coder, before the unit is learned."""
        follow_gains(self.gains, notes)
        follow_steps(self.steps, notes[WORST])

    def follow_anew(self, notes: Sequence[Floats]) -> None:
        """Forgets the steps of units so far, and takes note of these."""
        self.steps[:] = 0
        for each in notes:
            follow_steps(self.steps, each[WORST])

    def _symbols(self, ids: IdArray) -> Hashes:
        if not self._ends and len(ids):
            return self._templates.hashes[ids]
        symbols = np.empty(len(ids) + 1, np.uint64)
        symbols[:-1] = self._templates.hashes[ids]
        symbols[-1] = END
        return symbols

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit's symbols after their contexts."""
        symbols = self._symbols(unit.ids)
        t = self.table
        for first in range(0, len(symbols), CHUNK_SYMBOLS):
            last = min(first + CHUNK_SYMBOLS, len(symbols))
            t.reserve(2 * ORDERS * (last - first))
            t.took(int(learn_order(t.keys, t.counts, t.links, symbols, first, last, weight)))
        self.units += weight
        if self.units >= UNITS_REMEMBERED_MAX:
            t.fade()
            self.units >>= 1
            self.halved += 1

    def reserve(self, capacity: int) -> None:
        """Nothing to do: contexts are kept by hash."""

    def forget(self, templates: list[int]) -> None:
        """Nothing to do: contexts of evicted templates fade with the table."""

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "units": self.units,
            "gains": pack_array(self.gains),
            "steps": pack_array(self.steps),
            "table": self.table.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units, self.gains = state["units"], unpack_array(state["gains"])
        self.steps = unpack_array(state["steps"])
        self.table.load(state["table"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.table.nbytes + self.gains.nbytes + self.steps.nbytes
