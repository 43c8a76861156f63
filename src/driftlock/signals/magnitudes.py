"""The magnitude of each number that the canonical form masks, kept beside the line.

Owns: the buckets, and how a line's are packed. A number becomes `<num>` whatever its size, for most numbers
in text are sizes, ports and ids, whose magnitudes in the line would split one event into many templates; so
what its size says goes to a coder of its own. A line's magnitudes are 32 bits: four for each of its first
eight numbers, the first one lowest, 0 where there is none.

| bucket | size of the number, its sign left out |
| --- | --- |
| 1 | zero |
| 2 to 5 | below .001, .01, .1, 1 |
| 6 to 14 | below 10, 100, … 10⁹ |
| 15 | more |
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.chars import CLASS, DIGIT
from driftlock.signals.kernel import inner
from driftlock.signals.marks import M_NUM, put

NUMBERS_MAX = 8
BUCKET_BITS = 4
ZERO_BUCKET, LEAST_BUCKET, BELOW_ONE_BUCKET, MOST_BUCKET = 1, 2, 5, 15
EXPONENT_MAX = 400

Magnitudes = npt.NDArray[np.uint32]

_PACKED, _SHIFT = 0, 1  # of `sizes`: what a line's numbers are so far, and where the next one goes


@inner
def begin(sizes):  # type: ignore[no-untyped-def]
    """Begins a line: it has no numbers yet."""
    sizes[_PACKED] = sizes[_SHIFT] = 0


@inner
def packed(sizes):  # type: ignore[no-untyped-def]
    """The magnitudes of the line's numbers."""
    return np.uint32(sizes[_PACKED])


@inner
def put_number(b, p, e, out, o, sizes):  # type: ignore[no-untyped-def]
    """Writes `<num>` for the number b[p:e], which begins with a digit, and keeps its magnitude."""
    shift = sizes[_SHIFT]
    if shift < NUMBERS_MAX * BUCKET_BITS:
        sizes[_PACKED] |= bucket(b, p, e) << shift
        sizes[_SHIFT] = shift + BUCKET_BITS
    return put(out, o, M_NUM)


@inner
def bucket(b, p, e):  # type: ignore[no-untyped-def]
    """The bucket of the number b[p:e]: digits, perhaps decimals, perhaps an exponent."""
    while p < e and b[p] == 48:
        p += 1
    first = p
    while p < e and CLASS[b[p]] & DIGIT:
        p += 1
    whole = np.int64(p - first)  # the place of the first digit that counts: 1 for 1 to 9, 0 for .1 to .9
    found = whole > 0
    if p < e and b[p] == 46:
        p += 1
        while not found and p < e and b[p] == 48:
            whole -= 1
            p += 1
        found = found or (p < e and CLASS[b[p]] & DIGIT != 0)
        while p < e and b[p] | 32 != 101:
            p += 1
    if not found:
        return np.int64(ZERO_BUCKET)
    if p < e and b[p] | 32 == 101:
        whole += _exponent(b, p + 1, e)
    return min(max(np.int64(BELOW_ONE_BUCKET + whole), np.int64(LEAST_BUCKET)), np.int64(MOST_BUCKET))


@inner
def _exponent(b, p, e):  # type: ignore[no-untyped-def]
    negative = p < e and b[p] == 45
    value = np.int64(0)
    while p < e:
        if CLASS[b[p]] & DIGIT and value < EXPONENT_MAX:
            value = 10 * value + np.int64(b[p]) - 48
        p += 1
    return -value if negative else value
