"""The protobuf wire format for compiled walkers: varints, fields to skip, valid UTF-8.

Owns: reading without ever passing the end given. Must not know: messages. After
https://protobuf.dev/programming-guides/encoding. Positions are int64; a next position of -1 says that the
bytes are not plainly valid, and the caller leaves the verdict to the protobuf library.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals.clean import utf8_size
from driftlock.signals.kernel import inner

VARINT, FIXED64, LENGTH, FIXED32 = np.int64(0), np.int64(1), np.int64(2), np.int64(5)
FIELD_MAX = (1 << 29) - 1
BAD = np.int64(-1)
NIL = np.int64(0)


@inner
def varint(b, k, e):  # type: ignore[no-untyped-def]
    """The value (as int64, wrapped) and the position after it."""
    if k < e and b[k] < 0x80:
        return np.int64(b[k]), k + 1
    value = NIL
    for i in range(10):
        if k + i >= e:
            return NIL, BAD
        c = np.int64(b[k + i])
        value |= (c & 0x7F) << (7 * i)
        if c < 0x80:
            return (NIL, BAD) if i == 9 and c > 1 else (value, k + i + 1)
    return NIL, BAD


@inner
def tag(b, k, e):  # type: ignore[no-untyped-def]
    """Field number, wire type, and the position after the tag."""
    value, p = varint(b, k, e)
    field = value >> 3
    if p < 0 or p - k > 5 or field < 1 or field > FIELD_MAX:
        return NIL, NIL, BAD
    return field, value & 7, p


@inner
def span(b, k, e):  # type: ignore[no-untyped-def]
    """Start and end of a length-delimited value; an end of -1 when it does not fit."""
    size, p = varint(b, k, e)
    if p < 0 or size < 0 or size > e - p:
        return NIL, BAD
    return p, p + size


@inner
def skip(b, k, e, wire):  # type: ignore[no-untyped-def]
    """Past a value of an unknown field. Groups are left to the protobuf library."""
    if wire == VARINT:
        _, p = varint(b, k, e)
        return p
    if wire == FIXED64:
        return k + 8 if e - k >= 8 else BAD
    if wire == FIXED32:
        return k + 4 if e - k >= 4 else BAD
    if wire == LENGTH:
        _, p = span(b, k, e)
        return p
    return BAD


@inner
def fixed64(b, k):  # type: ignore[no-untyped-def]
    """Eight bytes, little endian, as int64 (wrapped)."""
    value = NIL
    for i in range(8):
        value |= np.int64(b[k + i]) << (8 * i)
    return value


@inner
def is_utf8(b, k, e):  # type: ignore[no-untyped-def]
    """Whether b[k:e] is valid UTF-8."""
    high = np.uint8(0)
    for p in range(k, e):
        high |= b[p]
    if high < 0x80:
        return True
    p = k
    while p < e:
        size = utf8_size(b, p, e)
        if size == 0:
            return False
        p += size
    return True
