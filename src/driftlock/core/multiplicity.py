"""Many tests at once: rules that bound the false discovery rate, for batches and for streams of tests.

Owns the rules and q-values; knows nothing of what was tested. The false discovery rate is the mean share of
true nulls among what is rejected.

| rule | takes | bounds the rate under | source |
| --- | --- | --- | --- |
| Benjamini–Hochberg | all p-values | independence, positive regression dependence | 1995 |
| Benjamini–Yekutieli | all p-values | any dependence | 2001 |
| e-BH | all e-values | any dependence | Wang and Ramdas 2022 |
| e-LOND | e-values one by one | any dependence, each valid given the past | Xu and Ramdas 2024 |

What conformal p-values can do with them is bounded: p is never under 1/(n + 1), so among N tests a single
discovery needs N ≤ level · (n + 1). See `docs/explanation/significance.md`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.core.logarithm import exp2, log2

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CALIBRATOR_EXPONENT = 0.5


def q_values(p_values: Floats, *, any_dependence: bool = False) -> Floats:
    """For each p-value the least level at which Benjamini–Hochberg (or Benjamini–Yekutieli) rejects it.

    >>> q_values(np.array([0.01, 0.9, 0.02])).tolist()
    [0.03, 0.9, 0.03]
    """
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    ranks = np.arange(1, n + 1)
    factor = float(np.sum(1.0 / ranks)) if any_dependence else 1.0
    stepped = np.minimum.accumulate((p_values[order] * (n * factor) / ranks)[::-1])[::-1]
    found = np.empty(n)
    found[order] = np.minimum(stepped, 1.0)
    return found


def benjamini_hochberg(p_values: Floats, level: float) -> Bools:
    """Which of the nulls are rejected; independence or positive dependence."""
    return q_values(p_values) <= level


def benjamini_yekutieli(p_values: Floats, level: float) -> Bools:
    """Which of the nulls are rejected; any dependence."""
    return q_values(p_values, any_dependence=True) <= level


def e_benjamini_hochberg(e_values: Floats, level: float) -> Bools:
    """e-BH: which of the nulls are rejected; any dependence."""
    with np.errstate(divide="ignore"):
        return q_values(np.where(e_values > 0.0, 1.0 / e_values, np.inf)) <= level


def e_value(p_value: float, *, exponent: float = CALIBRATOR_EXPONENT) -> float:
    """A p-value as an e-value: κ p^(κ − 1), whose mean under a uniform p is 1 (Vovk and Wang 2021)."""
    return exponent * exp2((exponent - 1.0) * log2(p_value))


class ELond:
    """e-LOND: test t is rejected if e_t ≥ 1/(level γ_t (R + 1)), R being the rejections before it, and
    γ_t = 1/(t (t + 1)), which sums to 1."""

    def __init__(self, level: float) -> None:
        self._level = level
        self.tests = 0
        self.rejected = 0

    def test(self, e_value: float) -> bool:
        """Takes the next e-value; returns whether its null is rejected."""
        self.tests += 1
        share = 1.0 / (self.tests * (self.tests + 1.0))
        found = e_value * self._level * share * (self.rejected + 1) >= 1.0
        self.rejected += found
        return found


class Tally:
    """How many p-values of each size came, on a grid of half octaves: q-values without keeping the p-values.

    A p-value is taken for the upper end of its cell, so a q-value is at most √2 times too large and never
    too small for what was counted.
    """

    CELLS = 64  # down to p = 2^−32

    def __init__(self, counts: list[int] | None = None) -> None:
        self.counts = counts or [0] * self.CELLS

    def add(self, p_value: float) -> None:
        """Counts a p-value."""
        self.counts[_cell(p_value)] += 1

    def merge(self, other: Tally) -> None:
        """Counts all that another tally holds."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]

    def q_value(self, p_value: float) -> float:
        """The Benjamini–Hochberg q-value of a p-value beside those counted: of all at most as large, the
        share that would be expected if every null were true; at most 1."""
        own = _cell(p_value)
        tests, below, found = sum(self.counts) + 1, 1, 1.0
        below += sum(self.counts[own + 1 :])
        for cell in range(own, -1, -1):
            below += self.counts[cell]
            found = min(found, tests * exp2(-0.5 * cell) / below)
        return found


def _cell(p_value: float) -> int:
    return min(max(int(-2.0 * log2(p_value)), 0), Tally.CELLS - 1)
