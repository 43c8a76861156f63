"""The e-detector: evidence, gathered over units, that a stream no longer is what it was calibrated on.

Owns the evidence, when it crosses its threshold, and when a lasting change is told. Knows no scores, only
p-values. Each p-value is turned into bets, e = 1 − w + w κ p^(κ − 1), one for each w (the share of unusual
units bet on) and κ (how unusual). E[e] ≤ 1 under the null, so the Shiryaev–Roberts sums R ← (R + 1) e,
averaged over the bets, are an e-detector: if each p-value is valid given the past, the mean number of updates
before the average first reaches c is at least c (Shin, Ramdas and Rinaldo 2023, "E-detectors").

"Given the past" is more than conformal p-values promise: unusual units of a log with memory come in clusters.
So bets are tempered to e^(1/τ), τ the units that a cluster is worth: if units further apart than τ were
independent, the tempered bets would still multiply to at most 1 on average (Hölder's inequality). τ is
estimated, so this is a correction and no theorem: see `docs/explanation/significance.md` for simulations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core import logarithm
from driftlock.core.fingerprint import fingerprint
from driftlock.core.logarithm import exp2, log2
from driftlock.core.packing import pack_array, unpack_array

UNUSUAL_SHARES = (0.02, 0.05, 0.1, 0.3)
EXPONENTS = (0.1, 0.3)
CAP_THRESHOLDS = 3.0
"""No sum counts more than so many thresholds: a burst is soon forgotten, and of the eight bets at least three
must agree for their mean to cross. A cap makes crossings rarer, never more frequent."""

RUN_LENGTH_MIN = 10_000.0
"""The least threshold, and the one where no clock tells how many updates a week has."""
BUDGET_SHARE = 0.05
"""Of the alert budget, what false crossings may take: with 20 alarms a week, one a week."""
RATE_CLOCK_NS = 60_000_000_000
"""Clock time before which a rate means nothing."""
WEEK_NS = 7 * 86_400 * 1_000_000_000

LASTING_UNITS = 20
"""Unusual units since a change began that make it a lasting one: a shorter burst is an incident. More may not
be asked for, as models and calibration follow a change of everything within about thirty units."""

RECENT_UNUSUAL = 8
"""Of the last 64, so many must be unusual, which at rest has probability .02: it stays so."""

BLOCK_UPDATES = 64
UNUSUAL_P = 0.05
BLOCKS_MAX = 128.0
MEMORY_PRIOR, MEMORY_PRIOR_BLOCKS = 6.0, 4.0
"""Before a stream's memory is known it is taken for 6 units, with the weight of 4 blocks."""
MEMORY_MAX = 64.0

_BETS = len(UNUSUAL_SHARES) * len(EXPONENTS)
# what the kernel holds: after the bets' sums in `floats`, and in `ints`
_MEAN, _RUN, _BLOCKS, _SUM, _SQUARES = range(_BETS, _BETS + 5)
_FIRST, _FIRST_TIME, _SINCE, _UNUSUAL, _SEEN, _PENDING, _SILENT, _UPDATES, _STARTED, _NOW = range(10)

_SCATTER = BLOCK_UPDATES * UNUSUAL_P * (1.0 - UNUSUAL_P)

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Drift:
    """A lasting change. It began about `updates` ago, with the unit that starts at position `first`;
    `unusual` of the last `recent` units had p ≤ `UNUSUAL_P`. The evidence reached `threshold`, the least mean
    number of updates between false crossings, with bets tempered by `memory`."""

    first: int
    first_time_ns: int
    updates: int
    unusual: int
    recent: int
    evidence: float
    threshold: float
    memory: float


@numba.njit(cache=True)
def _memory(floats: Floats) -> float:
    scatter = floats[_SQUARES] - floats[_SUM] * floats[_SUM] / max(floats[_BLOCKS], 1.0)
    prior = MEMORY_PRIOR * MEMORY_PRIOR_BLOCKS
    told = (scatter / _SCATTER + prior) / (floats[_BLOCKS] + MEMORY_PRIOR_BLOCKS)
    return float(min(max(told, 1.0), MEMORY_MAX))


@numba.njit(cache=True)
def _threshold(ints: Int64s, budget: float) -> float:
    elapsed = ints[_NOW] - ints[_STARTED]
    if budget == 0.0:
        return math.inf
    if elapsed < RATE_CLOCK_NS:
        return RUN_LENGTH_MIN
    return float(max(RUN_LENGTH_MIN, ints[_UPDATES] * (WEEK_NS / elapsed) / (BUDGET_SHARE * budget)))


@numba.njit(cache=True)
def _unusual_recently(recent: Bits) -> int:
    found, left = 0, recent[0]
    while left:
        found += 1
        left &= left - np.uint64(1)
    return found


@numba.njit(cache=True)
def _count_block(floats: Floats, ints: Int64s, recent: Bits) -> None:
    """Counts the block before the last one: a change is not to pass for the stream's own memory."""
    if ints[_PENDING] >= 0:
        floats[_BLOCKS] += 1.0
        floats[_SUM] += ints[_PENDING]
        floats[_SQUARES] += ints[_PENDING] * ints[_PENDING]
    ints[_PENDING] = _unusual_recently(recent)
    if floats[_BLOCKS] >= BLOCKS_MAX:
        floats[_BLOCKS] /= 2.0
        floats[_SUM] /= 2.0
        floats[_SQUARES] /= 2.0


