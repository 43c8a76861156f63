"""Byte classes of the canonical form, and the smallest questions about them.

Owns: which bytes are digits, letters, delimiters and so on. Must not know: what is made of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.kernel import inner

Bytes = npt.NDArray[np.uint8]

DIGIT, LETTER, UNDER, DELIMITER, HEX, PATH, COLON, AT, DOT, ACTIVE, NOT_DIGIT = (1 << n for n in range(11))
ALNUM = DIGIT | LETTER
WORD = DIGIT | LETTER | UNDER

DELIMITERS = b" \n\"'`()[]{}<>,;=|"
PATH_BYTES = b".-+%~@$_"


def _classes() -> npt.NDArray[np.uint16]:
    table = np.zeros(256, dtype=np.uint16)
    table[list(b"0123456789")] |= DIGIT | HEX | PATH | ACTIVE
    table[list(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] |= LETTER | PATH
    table[0x80:] |= LETTER | PATH
    table[list(b"abcdefABCDEF")] |= HEX
    table[ord("_")] |= UNDER
    table[list(PATH_BYTES)] |= PATH
    table[list(DELIMITERS)] |= DELIMITER
    table[ord(":")] |= COLON
    table[ord("@")] |= AT
    table[ord(".")] |= DOT
    # What sends a chunk to the full scan. A short chunk without any of these is copied.
    table[list(b"./@:\\")] |= ACTIVE
    table[(table & (DIGIT | DELIMITER)) == 0] |= NOT_DIGIT
    return table


CLASS = _classes()

EMAIL_LOCAL = np.zeros(256, dtype=np.bool_)
EMAIL_LOCAL[list(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._%+-")] = True
EMAIL_LOCAL[0x80:] = True
DOMAIN = np.zeros(256, dtype=np.bool_)
DOMAIN[list(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-")] = True
BASE64 = np.zeros(256, dtype=np.bool_)
BASE64[list(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/_-")] = True
URL_STOP = np.zeros(256, dtype=np.bool_)
URL_STOP[list(b" \n\"'`<>()[]{}|")] = True
TRAILING = np.zeros(256, dtype=np.bool_)
TRAILING[list(b".:!?,;")] = True


def names(text: str) -> Bytes:
    """Names as rows of bytes, each padded with zeros (one at least)."""
    words = text.encode().split()
    table = np.zeros((len(words), max(map(len, words)) + 1), dtype=np.uint8)
    for row, word in zip(table, words, strict=True):
        row[: len(word)] = list(word)
    return table


@inner
def digits(b, k, n):  # type: ignore[no-untyped-def]
    """The number of digits at k."""
    p = k
    while p < n and CLASS[b[p]] & DIGIT:
        p += 1
    return p - k


@inner
def ends_word(b, k, n):  # type: ignore[no-untyped-def]
    """Whether no word goes on at k."""
    return k >= n or not CLASS[b[k]] & WORD


@inner
def eight(b, p):  # type: ignore[no-untyped-def]
    """Eight bytes from p on as one word, the first one lowest."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(b[p + i]) << np.uint64(8 * i)
    return word
