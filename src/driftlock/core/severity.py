"""Severity: how far beyond the usual a score lies, in units of the stream's own spread.

excess = (score − median) / (99th percentile − median) of the calibration set, the spread at least 1 bit.

| excess | severity |
| --- | --- |
| 4 and more | critical |
| 2 | high |
| 1 | medium |
| less | low |
"""

from __future__ import annotations

_TABLE = ((4.0, "critical"), (2.0, "high"), (1.0, "medium"))


def severity_of(score: float, *, usual: float, high: float) -> str:
    """The severity of a score, given the calibration set's median and 99th percentile (all in bits)."""
    excess = (score - usual) / max(high - usual, 1.0)
    return next((name for least, name in _TABLE if excess >= least), "low")
