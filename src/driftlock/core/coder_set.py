"""The set coder: how usual a unit's set of templates is as a whole.

−log2 of the share of units whose set is at most as frequent as this one, the unit itself counted in: a full
conformal p-value of the set's frequency. So a new set says much where sets repeat, and nothing where each is
new, as in blocks of an un-keyed log. It sees combinations that no single template betrays.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, on_grid
from driftlock.core.counters import CounterTable, Ints, Uints, add_item, item_key, mixed, slot_of
from driftlock.core.logarithm import log2
from driftlock.core.templates import IdArray, TemplateTable

SLOTS_MAX = 1_024


@numba.njit(cache=True)
def _key(hashes: npt.NDArray[np.uint64], distinct: IdArray) -> np.uint32:
    total = np.uint64(len(distinct))
    for item in distinct:
        total += mixed(np.uint64(0x534554), hashes[item])
    return item_key(mixed(np.uint64(1), total), True)


@numba.njit(cache=True)
def set_bits(
    keys: Uints, counts: Ints, hashes: npt.NDArray[np.uint64], distinct: IdArray, units: int
) -> float:
    """The bits of a set of templates."""
    here = slot_of(keys, _key(hashes, distinct))
    frequency = counts[here] + 1
    commoner = 0  # and not rarer: what the table forgot was rare, and lives on in `units` alone
    for at in range(len(counts)):
        if at != here and counts[at] > frequency:
            commoner += counts[at]
    return on_grid(log2((units + 1.0) / max(units + 1 - commoner, frequency)))


@numba.njit(cache=True)
def learn_set(
    keys: Uints, counts: Ints, links: Uints, hashes: npt.NDArray[np.uint64], distinct: IdArray, weight: int
) -> int:
    """Adds `weight` to a set; returns the slots taken."""
    return add_item(keys, counts, links, _key(hashes, distinct), np.uint32(0), weight)


class SetCoder:
    """Counts of template sets. Templates enter by hash, so ids may change hands."""

    name: ClassVar[str] = "set"
    version: ClassVar[int] = 1

    def __init__(self, templates: TemplateTable) -> None:
        self._templates = templates
        self.table = CounterTable(SLOTS_MAX)
        self.units = self.halved = 0

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the unit's set; no single template causes it."""
        t = self.table
        return Part(set_bits(t.keys, t.counts, self._templates.hashes, unit.distinct, self.units), -1)

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit's set."""
        t = self.table
        t.reserve(1)
        t.took(int(learn_set(t.keys, t.counts, t.links, self._templates.hashes, unit.distinct, weight)))
        self.units += weight
        if self.units >= UNITS_REMEMBERED_MAX:
            t.fade()
            self.units >>= 1
            self.halved += 1

    def reserve(self, capacity: int) -> None:
        """Nothing to do: sets are kept by hash."""

    def forget(self, templates: list[int]) -> None:
        """Nothing to do: sets of evicted templates fade with the table."""

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
