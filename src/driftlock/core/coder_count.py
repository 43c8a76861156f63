"""The count coder: how often each template occurs in a unit, against how often it usually does.

For a template that occurs v times, −log2 of the smoothed share of units (that held it) whose count is as far
from the usual one or farther on the same side, 0 at the usual count itself. The smoothing halves with
every octave of distance, (share · n + ½ · 2^−(d/2)) / (n + ½), so that of two counts never seen the farther
costs more, and n is at most `SAMPLE`. The unit's code length is the largest over its k templates less
log2(k), for the most unusual of many is always somewhat unusual (Bonferroni), and at least 0. Counts of 12
and more share half-octave buckets, so that a burst is as far away on any scale.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, enlarged, on_grid
from driftlock.core.logarithm import log2
from driftlock.core.packing import pack_array, unpack_array
from driftlock.core.templates import CAPACITY_START, IdArray

BUCKETS = 24
SAMPLE = 128
"""Units that a histogram stands for at most: a count never seen then costs the same at any age."""
_EXACT = 12

_HALF_OCTAVES = np.array([2.0 ** -(d // 2) * (1.0, 0.7071067811865476)[d % 2] for d in range(BUCKETS)])

Histogram = npt.NDArray[np.uint16]


@numba.njit(cache=True)
def bucket_of(count: int) -> int:
    """The histogram bucket of a count ≥ 1: exact below 12, then two an octave, the last one open."""
    if count < _EXACT:
        return count
    bucket, low = _EXACT, _EXACT
    while bucket < BUCKETS - 1:
        half = low + low // 3 if bucket % 2 == 0 else low + low // 2  # 12, 16, 24, 32, 48, …
        if count < half:
            return bucket
        bucket, low = bucket + 1, half
    return bucket


def counts_of(bucket: int) -> tuple[int, int | None]:
    """The least and the most of a bucket's counts; no most where it is open."""
    least = bucket
    while bucket_of(least) < bucket:
        least += 1
    if bucket == BUCKETS - 1:
        return least, None
    most = least
    while bucket_of(most + 1) == bucket:
        most += 1
    return least, most


@numba.njit(cache=True)
def count_bits(distinct: IdArray, counts: IdArray, histogram: Histogram) -> tuple[float, int]:
    """The bits of the most surprising count, and its template (-1: none)."""
    tried = on_grid(log2(float(max(len(distinct), 1))))
    best, cause = tried, -1
    for i in range(len(distinct)):
        row = histogram[distinct[i]]
        total, mode = 0, 1
        for b in range(BUCKETS):
            total += row[b]
            if row[b] > row[mode]:
                mode = b
        b = bucket_of(counts[i])
        if total == 0 or b == mode:
            continue
        beyond = 0
        for other in range(b if b > mode else 1, BUCKETS if b > mode else b + 1):
            beyond += row[other]
        prior = 0.5 * _HALF_OCTAVES[abs(b - mode)]
        sample = min(total, SAMPLE)
        bits = on_grid(log2((sample + 0.5) / (beyond * sample / total + prior)))
        if bits > best:
            best, cause = bits, distinct[i]
    return best - tried, cause


@numba.njit(cache=True)
def learn_counts(distinct: IdArray, counts: IdArray, histogram: Histogram, weight: int) -> None:
    """Adds `weight` where a unit's counts fall, which never falls below 0."""
    for i in range(len(distinct)):
        b = bucket_of(counts[i])
        histogram[distinct[i], b] = np.uint16(max(int(histogram[distinct[i], b]) + weight, 0))


class CountCoder:
    """A histogram of counts for each template; the bits of a unit come from one template."""

    name: ClassVar[str] = "count"
    version: ClassVar[int] = 1

    def __init__(self) -> None:
        self.units = self.halved = 0
        self.histogram: Histogram = np.zeros((CAPACITY_START, BUCKETS), np.uint16)

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the most surprising count, and its template."""
        bits, template = count_bits(unit.distinct, unit.counts, self.histogram)
        return Part(bits, int(template))

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit."""
        learn_counts(unit.distinct, unit.counts, self.histogram, weight)
        self.units += weight
        if self.units >= UNITS_REMEMBERED_MAX:
            self.histogram >>= 1
            self.units >>= 1
            self.halved += 1

    def usual(self, template: int) -> tuple[int, int | None] | None:
        """The counts of a template's most frequent bucket, the least and the most of them; no most where the
        bucket is open, and None when the template was never learned."""
        row = self.histogram[template]
        return counts_of(int(np.argmax(row))) if row.any() else None

    def reserve(self, capacity: int) -> None:
        """Makes room for template ids below `capacity`."""
        self.histogram = enlarged(self.histogram, capacity)

    def forget(self, templates: list[int]) -> None:
        """Zeroes the histograms of evicted templates."""
        self.histogram[templates] = 0

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {"units": self.units, "histogram": pack_array(self.histogram)}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.units, self.histogram = state["units"], unpack_array(state["histogram"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.histogram.nbytes