@numba.njit(cache=True, error_model="numpy")
def _bet(floats: Floats, p_value: float, memory: float, cap: float) -> float:
    """Bets on a p-value; returns the mean of the bets, and leaves the mean evidence in `floats`."""
    tempered = memory > 1.0
    bits = log2(p_value)
    bets, total, place = 0.0, 0.0, 0
    for kappa in EXPONENTS:
        value = kappa * exp2((kappa - 1.0) * bits)
        for share in UNUSUAL_SHARES:
            stake = 1.0 - share + share * value
            if tempered:
                stake = exp2(log2(stake) / memory)
            floats[place] = min((floats[place] + 1.0) * stake, cap)
            bets += stake
            total += floats[place]
            place += 1
    floats[_MEAN] = total / place
    return bets / place


def _kernel(sources: int) -> Any:
    @numba.njit(cache=True, error_model="numpy")
    def update(
        floats: Floats,
        ints: Int64s,
        recent: Bits,
        budget: float,
        p_values: Floats,
        first: Int64s,
        first_time_ns: Int64s,
        now_ns: Int64s,
    ) -> None:
        assert sources >= 0  # closed over, so that the cache knows which sources made the kernel
        for i in range(len(p_values)):
            unusual = p_values[i] <= UNUSUAL_P
            recent[0] = recent[0] << np.uint64(1) | np.uint64(unusual)
            ints[_SEEN] = min(ints[_SEEN] + 1, BLOCK_UPDATES)
            if ints[_STARTED] == 0:
                ints[_STARTED] = now_ns[i]
            ints[_NOW] = max(ints[_NOW], now_ns[i])
            ints[_UPDATES] += 1
            if ints[_UPDATES] % BLOCK_UPDATES == 0:
                _count_block(floats, ints, recent)
            if ints[_SILENT]:
                ints[_SILENT] -= 1
                continue
            cap = CAP_THRESHOLDS * _threshold(ints, budget)
            made = _bet(floats, p_values[i], _memory(floats), cap)
            if floats[_RUN] <= 1.0:
                floats[_RUN] = 1.0
                ints[_SINCE] = ints[_UNUSUAL] = 0
                ints[_FIRST], ints[_FIRST_TIME] = first[i], first_time_ns[i]
            floats[_RUN] = min(floats[_RUN] * made, cap)
            ints[_SINCE] += 1
            ints[_UNUSUAL] += unusual

    return update


# a kernel that closed over another one instead of calling it by its global name would never be cached
_update = _kernel(fingerprint(logarithm))


class DriftDetector:
    """One stream's e-detector. Each update is a unit whose p-value shares no events with the one before."""

    def __init__(self, *, alert_budget: float) -> None:
        self._budget = alert_budget
        self._floats = np.zeros(_BETS + 5)
        self._ints = np.zeros(10, np.int64)
        self._ints[_PENDING] = -1
        self._recent = np.zeros(1, np.uint64)  # the last 64 updates, one bit each

    def update(self, p_value: float, *, first: int, first_time_ns: int, now_ns: int) -> None:
        """Takes the next unit: its p-value, the position and time of its first event, the stream's clock."""
        one = (np.array([value], np.int64) for value in (first, first_time_ns, now_ns))
        self.update_many(np.array([p_value]), *one)

    def update_many(self, p_values: Floats, first: Int64s, first_time_ns: Int64s, now_ns: Int64s) -> None:
        """`update` for one unit after the other."""
        _update(self._floats, self._ints, self._recent, self._budget, p_values, first, first_time_ns, now_ns)

    @property
    def memory(self) -> float:
        """Units that one unusual unit is worth, at least 1: how far the counts of unusual units in blocks of
        64 scatter beyond those of independent units, τ = variance / (64 · .05 · .95)."""
        return float(_memory(self._floats))

    @property
    def evidence(self) -> float:
        """The e-detector's value: the mean of its sums."""
        return float(self._floats[_MEAN])

    @property
    def due(self) -> bool:
        """Whether a lasting change is to be told: the evidence crossed, and not by a burst."""
        lasting = self._ints[_UNUSUAL] >= LASTING_UNITS and _unusual_recently(self._recent) >= RECENT_UNUSUAL
        return bool(lasting and self.evidence >= self.threshold)

    @property
    def threshold(self) -> float:
        """The evidence that crosses: the updates that a week has, by the clock so far, for each false
        crossing that the budget leaves to it; at least `RUN_LENGTH_MIN`."""
        return float(_threshold(self._ints, self._budget))

    def tell(self, *, silent: int) -> Drift:
        """The change that is due. Starts again after so many updates more: until then the same change would
        be found again, for the calibration set still remembers what was before."""
        held = self._ints.tolist()
        told = Drift(
            held[_FIRST],
            held[_FIRST_TIME],
            held[_SINCE],
            int(_unusual_recently(self._recent)),
            held[_SEEN],
            self.evidence,
            self.threshold,
            self.memory,
        )
        self._floats[: _RUN + 1] = 0.0
        self._ints[_UNUSUAL] = 0
        self._ints[_SILENT] = silent
        return told

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        return [pack_array(array) for array in (self._floats, self._ints, self._recent)]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._floats, self._ints, self._recent = (unpack_array(packed) for packed in state)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._floats.nbytes + self._ints.nbytes + self._recent.nbytes
