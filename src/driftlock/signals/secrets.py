"""Secrets in text: where the value of a password, token or key begins and ends.

Owns: the grammar of values after the names in `redaction.py`, of keys by their form, and of PEM blocks. Must
not know: what replaces them.
Better a word too many masked than a secret kept; only after `token: `, `authorization: `, `cookie: ` and
`credentials: ` a plain lower-case word stays, because there it is mostly prose (`token: expired`). After
`cookie: ` and `cookie=` the whole list of `name=value` is one secret (RFC 6265, section 4.2.1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.chars import CLASS, DIGIT, WORD, names
from driftlock.signals.kernel import inner
from driftlock.signals.redaction import ALWAYS, KEY_BYTES_MIN, KEY_PREFIXES, SCHEMES, UNLESS_PROSE

PROSE_BYTES_MAX = 20
BEARER_BYTES_MIN = 16
AWS_KEY_BYTES = 20
PEM_LABEL_BYTES_MAX = 64


def suffixes(words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Names for matching from their end: reversed rows of bytes, each padded with zeros."""
    return names(" ".join(word[::-1] for word in words))


_ALWAYS = suffixes(ALWAYS)
_UNLESS_PROSE = suffixes(UNLESS_PROSE)
_COOKIE = suffixes(("cookie",))
_SCHEMES = suffixes(SCHEMES)
_KEYS = names(" ".join(KEY_PREFIXES))
_KEY_FIRST = np.zeros(256, dtype=np.bool_)
_KEY_FIRST[[ord(prefix[0]) for prefix in KEY_PREFIXES]] = True
_BEGIN = names("-----BEGIN -----END KEY")
_LAST = np.zeros(256, dtype=np.bool_)
for _name in (*ALWAYS, *UNLESS_PROSE, "bearer"):
    _LAST[ord(_name[-1])] = _LAST[ord(_name[-1].upper())] = True

