"""Conformal p-values from a rolling calibration set, and how they are bounded.

Owns the scores that a new one is ranked against. p = (1 + #{calibration ≥ s}) / (1 + n), never 0. Under the
null that a unit is exchangeable with the calibration units, P(p ≤ α) ≤ α for every α (Vovk, Gammerman and
Shafer 2005); when the set holds anomalies, p is too large, never too small. Rolling, since real logs drift.

A model that goes on learning grows surer of what is usual, so the same rare event costs a little more each
time it comes: ranked exactly, it would outrank all its like. So scores that are lower by at most a slack
count as reached, which can only enlarge p. How much surer depends on how much was learned since the set's
oldest score: a quarter bit for each doubling, within bounds (`slack_of`). Scores are kept in single
precision, and what is ranked among them is rounded alike: a monotone map, which can only add ties.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import on_grid
from driftlock.core.logarithm import log2
from driftlock.core.packing import pack_array, unpack_array

SLACK_MAX = 0.75
"""Bits. Without it, logs of one cycle and of many rare templates realised up to eight times the p-values they
were told while they were young."""
_SLACK_MIN = 0.1  # counters are halved, so that a stream never ends to learn
_SLACK_PER_DOUBLING = 0.25
_START = 128

Scores = npt.NDArray[np.float32]


@numba.njit(cache=True)
def count_at_least(scores: Scores, size: int, score: float) -> int:
    """How many of the first `size` scores reach `score`, rounded as they are."""
    least = np.float32(score)
    count = 0
    for i in range(size):
        count += scores[i] >= least
    return count


@numba.njit(cache=True)
def slack_of(added: int, held: int) -> float:
    """The slack in bits of a set that holds the last `held` of `added` scores."""
    if added <= held:
        return SLACK_MAX
    slack = on_grid(_SLACK_PER_DOUBLING * log2(added / (added - held)))
    return min(max(slack, _SLACK_MIN), SLACK_MAX)


class Calibration:
    """The last `size_max` scores of units that were scored before they were learned; `exact` has no slack."""

    def __init__(self, size_max: int, *, exact: bool = False) -> None:
        self.size_max = size_max
        self.exact = exact
        self.scores: Scores = np.zeros(min(_START, size_max), np.float32)
        self.next = 0
        self.size = 0
        self.added = 0

    def at_least(self, score: float) -> int:
        """How many calibration scores reach `score`, or nearly."""
        slack = 0.0 if self.exact else slack_of(self.added, self.size)
        return int(count_at_least(self.scores, self.size, score - slack))

    def p_value(self, score: float) -> float:
        """The conformal p-value of `score`; 1 while there is nothing to compare with."""
        return (1 + self.at_least(score)) / (1 + self.size)

    @property
    def earliest_p(self) -> float:
        """The smallest p-value that the set allows now."""
        return 1.0 / (1 + self.size)

    def quantile(self, share: float) -> float:
        """The score that a `share` of the set does not exceed; 0 for an empty set."""
        if not self.size:
            return 0.0
        return float(np.sort(self.scores[: self.size])[min(int(share * self.size), self.size - 1)])

    def add(self, score: float) -> None:
        """Adds a score; at `size_max` the oldest gives way."""
        if self.size == len(self.scores) < self.size_max:
            grown = np.zeros(min(2 * self.size, self.size_max), np.float32)
            grown[: self.size] = self.scores
            self.scores, self.next = grown, self.size
        self.scores[self.next] = score
        self.next = (self.next + 1) % len(self.scores)
        self.size = min(self.size + 1, len(self.scores))
        self.added += 1

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "scores": pack_array(self.scores),
            "next": self.next,
            "size": self.size,
            "added": self.added,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.scores, self.added = unpack_array(state["scores"]), state["added"]
        self.next, self.size = state["next"], state["size"]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.scores.nbytes
