"""The keys of many lines: where a pattern matches in a shape, it matches in all lines of that shape.

Owns: which patterns take one digit for another, where they match, and numbering keys in order of appearance.
Most lines of a log share their shape (`shapes`) with an earlier one, and running a regular expression over
each costs more than making it canonical. Must not know: how a pattern is run (`patterns`), what a key names.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from driftlock.signals import kernel
from driftlock.signals import shapes as shape_forms
from driftlock.signals.kernel import entry, inner, pointer, readonly, sources
from driftlock.signals.patterns import extracted
from driftlock.signals.shapes import Shapes, equal
from driftlock.signals.textlog import LineKeys, TextBatch, extract_keys

NONE, UNKNOWN = -1, -2
"""In the place of where a key begins: there is none, and it is not the same for all lines of the shape."""

_NOT_IN_RANGE = r"(?!-(?!\]))"
_ESCAPED = r"\\[dDwWsSnrt]|\\[^A-Za-z0-9\s]"
_IN_CLASS = rf"[A-Za-z]-[A-Za-z]|0-9|(?:[A-Za-z_ .,:;/=+*?@%()!\"'|$<>{{}}]|{_ESCAPED}){_NOT_IN_RANGE}"
_CLASS = rf"\[\^?-?(?:{_IN_CLASS})+-?\]"
_GROUP = r"\((?!\?)|\(\?:|\(\?P?<[A-Za-z_]+>|\(\?[ims]+\)|\)"
_TIMES = r"[*+?]\??|\{\d+(?:,\d*)?\}\??"
_SIGN = rf"[A-Za-z_ /:=,;@%&!<>\"'~-]|{_ESCAPED}|\\[bB]|[.^$|]"
_DIGITS_ALIKE = re.compile(rf"(?:{_SIGN}|{_CLASS}|{_GROUP}|{_TIMES})+")

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]


def takes_digits_alike(pattern: str) -> bool:
    """Whether a pattern is sure to match where it would with other digits; of some that would, False."""
    return _DIGITS_ALIKE.fullmatch(pattern) is not None


def keys_of(data: bytes, batch: TextBatch, pattern: str) -> LineKeys:
    """What `extract_keys` finds in the lines of a chunk, of which the batch was made."""
    shapes = batch.shapes
    if not shapes or not takes_digits_alike(pattern):
        return extract_keys(data, pattern)
    begins, sizes = _matches(shapes, pattern)
    shape = np.where(shapes.of_line >= 0, shapes.of_line, len(shapes))
    begin, size = np.append(begins, UNKNOWN)[shape], np.append(sizes, 0)[shape]
    starts = np.where(begin >= 0, batch.starts + begin, begin)
    buffer, ends, alone = np.frombuffer(data, np.uint8), starts + size, np.flatnonzero(begin == UNKNOWN)
    if len(alone):
        bounds = zip(batch.starts[alone].tolist(), batch.ends[alone].tolist(), strict=True)
        found = extract_keys(b"".join(data[low:high] + b"\n" for low, high in bounds), pattern)
        places = np.cumsum([len(data), *map(len, found.names)])
        buffer = np.concatenate([buffer, np.frombuffer(b"".join(found.names), np.uint8)])
        starts[alone] = np.where(found.codes >= 0, places[found.codes], NONE)
        ends[alone] = places[found.codes + 1]
    return _numbered(buffer, starts, ends)


def _matches(shapes: Shapes, pattern: str) -> tuple[Index, Index]:
    """Where in each shape what the pattern names begins, and its size."""
    begins, sizes = np.full(len(shapes), UNKNOWN, np.int64), np.zeros(len(shapes), np.int64)
    texts = [
        shapes.buffer[low:high].tobytes()
        for low, high in zip(shapes.starts.tolist(), shapes.ends.tolist(), strict=True)
    ]
    rows = [row for row, text in enumerate(texts) if text.isascii()]
    lines = pl.Series([texts[row].decode() for row in rows], dtype=pl.String)
    keys = extracted(lines, pattern).to_list()
    wholes = extracted(lines, pattern, group=0).to_list() if "(" in pattern else keys
    for row, place, whole, key in zip(rows, lines.str.find(pattern).to_list(), wholes, keys, strict=True):
        if key is None:
            begins[row] = NONE
        elif whole.find(key, whole.find(key) + 1) < 0:  # else which of them is it?
            begins[row], sizes[row] = place + whole.find(key), len(key)
    return begins, sizes


def _numbered(buffer: Bytes, starts: Index, ends: Index) -> LineKeys:
    """Keys `buffer[starts[i]:ends[i]]` numbered in order of appearance; none where the start is negative."""
    codes = np.full(len(starts), -1, np.int64)
    first = np.zeros(len(starts), np.int64)
    slots = np.full(1 << (2 * len(starts)).bit_length(), -1, np.int32)
    rows = first[: _number(readonly(buffer), starts, ends, slots, first, codes)]
    bounds = zip(starts[rows].tolist(), ends[rows].tolist(), strict=True)
    return LineKeys([buffer[low:high].tobytes() for low, high in bounds], codes)


def _number_loop(made_of: int) -> Any:
    @entry
    def _number(buffer, starts, ends, slots, first, codes):  # type: ignore[no-untyped-def]
        assert made_of >= 0  # closed over, so that the cache knows which sources made the kernel
        b = pointer(buffer)
        mask = np.uint64(len(slots) - 1)
        count = 0
        for i in range(len(starts)):
            if starts[i] < 0:
                continue
            size = ends[i] - starts[i]
            at = _hash(b, starts[i], ends[i]) & mask
            while slots[at] >= 0:
                row = first[slots[at]]
                if ends[row] - starts[row] == size and equal(b, starts[row], starts[i], size):
                    break
                at = (at + np.uint64(1)) & mask
            if slots[at] < 0:
                slots[at], first[count] = count, i
                count += 1
            codes[i] = slots[at]
        return count

    return _number


@inner
def _hash(b, k, e):  # type: ignore[no-untyped-def]
    """FNV-1a with a finish of MurmurHash3."""
    h = np.uint64(0xCBF29CE484222325)
    for p in range(k, e):
        h = (h ^ np.uint64(b[p])) * np.uint64(0x100000001B3)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return h ^ (h >> np.uint64(32))


_number = _number_loop(sources(kernel, shape_forms))
