"""The presence coder: which templates a unit holds, and which usual ones it lacks.

A template costs −log2 of the smoothed share of learned units that held it, when present, or that did not,
when absent: (share · n + ½)/(n + 1), with n the units learned, at most `SAMPLE`. A template never seen
costs as much as after `SAMPLE` units at any age of the stream: by n alone, each new one would be the
costliest ever, and a stream of ever new templates a chain of records. The unit's code length is the largest
of these, for an anomaly in one line must not drown in fifty ordinary ones; so it has one cause, too.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numba
import numpy as np

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, enlarged, on_grid
from driftlock.core.logarithm import log2
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import CAPACITY_START, IdArray

SAMPLE = 1_000
"""Rarer than one in so many units costs no more: the calibration's resolution is of that order."""
# plain Python: a kernel called here would be loaded by every import, `driftlock --help` included
NEW_BITS = on_grid.py_func(log2.py_func(2.0 * (SAMPLE + 1.0)))


@numba.njit(cache=True)
def _bits(held: int, units: int) -> float:
    sample = min(units, SAMPLE)
    return on_grid(log2((sample + 1.0) / (held * sample / units + 0.5)))


@numba.njit(cache=True)
def presence_bits(distinct: IdArray, df: IdArray, marks: IdArray, units: int) -> tuple[float, int]:
    """The bits of the most surprising presence or absence, and its template (-1: none); `marks` are zeros."""
    rarest = distinct[0] if len(distinct) else -1
    for item in distinct:
        marks[item] = 1
        if df[item] < df[rarest]:
            rarest = item
    missing = -1
    for item in range(len(df)):
        if marks[item] == 0 and df[item] > 0 and (missing < 0 or df[item] > df[missing]):
            missing = item
    for item in distinct:
        marks[item] = 0
    present_bits = 0.0
    if rarest >= 0:
        present_bits = _bits(df[rarest], units) if df[rarest] > 0 else NEW_BITS
    if missing < 0:
        return present_bits, rarest
    absent_bits = _bits(units - df[missing], units)
    if absent_bits > present_bits:
        return absent_bits, missing
    return present_bits, rarest


@numba.njit(cache=True)
def learn_presence(distinct: IdArray, df: IdArray, weight: int) -> None:
    """Adds `weight` to what the templates of a unit count, which never falls below 0."""
    for item in distinct:
        df[item] = max(df[item] + weight, 0)


class PresenceCoder:
    """Document frequencies of templates. `bits` of a unit come from one template, present or missing."""

    name: ClassVar[str] = "presence"
    version: ClassVar[int] = 1

    def __init__(self) -> None:
        self.units = self.halved = 0
        self.df = np.zeros(CAPACITY_START, np.int32)
        self.marks = np.zeros(CAPACITY_START, np.int32)

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the most surprising presence or absence, and its template."""
        bits, template = presence_bits(unit.distinct, self.df, self.marks, self.units)
        return Part(bits, int(template))

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit."""
        learn_presence(unit.distinct, self.df, weight)
        self.units += weight
        if self.units >= UNITS_REMEMBERED_MAX:
            self.df >>= 1
            self.units >>= 1
            self.halved += 1

    def reserve(self, capacity: int) -> None:
        """Makes room for template ids below `capacity`."""
        self.df = enlarged(self.df, capacity)
        self.marks = enlarged(self.marks, capacity)

    def forget(self, templates: list[int]) -> None:
        """Zeroes the counters of evicted templates."""
        self.df[templates] = 0

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {"units": self.units, "df": pack_array(self.df)}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units, self.df = state["units"], unpack_array(state["df"])
        self.marks = np.zeros(len(self.df), np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.df.nbytes + self.marks.nbytes
