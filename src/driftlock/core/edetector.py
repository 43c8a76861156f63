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

_SCATTER = BLOCK_UPDATES * UNUSUAL_P * (1.0 - UNUSUAL_P)
_BLOCK_MASK = (1 << BLOCK_UPDATES) - 1

Evidence = npt.NDArray[np.float64]


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


class DriftDetector:
    """One stream's e-detector. Each update is a unit whose p-value shares no events with the one before."""

    def __init__(self, *, alert_budget: float) -> None:
        self._budget = alert_budget
        self._evidence = np.zeros(len(UNUSUAL_SHARES) * len(EXPONENTS))
        self._mean = 0.0
        self._run = 0.0  # the bets multiplied since they last came to 1 or less: dates the change
        self._first = self._first_time_ns = self._since = self._unusual = 0
        self._recent = self._seen = 0
        self._blocks = self._sum = self._squares = 0.0
        self._pending = -1
        self._silent = 0
        self._updates = self._started_ns = self._now_ns = 0

    def update(self, p_value: float, *, first: int, first_time_ns: int, now_ns: int) -> None:
        """Takes the next unit: its p-value, the position and time of its first event, the stream's clock."""
        self._recent = (self._recent << 1 | (p_value <= UNUSUAL_P)) & _BLOCK_MASK
        self._seen = min(self._seen + 1, BLOCK_UPDATES)
        self._clock(now_ns)
        if self._updates % BLOCK_UPDATES == 0:
            self._count_block()
        if self._silent:
            self._silent -= 1
            return
        cap = CAP_THRESHOLDS * self.threshold
        bet, self._mean = _update(self._evidence, p_value, self.memory, cap)
        if self._run <= 1.0:
            self._run, self._since, self._unusual = 1.0, 0, 0
            self._first, self._first_time_ns = first, first_time_ns
        self._run = min(self._run * bet, cap)
        self._since += 1
        self._unusual += p_value <= UNUSUAL_P

    @property
    def memory(self) -> float:
        """Units that one unusual unit is worth, at least 1: how far the counts of unusual units in blocks of
        64 scatter beyond those of independent units, τ = variance / (64 · .05 · .95)."""
        scatter = self._squares - self._sum * self._sum / max(self._blocks, 1.0)
        prior = MEMORY_PRIOR * MEMORY_PRIOR_BLOCKS
        told = (scatter / _SCATTER + prior) / (self._blocks + MEMORY_PRIOR_BLOCKS)
        return min(max(told, 1.0), MEMORY_MAX)

    def _count_block(self) -> None:
        """Counts the block before the last one: a change is not to pass for the stream's own memory."""
        if self._pending >= 0:
            self._blocks += 1.0
            self._sum += self._pending
            self._squares += self._pending * self._pending
        self._pending = self._recent.bit_count()
        if self._blocks >= BLOCKS_MAX:
            self._blocks, self._sum, self._squares = self._blocks / 2, self._sum / 2, self._squares / 2

    @property
    def evidence(self) -> float:
        """The e-detector's value: the mean of its sums."""
        return self._mean

    @property
    def due(self) -> bool:
        """Whether a lasting change is to be told: the evidence crossed, and not by a burst."""
        lasting = self._unusual >= LASTING_UNITS and self._recent.bit_count() >= RECENT_UNUSUAL
        return lasting and self._mean >= self.threshold

    @property
    def threshold(self) -> float:
        """The evidence that crosses: the updates that a week has, by the clock so far, for each false
        crossing that the budget leaves to it; at least `RUN_LENGTH_MIN`."""
        elapsed = self._now_ns - self._started_ns
        if not self._budget:
            return math.inf
        if elapsed < RATE_CLOCK_NS:
            return RUN_LENGTH_MIN
        weekly = self._updates * (WEEK_NS / elapsed)
        return max(RUN_LENGTH_MIN, weekly / (BUDGET_SHARE * self._budget))

    def tell(self, *, silent: int) -> Drift:
        """The change that is due. Starts again after so many updates more: until then the same change would
        be found again, for the calibration set still remembers what was before."""
        told = Drift(
            self._first,
            self._first_time_ns,
            self._since,
            self._recent.bit_count(),
            self._seen,
            self._mean,
            self.threshold,
            self.memory,
        )
        self._restart()
        self._silent = silent
        return told

    def _restart(self) -> None:
        self._evidence[:] = 0.0
        self._mean = self._run = 0.0
        self._unusual = 0

    def _clock(self, now_ns: int) -> None:
        self._started_ns = self._started_ns or now_ns
        self._now_ns = max(self._now_ns, now_ns)
        self._updates += 1

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        plain = [self._mean, self._run, self._first, self._first_time_ns, self._recent, self._seen]
        more = [self._since, self._unusual, self._silent]
        clock = [self._updates, self._started_ns, self._now_ns]
        memory = [self._blocks, self._sum, self._squares, self._pending]
        return [pack_array(self._evidence), plain, more, clock, memory]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        evidence, plain, more, clock, memory = state
        self._evidence = unpack_array(evidence)
        self._mean, self._run, self._first, self._first_time_ns, self._recent, self._seen = plain
        self._since, self._unusual, self._silent = more
        self._updates, self._started_ns, self._now_ns = clock
        self._blocks, self._sum, self._squares, self._pending = memory

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._evidence.nbytes + 200


def _kernel(sources: int) -> Any:
    @numba.njit(cache=True, error_model="numpy")
    def update(evidence: Evidence, p_value: float, memory: float, cap: float) -> tuple[float, float]:
        """Bets on a p-value; returns the mean of the bets and the mean evidence."""
        assert sources >= 0  # closed over, so that the cache knows which sources made the kernel
        tempered = memory > 1.0
        bits = log2(p_value)
        bets, total, place = 0.0, 0.0, 0
        for kappa in EXPONENTS:
            value = kappa * exp2((kappa - 1.0) * bits)
            for share in UNUSUAL_SHARES:
                bet = 1.0 - share + share * value
                if tempered:
                    bet = exp2(log2(bet) / memory)
                evidence[place] = min((evidence[place] + 1.0) * bet, cap)
                bets += bet
                total += evidence[place]
                place += 1
        return bets / place, total / place

    return update


_update = _kernel(fingerprint(logarithm))
