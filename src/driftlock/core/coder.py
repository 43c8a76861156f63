"""What every coder over templates is: a code length in bits for a unit, given what was learned before.

Owns the coded unit, the interface, and the grid of bits. Every code length is a multiple of 2⁻²⁰ bit, so that
sums of them are exact in any order and on any CPU, and the parts of an explanation add up to the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.templates import IdArray

BIT_GRID = 1048576.0  # 2 ** 20 steps a bit
UNITS_REMEMBERED_MAX = 16_384
"""Units after which a coder halves its counters: what is older than that fades, and counters stay small."""


@numba.njit(cache=True)
def on_grid(bits: float) -> float:
    """`bits` rounded to the grid of 2⁻²⁰."""
    return math.floor(bits * BIT_GRID + 0.5) / BIT_GRID


@numba.njit(cache=True)
def tally(ids: IdArray, marks: IdArray, distinct: IdArray, counts: IdArray) -> int:
    """Fills `distinct` and `counts`, returns how many; `marks` are zeros before and after."""
    size = 0
    for item in ids:
        place = marks[item]
        if place == 0:
            distinct[size] = item
            counts[size] = 0
            size += 1
            marks[item] = place = size
        counts[place - 1] += 1
    for i in range(size):
        marks[distinct[i]] = 0
    return size


@dataclass(frozen=True, slots=True)
class CodedUnit:
    """A unit as coders read it: template ids in order, the distinct ones as they appear, their counts, for
    units whose events tell it, who called each (see `coder_calls`), the bits of the unit's strangest number
    with its cause (see `coder_numbers`), and how many events it has: of a block of time, not all may be among
    `ids`."""

    ids: IdArray
    distinct: IdArray
    counts: IdArray
    callers: npt.NDArray[np.uint32]
    number_bits: float
    number_cause: int
    volume: int

    def __len__(self) -> int:
        return len(self.ids)


_NO_CALLERS = np.zeros(0, np.uint32)


def coded_unit(
    ids: IdArray,
    marks: IdArray,
    callers: npt.NDArray[np.uint32] = _NO_CALLERS,
    *,
    number_bits: float = 0.0,
    number_cause: int = -1,
    volume: int | None = None,
) -> CodedUnit:
    """Tallies a sequence of ids. `marks` is scratch: zeros, longer than the highest id, zeros again after.
    Without `volume` they are all of the unit's events."""
    distinct, counts = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
    size = tally(ids, marks, distinct, counts)
    told = (number_bits, number_cause, len(ids) if volume is None else volume)
    return CodedUnit(ids, distinct[:size], counts[:size], callers, *told)


class Part(NamedTuple):
    """One coder's share of a unit's score: `bits`, and the template that caused it (-1: the whole unit)."""

    bits: float
    template: int


class Coder(Protocol):
    """Learns units and says how many bits another one costs. Deterministic; inputs are never written to."""

    name: ClassVar[str]
    version: ClassVar[int]
    halved: int
    """How often counters were halved since this object was made."""

    def code(self, unit: CodedUnit) -> Part:
        """The code length of a unit given what was learned, in bits on the grid."""

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Learns a unit; weight -1 takes back exactly what a former `learn` of the same unit did."""

    def reserve(self, capacity: int) -> None:
        """Makes room for template ids below `capacity`."""

    def forget(self, templates: list[int]) -> None:
        """Drops what was learned of templates whose ids are given to others."""

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


def enlarged(array: npt.NDArray[Any], capacity: int) -> npt.NDArray[Any]:
    """`array` with zeros appended up to `capacity` rows."""
    if len(array) >= capacity:
        return array
    grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
