"""Shapes: lines that are equal but for the digits in them, so that what holds for one holds for all.

Owns: finding the shapes of a chunk of lines, and which of them stand for their lines. A log repeats its lines
with other times and numbers, and the canonical form reads how many digits there are, hardly ever which: most
lines share a shape with an earlier one and have its canonical line. The sizes of numbers are each line's own.
Must not know: the canonical form itself.

A shape is a line with a `1` for each digit. It stands for its lines if the canonical form reads none of its
digits. It does in these places, each of which `_stands` looks for; whoever adds one adds it there:
the year behind the time of `Dec 04 04:47:44 2005`, which is told from a number by its century; `0x`; numbers
that name a result, which stay (a `1` is then left in the shape's canonical line, and a digit that decides
whether one stays is between 1 and 5); keys of known services that begin with a digit in their name; `%40`
and `&#64;`, an `@` in less common dress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.signals import announced, chars, kernel, mask_times, redaction
from driftlock.signals import clean as cleaning
from driftlock.signals.announced import BEGINNINGS
from driftlock.signals.batch import Lines
from driftlock.signals.chars import CLASS, DIGIT, LETTER, eight, ends_word, names
from driftlock.signals.clean import clean, is_clean
from driftlock.signals.kernel import entry, inner, pointer, readonly, sources
from driftlock.signals.mask_times import MONTHS
from driftlock.signals.redaction import KEY_PREFIXES
from driftlock.signals.scanner import ZERO

SHAPES_MAX = 4_096
SHAPE_BYTES_MAX = 1_024
"""Longer lines have no shape."""
HELD_BYTES_MAX = 2 * 1024 * 1024
PROBED_LINES = 1_024
"""If of so many lines fewer than half share the shape of an earlier one, no further ones are looked at."""
_STEP = 16
"""Shapes are held in whole steps, filled with zeros, and hashed and compared by them."""

Index = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_FILL = str.maketrans("0123456789", "1" * 10)
_NUMBERED = names(
    " ".join(
        word.translate(_FILL)
        for word in (*KEY_PREFIXES, *BEGINNINGS.split(), "ya29.")
        if any(map(str.isdigit, word))
    )
    + " %11 &#1"
)


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of a chunk of lines: shape i is `buffer[starts[i]:ends[i]]`, line j has shape `of_line[j]`.

    A line without one has -1.
    """

    buffer: Bytes
    starts: Index
    ends: Index
    of_line: Index

    def __len__(self) -> int:
        return len(self.starts)

    def standing(self, canonical: Lines) -> npt.NDArray[np.bool_]:
        """Of each shape, by its canonical line, whether that is the canonical line of all its lines."""
        stands = np.zeros(len(self), np.bool_)
        _standing(
            readonly(self.buffer),
            readonly(self.starts),
            readonly(self.ends),
            readonly(canonical.buffer),
            readonly(canonical.offsets),
            stands,
        )
        return stands


def shapes_of(buffer: Bytes, starts: Index, ends: Index) -> Shapes:
    """The shapes of the lines `buffer[starts[i]:ends[i]]`, in order of appearance.

    There are at most `SHAPES_MAX`, and none at all where most lines would have one of their own.
    """
    held = min(HELD_BYTES_MAX, len(buffer) + _STEP * len(starts)) + SHAPE_BYTES_MAX + _STEP
    arena = np.empty(held, np.uint8)
    found_starts, found_ends = np.zeros(SHAPES_MAX, np.int64), np.zeros(SHAPES_MAX, np.int64)
    of_line = np.full(len(starts), -1, np.int64)
    count = _group(
        readonly(buffer), readonly(starts), readonly(ends), arena, found_starts, found_ends, of_line
    )
    if 2 * (np.count_nonzero(of_line >= 0) - count) < len(starts):
        count, of_line = 0, np.full(len(starts), -1, np.int64)
    return Shapes(arena, found_starts[:count], found_ends[:count], of_line)


def joined(first: Lines, second: Lines) -> Lines:
    """The lines of both."""
    buffer = np.concatenate([first.buffer, second.buffer])
    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return Lines(buffer, offsets, np.concatenate([first.numbers, second.numbers]))


