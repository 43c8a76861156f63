"""One line of valid UTF-8 out of any bytes.

Owns: step 2 of the grammar in `canonical.py`. Must not know: masking.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals.chars import CLASS, DELIMITER
from driftlock.signals.kernel import inner, once
from driftlock.signals.scanner import ZERO

_ENDS_CHUNK = (CLASS & DELIMITER) != 0
_ENDS_CHUNK[:33] = _ENDS_CHUNK[127] = True  # they become spaces


@once
def is_clean(b, k, e):  # type: ignore[no-untyped-def]
    if k == e:
        return True
    odd = np.uint8((b[k] == 32) | (b[e - 1] == 32) | (np.uint8(b[e - 1] - 32) >= 95))
    for p in range(k, e - 1):
        # Without branches, so that it becomes vector code. All but 32 to 126 wrap to 95 and more.
        odd |= np.uint8((np.uint8(b[p] - 32) >= 95) | ((b[p] | b[p + 1]) == 32))
    return odd == 0


@inner
def cut_end(b, k, e):  # type: ignore[no-untyped-def]
    """Where b[k:e] ends when the line goes on at e: before the chunk that would be cut in two."""
    while e > k and not (_ENDS_CHUNK[b[e]] or _ENDS_CHUNK[b[e - 1]]):
        e -= 1
    return e


@inner
def clean(b, k, e, out):  # type: ignore[no-untyped-def]
    """Write the clean form of b[k:e] to out, with `\\n` for a line break; its size."""
    o = ZERO
    p = k
    while p < e:
        c = b[p]
        if c <= 32 or c == 127:
            breaks = False
            while p < e and (b[p] <= 32 or b[p] == 127):
                breaks |= b[p] == 10 or b[p] == 13
                p += 1
            if o > 0 and p < e:
                out[o] = 10 if breaks else 32
                o += 1
            continue
        size = utf8_size(b, p, e)
        if size == 0:
            out[o] = 63
            o += 1
            p += 1
            continue
        for _ in range(size):
            out[o] = b[p]
            o += 1
            p += 1
    return o


@inner
def utf8_size(b, k, e):  # type: ignore[no-untyped-def]
    """Bytes of the valid UTF-8 character at k (RFC 3629, table 3-7 of Unicode), 0 when it is not valid."""
    c = b[k]
    if c < 0x80:
        return 1
    if 0xC2 <= c <= 0xDF:
        size, low, high = 2, 0x80, 0xBF
    elif 0xE0 <= c <= 0xEF:
        size = 3
        low = 0xA0 if c == 0xE0 else 0x80
        high = 0x9F if c == 0xED else 0xBF
    elif 0xF0 <= c <= 0xF4:
        size = 4
        low = 0x90 if c == 0xF0 else 0x80
        high = 0x8F if c == 0xF4 else 0xBF
    else:
        return 0
    if k + size > e or b[k + 1] < low or b[k + 1] > high:
        return 0
    for p in range(k + 2, k + size):
        if b[p] & 0xC0 != 0x80:
            return 0
    return size
