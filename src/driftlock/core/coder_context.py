"""The context coder: how predictable the order of a unit's templates is.

Interpolated models of orders 0 to 3 with absolute discounting of ½ (Kneser and Ney 1995, without their
lower-order counts): P_k(s) = (max(c − ½, 0) + ½ T P_{k−1}(s)) / C, down to a uniform law over as many symbols
as a stream may know (over those it knows now, the new would cost more with every symbol learned). A symbol's
probability is their mixture, each order weighted by 2 to minus its code length of the units before, which
fades (Herbster and Warmuth 1998): where events do not depend on the ones before, what long contexts learned
is chance, and order 3 alone cost ever more the longer such a stream was learned.

A unit starts in an empty context and, where units are whole sessions, ends with a symbol of its own, so that
a session cut short is a surprise. A unit's code length is its mean bits a symbol.
"""

from __future__ import annotations

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
SLOTS_MAX = 4_096
CHUNK_SYMBOLS = 128
"""Symbols learned between two looks at the table's room; each takes at most 2 (order + 1) slots."""

_DISCOUNT = 0.5
_FADING = 0.99  # of what orders cost, a unit: a stream may become more or less orderly
_SHARE_MIN = 0.005
"""Weight every order keeps, as the numeric coder's predictors do."""
_PRODUCT_MIN = 1e-200
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
def _symbol_chances(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, at: int, chances: Floats
) -> None:
    """Writes a symbol's probability by each order; orders whose context is new predict as the one below."""
    p = 1.0 / TEMPLATES_MAX
    known = True
    for order in range(ORDERS):
        if known:
            context = _context(symbols, at, order)
            group = slot_of(keys, group_key(context))
            total = counts[group]
            known = total > 0
            if known:
                seen = counts[slot_of(keys, item_key(mixed(context, symbols[at])))]
                p = (max(seen - _DISCOUNT, 0.0) + _DISCOUNT * links[group] * p) / total
        chances[order] = p


@numba.njit(cache=True)
def _weights(lengths: Floats, weights: Floats) -> None:
    """Writes the weight of each order, from its recent code length in bits."""
    least = lengths.min()
    total = 0.0
    for order in range(ORDERS):
        weights[order] = exp2(least - lengths[order])
        total += weights[order]
    for order in range(ORDERS):
        weights[order] = (1.0 - ORDERS * _SHARE_MIN) * weights[order] / total + _SHARE_MIN


@numba.njit(cache=True)
def follow_orders(lengths: Floats, unit: Floats) -> None:
    """Adds a unit's code length by each order to the recent ones."""
    for order in range(ORDERS):
        lengths[order] = on_grid(_FADING * lengths[order]) + unit[order]


@numba.njit(cache=True)
def order_bits(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, lengths: Floats, out: Floats, unit: Floats
) -> tuple[float, float]:
    """Mean and total bits of a unit's symbols, by the orders' recent code `lengths`; `out` takes the symbols'
    shares of the mean, `unit` the unit's code length by each order alone."""
    chances, weights, products = np.empty(ORDERS), np.empty(ORDERS), np.ones(ORDERS)
    _weights(lengths, weights)
    unit[:] = 0.0
    mean, total = 0.0, 0.0
    for at in range(len(symbols)):
        _symbol_chances(keys, counts, links, symbols, at, chances)
        p = 0.0
        for order in range(ORDERS):
            p += weights[order] * chances[order]
            products[order] *= chances[order]
            if products[order] < _PRODUCT_MIN or at == len(symbols) - 1:  # one logarithm for many symbols
                unit[order] -= on_grid(log2(products[order]))
                products[order] = 1.0
        bits = -log2(p)
        out[at] = on_grid(bits / len(symbols))
        mean += out[at]
        total += on_grid(bits)
    return mean, total


@numba.njit(cache=True)
def learn_order(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, first: int, last: int, weight: int
) -> int:
    """Adds `weight` to the symbols from `first` to `last` after their contexts; returns the slots taken."""
    taken = 0
    for at in range(first, last):
        for order in range(ORDERS):
            context = _context(symbols, at, order)
            item = item_key(mixed(context, symbols[at]))
            taken += add_item(keys, counts, links, item, group_key(context), weight)
    return taken


class CodedOrder(NamedTuple):
    """Mean bits a symbol, total bits, each symbol's share of the mean (the end's last, if any), and the
    code length by each order alone."""

    mean_bits: float
    total_bits: float
    shares: Floats
    lengths: Floats


class ContextCoder:
    """Counts of symbols after contexts of up to three. Templates enter by hash, so ids may change hands."""

    name: ClassVar[str] = "order"
    version: ClassVar[int] = 2

    def __init__(self, templates: TemplateTable, *, ends: bool) -> None:
        self._templates = templates
        self._ends = ends
        self.table = CounterTable(SLOTS_MAX)
        self.lengths = np.zeros(ORDERS)  # recent code lengths by order, from units before they were learned
        self.units = self.halved = 0

    def code(self, unit: CodedUnit) -> Part:
        """The mean bits a symbol; no single template causes it."""
        return Part(self.code_symbols(unit).mean_bits, -1)

    def code_symbols(self, unit: CodedUnit) -> CodedOrder:
        """What the unit's symbols cost."""
        symbols = self._symbols(unit.ids)
        shares, lengths = np.empty(len(symbols)), np.empty(ORDERS)
        t = self.table
        mean, total = order_bits(t.keys, t.counts, t.links, symbols, self.lengths, shares, lengths)
        return CodedOrder(mean, total, shares, lengths)

    def follow(self, lengths: Floats) -> None:
        """Takes note of how long a unit's code was by each order, before the unit is learned."""
        follow_orders(self.lengths, lengths)

    def _symbols(self, ids: IdArray) -> Hashes:
        if not self._ends:
            return self._templates.hashes[ids]
        symbols = np.empty(len(ids) + 1, np.uint64)
        np.take(self._templates.hashes, ids, out=symbols[:-1])
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
            "lengths": pack_array(self.lengths),
            "table": self.table.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units, self.lengths = state["units"], unpack_array(state["lengths"])
        self.table.load(state["table"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.table.nbytes
