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
from driftlock.signals.kernel import entry, inner, pointer, readonly
from driftlock.signals.marks import M_NUM, put

NUMBERS_MAX = 8
BUCKET_BITS = 4
ZERO_BUCKET, LEAST_BUCKET, BELOW_ONE_BUCKET, MOST_BUCKET = 1, 2, 5, 15
EXPONENT_MAX = 400

Magnitudes = npt.NDArray[np.uint32]

Places = npt.NDArray[np.int16]

# of `sizes`: what a line's numbers are so far, where the next one goes, and where each begins and ends
_PACKED, _SHIFT, _PLACES = 0, 1, 2
SIZES = _PLACES + 2 * NUMBERS_MAX
NO_PLACE = np.int16(-1)


def sizes_at(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    places: Places,
    which: npt.NDArray[np.int64],
) -> Magnitudes:
    """The magnitudes of the numbers of each line that begins at `buffer[starts[i]]`.

    They lie at `places[which[i]]`, begin and end in turn from the line's first byte, `NO_PLACE` behind the
    last. A line for which `which[i]` is negative has none.
    """
    out = np.zeros(len(starts), np.uint32)
    _sizes_at(readonly(buffer), readonly(starts), readonly(places), readonly(which), out)
    return out


@entry
def _sizes_at(buffer, starts, places, which, out):  # type: ignore[no-untyped-def]
    b = pointer(buffer)
    for i in range(len(starts)):
        if which[i] < 0:
            continue
        packed_sizes = np.int64(0)
        for number in range(NUMBERS_MAX):
            begins = np.int64(places[which[i], 2 * number])
            if begins < 0:
                break
            ends = np.int64(places[which[i], 2 * number + 1])
            packed_sizes |= bucket(b, starts[i] + begins, starts[i] + ends) << (number * BUCKET_BITS)
        out[i] = np.uint32(packed_sizes)


@inner
def begin(sizes):  # type: ignore[no-untyped-def]
    """Begins a line: it has no numbers yet."""
    sizes[_PACKED] = sizes[_SHIFT] = 0


@inner
def packed(sizes):  # type: ignore[no-untyped-def]
    """The magnitudes of the line's numbers."""
    return np.uint32(sizes[_PACKED])


@inner
def keep_places(sizes, start, out):  # type: ignore[no-untyped-def]
    """Writes where the numbers of the line that began at `start` begin and end."""
    for at in range(2 * NUMBERS_MAX):
        known = at < 2 * (sizes[_SHIFT] // BUCKET_BITS)
        out[at] = sizes[_PLACES + at] - start if known else NO_PLACE


@inner
def put_number(b, p, e, out, o, sizes):  # type: ignore[no-untyped-def]
    """Writes `<num>` for the number b[p:e], which begins with a digit, and keeps its magnitude."""
    shift = sizes[_SHIFT]
    if shift < NUMBERS_MAX * BUCKET_BITS:
        sizes[_PACKED] |= bucket(b, p, e) << shift
        at = _PLACES + 2 * (shift // BUCKET_BITS)
        sizes[at], sizes[at + 1] = p, e
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
