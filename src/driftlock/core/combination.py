"""One p-value from several of the same hypothesis, valid however they depend on each other.

Owns the merging functions; knows nothing of what the p-values tested. A function F merges if P(F ≤ α) ≤ α for
every α whenever each argument is a p-value under the null, whatever their joint distribution (Vovk and Wang
2020, "Combining p-values via averaging").

A verdict's two p-values, conformal and permutation, are merged by `weighted_bonferroni`. For two p-values the
plain one is the best of the family, since 2 min(p, q) ≤ 4pq/(p + q) ≤ p + q: Bonferroni is at most the
harmonic mean with its factor 2, which is at most twice the mean. The weights are fixed beforehand: the
permutation test has little power and a floor of .01, so the conformal p-value pays only a tenth for it.
Independence is nowhere assumed; Fisher's method, which assumes it, realised .006 to .026 at .01.
"""

from __future__ import annotations

from collections.abc import Sequence

CONFORMAL_WEIGHT = 0.9
PERMUTATION_WEIGHT = 0.1


def weighted_bonferroni(p_values: Sequence[float], weights: Sequence[float]) -> float:
    """min p_k / w_k, at most 1; the weights are positive, sum to at most 1, and are chosen without looking.

    >>> weighted_bonferroni([0.01, 0.5], [0.5, 0.5])
    0.02
    """
    assert min(weights) > 0.0
    assert sum(weights) <= 1.0 + 1e-12
    return min(1.0, *(p / w for p, w in zip(p_values, weights, strict=True)))


def twice_the_mean(p_values: Sequence[float]) -> float:
    """2 (p_1 + … + p_K)/K, at most 1 (Rüschendorf 1982): for p-values that are all moderately small.

    >>> twice_the_mean([0.01, 0.03])
    0.04
    """
    return min(1.0, 2.0 * sum(p_values) / len(p_values))


def of_verdict(conformal: float, permutation: float) -> float:
    """The merged p-value of a verdict."""
    return weighted_bonferroni([conformal, permutation], [CONFORMAL_WEIGHT, PERMUTATION_WEIGHT])
