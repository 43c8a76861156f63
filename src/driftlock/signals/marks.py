"""The placeholders of the canonical form, and writing them.

Owns: their spelling. Must not know: what they stand for.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals.kernel import inner

MARKS = (
    "<ts>",
    "<url>",
    "<jwt>",
    "<b64>",
    "<host>",
    "<ip>",
    "<uuid>",
    "<mac>",
    "<email>",
    "<num>",
    "<hex>",
    "<id>",
    "<path>",
    "?<query>",
    "<secret>",
    "<cut>",
    "⏎",
)
(
    M_TS,
    M_URL,
    M_JWT,
    M_B64,
    M_HOST,
    M_IP,
    M_UUID,
    M_MAC,
    M_EMAIL,
    M_NUM,
    M_HEX,
    M_ID,
    M_PATH,
    M_QUERY,
    M_SECRET,
    M_CUT,
    M_BREAK,
) = (np.int64(number) for number in range(len(MARKS)))
_MARK_SIZES = np.array([len(mark.encode()) for mark in MARKS])
_MARK_WORDS = np.array([int.from_bytes(mark.encode().ljust(8, b"\0"), "little") for mark in MARKS], np.uint64)


@inner
def put(out, o, mark):  # type: ignore[no-untyped-def]
    # Eight bytes at once: what is written beyond the mark is overwritten by what follows.
    word = _MARK_WORDS[mark]
    for p in range(8):
        out[o + p] = np.uint8(word >> np.uint64(8 * p))
    return o + _MARK_SIZES[mark]


@inner
def copy(b, k, e, out, o):  # type: ignore[no-untyped-def]
    for p in range(k, e):
        out[o] = b[p]
        o += 1
    return o