_VALUE_STOP = np.zeros(256, dtype=np.bool_)
_VALUE_STOP[list(b" \n,;&\"'`)]}<>|\\")] = True
_TOKEN = np.zeros(256, dtype=np.bool_)
_TOKEN[list(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._~+/=-")] = True


@inner
def may_announce(b, chunk, e, n):  # type: ignore[no-untyped-def]
    """Whether the word ending at e could announce a secret: a cheap first look before `secret_span`."""
    if e >= n or e <= chunk or not _LAST[b[e - 1]]:
        return False
    c = b[e]
    if c == 32:
        return b[e - 1] | 32 == 114 or b[chunk] == 45 or (e + 1 < n and (b[e + 1] == 61 or b[e + 1] == 58))
    return c == 58 or c == 61 or c == 34 or c == 39 or c == 92


@inner
def secret_span(b, chunk, e, n):  # type: ignore[no-untyped-def]
    """Start and end of the secret that the word ending at e announces (`may_announce`), or (0, 0).

    `chunk` is where the chunk of the word begins: names are not looked for before it.
    """
    if b[e] == 32:
        start, end = _bearer(b, chunk, e, n)
        if end:
            return start, end
    always = _ends_with_any(b, chunk, e, _ALWAYS)
    if not always and not _ends_with_any(b, chunk, e, _UNLESS_PROSE):
        return 0, 0
    value, spaced = _value_start(b, chunk, e, n)
    if not value:
        return 0, 0
    value = _past_scheme(b, value, n)
    start, end = _value_span(b, value, n, spaced and not always)
    if end and _ends_with_any(b, chunk, e, _COOKIE):
        end = _cookies_end(b, end, n)
    return start, end


@inner
def pem_end(b, k, n):  # type: ignore[no-untyped-def]
    """The end of a PEM block of a key (RFC 7468) that begins at k, that of the line when it is cut, or 0."""
    if k + 16 > n or not _is_at(b, k, n, 0) or b[k + 10] != 32:
        return 0
    p = _label_end(b, k + 11, n)
    if _dashes(b, p, n) != 5:
        return 0
    keyed = False
    for q in range(k + 11, p - 2):
        keyed |= _is_at(b, q, p, 2)
    if not keyed:
        return 0
    p += 5
    while p < n:
        if b[p] == 45 and _is_at(b, p, n, 1) and p + 8 < n and b[p + 8] == 32:
            p = _label_end(b, p + 9, n)
            return p + _dashes(b, p, n)
        p += 1
    return n


@inner
def _is_at(b, k, n, row):  # type: ignore[no-untyped-def]
    i = 0
    while _BEGIN[row, i]:
        if k + i >= n or b[k + i] != _BEGIN[row, i]:
            return False
        i += 1
    return True


@inner
def _label_end(b, k, n):  # type: ignore[no-untyped-def]
    p = k
    while p < n and p - k < PEM_LABEL_BYTES_MAX and (65 <= b[p] <= 90 or CLASS[b[p]] & DIGIT or b[p] == 32):
        p += 1
    return p


@inner
def _dashes(b, k, n):  # type: ignore[no-untyped-def]
    p = k
    while p < n and p - k < 5 and b[p] == 45:
        p += 1
    return p - k


@inner
def known_key_end(b, k, e):  # type: ignore[no-untyped-def]
    """The end of a key of a known form (`KEY_PREFIXES`) that begins at k, or 0.

    A digit is asked for, because names of things are made of words. Call only where the run before k has
    ended.
    """
    if not _KEY_FIRST[b[k]] or e - k < KEY_BYTES_MIN:
        return 0
    row = 0
    while row < len(_KEYS) and not _begins(b, k, row):
        row += 1
    if row == len(_KEYS):
        return 0
    p = k
    numbers = 0
    while p < e and ((CLASS[b[p]] & WORD and b[p] < 0x80) or b[p] == 45):
        numbers += CLASS[b[p]] & DIGIT != 0
        p += 1
    return p if p - k >= KEY_BYTES_MIN and numbers else 0


@inner
def _begins(b, k, row):  # type: ignore[no-untyped-def]
    i = 0
    while _KEYS[row, i]:
        if b[k + i] != _KEYS[row, i]:
            return False
        i += 1
    return True


@inner
def aws_key_end(b, k, e):  # type: ignore[no-untyped-def]
    """The end of an AWS access key id that is the whole word [k, e), or 0."""
    if e - k != AWS_KEY_BYTES or b[k] != 65 or b[k + 2] != 73 or b[k + 3] != 65:
        return 0
    if b[k + 1] != 75 and b[k + 1] != 83:
        return 0
    for p in range(k, e):
        if not (CLASS[b[p]] & DIGIT or 65 <= b[p] <= 90):
            return 0
    return e


@inner
def _bearer(b, chunk, e, n):  # type: ignore[no-untyped-def]
    if e - chunk < 6 or not _ends_with(b, chunk, e, _SCHEMES, 1, False):
        return 0, 0
    if e - 6 > chunk and CLASS[b[e - 7]] & WORD:
        return 0, 0
    p = e + 1
    while p < n and _TOKEN[b[p]]:
        p += 1
    return (e + 1, p) if p - e - 1 >= BEARER_BYTES_MIN else (0, 0)


@inner
def _ends_with_any(b, chunk, e, table):  # type: ignore[no-untyped-def]
    row = 0
    while row < len(table) and not _ends_with(b, chunk, e, table, row, True):
        row += 1
    return row < len(table)


@inner
def _ends_with(b, chunk, e, table, row, joints):  # type: ignore[no-untyped-def]
    p = e - 1
    for i in range(table.shape[1]):
        want = table[row, i]
        if want == 0:
            return True
        if joints and i > 0 and p > chunk and (b[p] == 95 or b[p] == 45):
            p -= 1
        if p < chunk or b[p] | 32 != want:
            return False
        p -= 1
    return True


@inner
def _value_start(b, chunk, e, n):  # type: ignore[no-untyped-def]
    """Past `[\\\\]?["']? ?[:=] ?`, and whether the value is spaced off after `:`; (0, False) if not there.

    A space after `=` counts only when one stands before it. A command-line option (`--password x`) needs
    no more than a space.
    """
    p = e
    if p < n and b[p] == 92:
        p += 1
    if p < n and (b[p] == 34 or b[p] == 39):
        p += 1
    before = p < n and b[p] == 32
    if before:
        p += 1
    if p < n and (b[p] == 58 or b[p] == 61):
        colon = b[p] == 58
        p += 1
        if p < n and b[p] == 32 and (colon or before):
            return p + 1, colon
        return p, False
    if before and p == e + 1 and e - chunk > 2 and b[chunk] == 45 and b[chunk + 1] == 45:
        return p, False
    return 0, False


@inner
def _past_scheme(b, k, n):  # type: ignore[no-untyped-def]
    p = k
    while p < n and p - k < _SCHEMES.shape[1] - 1 and (97 <= b[p] | 32 <= 122):
        p += 1
    if p + 1 < n and b[p] == 32 and p > k and not _VALUE_STOP[b[p + 1]]:
        for row in range(len(_SCHEMES)):
            if _SCHEMES[row][p - k] == 0 and _ends_with(b, k, p, _SCHEMES, row, False):
                return p + 1
    return k


@inner
def _value_span(b, k, n, prose_stays):  # type: ignore[no-untyped-def]
    p = k
    escaped = p < n and b[p] == 92
    if escaped:
        p += 1
    if p < n and (b[p] == 34 or b[p] == 39):
        if pem_end(b, p + 1, n):
            return 0, 0  # `pem_end` finds more: an escaped line break would end the value here
        return _quoted_span(b, p + 1, n, b[p], escaped)
    if escaped or p >= n or b[p] == 123 or b[p] == 91 or b[p] == 40 or pem_end(b, p, n):
        return 0, 0
    start = p
    lower = True
    while p < n and not _VALUE_STOP[b[p]]:
        lower &= 97 <= b[p] <= 122 or b[p] == 46 or b[p] == 58 or b[p] == 33
        p += 1
    if p == start or (prose_stays and lower and p - start < PROSE_BYTES_MAX):
        return 0, 0
    return start, p


@inner
def _cookies_end(b, k, n):  # type: ignore[no-untyped-def]
    """The end of the `; name=value` that follow at k, each with or without its space, quoted or not."""
    while k < n and b[k] == 59:
        p = k + 2 if k + 1 < n and b[k + 1] == 32 else k + 1
        name = p
        while p < n and (CLASS[b[p]] & WORD or b[p] == 45 or b[p] == 46):
            p += 1
        if p == name or p >= n or b[p] != 61:
            break
        p += 1
        if p < n and b[p] == 34:
            p += 1
            while p < n and b[p] != 34:
                p += 1
            p = min(p + 1, n)
        else:
            while p < n and not _VALUE_STOP[b[p]]:
                p += 1
        k = p
    return k


@inner
def _quoted_span(b, start, n, quote, escaped):  # type: ignore[no-untyped-def]
    p = start
    while p < n:
        if escaped and b[p] == 92:
            break
        if not escaped and b[p] == quote and b[p - 1] != 92:
            break
        p += 1
    return (start, p) if p > start else (0, 0)
