"""The context coder: how predictable the order of a unit's templates is.

An interpolated model of order 3 with absolute discounting of ½ (Kneser and Ney 1995, without their
lower-order counts): P_k(s) = (max(c − ½, 0) + ½ T P_{k−1}(s)) / C, down to a uniform law over as many symbols
as a stream may know (over those it knows now, the new would cost more with every symbol learned). A unit
starts in an empty context and, where units are whole sessions, ends with a symbol of its own, so that a
session cut short is a surprise. A unit's code length is its mean bits a symbol.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
from driftlock.core.logarithm import log2
from driftlock.core.templates import TEMPLATES_MAX, IdArray, TemplateTable

ORDER = 3
SLOTS_MAX = 4_096
CHUNK_SYMBOLS = 128
"""Symbols learned between two looks at the table's room; each takes at most 2 (order + 1) slots."""

_DISCOUNT = 0.5
_START = np.uint64(0x5354415254)
END = np.uint64(0x454E44)

Hashes = npt.NDArray[np.uint64]


@numba.njit(cache=True)
def _context(symbols: Hashes, at: int, order: int) -> np.uint64:
    h = np.uint64(order)
    for back in range(1, order + 1):
        h = mixed(h, symbols[at - back] if at >= back else _START)
    return h


@numba.njit(cache=True)
def _symbol_bits(keys: Uints, counts: Ints, links: Uints, symbols: Hashes, at: int) -> float:
    p = 1.0 / TEMPLATES_MAX
    for order in range(ORDER + 1):
        context = _context(symbols, at, order)
        group = slot_of(keys, group_key(context))
        total = counts[group]
        if total <= 0:
            break
        seen = counts[slot_of(keys, item_key(mixed(context, symbols[at])))]
        p = (max(seen - _DISCOUNT, 0.0) + _DISCOUNT * links[group] * p) / total
    return -log2(p)


@numba.njit(cache=True)
def order_bits(
    keys: Uints, counts: Ints, links: Uints, symbols: Hashes, out: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Mean and total bits of a unit's symbols; `out` takes their shares of the mean."""
    mean, total = 0.0, 0.0
    for at in range(len(symbols)):
        bits = _symbol_bits(keys, counts, links, symbols, at)
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
        for order in range(ORDER + 1):
            context = _context(symbols, at, order)
            item = item_key(mixed(context, symbols[at]))
            taken += add_item(keys, counts, links, item, group_key(context), weight)
    return taken


class ContextCoder:
    """Counts of symbols after contexts of up to three. Templates enter by hash, so ids may change hands."""

    name: ClassVar[str] = "order"
    version: ClassVar[int] = 1

    def __init__(self, templates: TemplateTable, *, ends: bool) -> None:
        self._templates = templates
        self._ends = ends
        self.table = CounterTable(SLOTS_MAX)
        self.units = self.halved = 0

    def code(self, unit: CodedUnit) -> Part:
        """The mean bits a symbol; no single template causes it."""
        return Part(self.code_symbols(unit)[0], -1)

    def code_symbols(self, unit: CodedUnit) -> tuple[float, float, npt.NDArray[np.float64]]:
        """Mean bits a symbol, total bits, and each symbol's share of the mean (the end's last, if any)."""
        symbols = self._symbols(unit.ids)
        out = np.empty(len(symbols))
        t = self.table
        mean, total = order_bits(t.keys, t.counts, t.links, symbols, out)
        return mean, total, out

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
            t.reserve(2 * (ORDER + 1) * (last - first))
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
        return {"units": self.units, "table": self.table.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units = state["units"]
        self.table.load(state["table"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.table.nbytes