def gathered(lines: Lines, which: Index, numbers: npt.NDArray[np.uint32]) -> Lines:
    """Line `which[i]` of `lines` for each i, with these numbers."""
    offsets = np.zeros(len(which) + 1, np.int64)
    np.cumsum(np.diff(lines.offsets)[which], out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _gather(readonly(lines.buffer), readonly(lines.offsets), readonly(which), out, offsets)
    return Lines(out, offsets, numbers)


@entry
def _gather(buffer, bounds, which, out_array, offsets):  # type: ignore[no-untyped-def]
    b, out = pointer(buffer), pointer(out_array)
    for i in range(len(which)):
        start = bounds[which[i]]
        for p in range(offsets[i + 1] - offsets[i]):
            out[offsets[i] + p] = b[start + p]


@entry
def _group(buffer, starts, ends, arena, found_starts, found_ends, of_line):  # type: ignore[no-untyped-def]
    b, shapes = pointer(buffer), pointer(arena)
    slots = np.full(2 * SHAPES_MAX, -1, np.int64)
    hashes = np.empty(SHAPES_MAX, np.uint64)
    mask = len(slots) - 1
    count = shared = ZERO
    top = ZERO
    for i in range(len(starts)):
        if i % PROBED_LINES == 0:
            if i > 0 and 2 * shared < PROBED_LINES:
                break
            shared = ZERO
        size = ends[i] - starts[i]
        if size > SHAPE_BYTES_MAX:
            continue
        end = _put_shape(b, starts[i], size, shapes, top)
        own = _hash(shapes, top, end, size)
        at = np.int64(own & np.uint64(mask))
        while slots[at] >= 0:
            other = slots[at]
            if (
                hashes[other] == own
                and found_ends[other] - found_starts[other] == size
                and equal(shapes, found_starts[other], top, end - top)
            ):
                break
            at = (at + 1) & mask
        if slots[at] >= 0:
            shared += 1
            of_line[i] = slots[at]
        elif count < SHAPES_MAX and end + SHAPE_BYTES_MAX + _STEP <= len(arena):
            slots[at], hashes[count] = count, own
            found_starts[count], found_ends[count] = top, top + size
            of_line[i] = count
            count += 1
            top = end
    return count


@inner
def _put_shape(b, k, size, out, o):  # type: ignore[no-untyped-def]
    """Writes the shape of b[k:k + size] to out[o:], filled with zeros to a whole step; where that ends."""
    for p in range(size):
        c = b[k + p]
        out[o + p] = np.uint8(49) if np.uint8(c - 48) < 10 else c
    end = o + (size + _STEP - 1) // _STEP * _STEP
    for p in range(o + size, end):
        out[p] = 0
    return end


@inner
def equal(b, k, other, size):  # type: ignore[no-untyped-def]
    """Whether b[k:k + size] is b[other:other + size]."""
    differs = np.uint8(0)
    for p in range(size):  # without branches, so that it becomes vector code
        differs |= b[k + p] ^ b[other + p]
    return differs == 0


@inner
def _hash(b, k, e, size):  # type: ignore[no-untyped-def]
    """Two hashes in FNV-1a's shape, each over every other eight bytes, joined at the end."""
    low = np.uint64(0xCBF29CE484222325) ^ np.uint64(size)
    high = np.uint64(0x9E3779B97F4A7C15)
    for p in range(k, e, 16):
        low = (low ^ eight(b, p)) * np.uint64(0xFF51AFD7ED558CCD)
        low ^= low >> np.uint64(32)
        high = (high ^ eight(b, p + 8)) * np.uint64(0xC4CEB9FE1A85EC53)
        high ^= high >> np.uint64(32)
    low = (low ^ (high << np.uint64(1))) * np.uint64(0xFF51AFD7ED558CCD)
    return low ^ (low >> np.uint64(32))


def _standing_loop(made_of: int) -> Any:
    @entry
    def _standing(buffer, starts, ends, canonical, bounds, stands):  # type: ignore[no-untyped-def]
        assert made_of >= 0  # closed over, so that the cache knows which sources made the kernel
        line_array = np.empty(SHAPE_BYTES_MAX + 8, np.uint8)
        b, line, made = pointer(buffer), pointer(line_array), pointer(canonical)
        for i in range(len(starts)):
            kept = False
            for p in range(bounds[i], bounds[i + 1]):
                kept |= made[p] == 49
            if kept:
                continue
            if is_clean(b, starts[i], ends[i]):
                stands[i] = _stands(b, starts[i], ends[i])
            else:
                stands[i] = _stands(line, ZERO, clean(b, starts[i], ends[i], line))

    return _standing


@inner
def _stands(b, k, n):  # type: ignore[no-untyped-def]
    """Whether no digit of the clean shape b[k:n] can be read, but for numbers that name a result."""
    month = False
    for p in range(k, n):
        month |= _month_at(b, p, n)
        if not CLASS[b[p]] & DIGIT:
            if (b[p] == 37 or b[p] == 38 or CLASS[b[p]] & LETTER) and _numbered(b, p, n):
                return False
        elif p == k or not CLASS[b[p - 1]] & DIGIT:
            if p + 1 < n and b[p + 1] | 32 == 120:  # 0x
                return False
            if month and _may_be_year(b, k, p, n):
                return False
    return True


@inner
def _month_at(b, p, n):  # type: ignore[no-untyped-def]
    if p + 4 > n or b[p + 3] != 32:
        return False
    code = (np.int64(b[p]) << 16) | (np.int64(b[p + 1]) << 8) | np.int64(b[p + 2])
    found = False
    for one in MONTHS:
        found |= one == code
    return found


@inner
def _may_be_year(b, k, p, n):  # type: ignore[no-untyped-def]
    """Whether four digits stand at p, a word of their own behind a space and the end of a time."""
    if p < k + 2 or p + 4 > n or b[p - 1] != 32 or not ends_word(b, p + 4, n):
        return False
    for q in range(p, p + 4):
        if not CLASS[b[q]] & DIGIT:
            return False
    c = b[p - 2]
    return CLASS[c] & DIGIT != 0 or c == 90 or c == 67 or c == 84  # 46, Z, UTC, GMT


@inner
def _numbered(b, p, n):  # type: ignore[no-untyped-def]
    """Whether what is looked for by its own digits may begin at p."""
    for row in range(len(_NUMBERED)):
        i = 0
        while _NUMBERED[row, i] and p + i < n and b[p + i] == _NUMBERED[row, i]:
            i += 1
        if _NUMBERED[row, i] == 0:
            return True
    return False


_standing = _standing_loop(sources(announced, chars, cleaning, kernel, mask_times, redaction))
