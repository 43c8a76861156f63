"""The second look: which lines of many could hold a secret in less common dress, and those with it hidden.

Owns: the compiled quick look over all lines, and its words. It may say yes in vain, never no:
`announced.hide` decides, and leaves other lines as they are. Must not know: what becomes of the lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.signals import announced, chars, kernel
from driftlock.signals.announced import BEGINNINGS, KEYS_OF, hide
from driftlock.signals.chars import ALNUM, CLASS, DOMAIN, LETTER, names
from driftlock.signals.kernel import entry, inner, pointer, readonly, sources

LOOK_BYTES_MAX = 65_536
"""What of a line is looked at; the canonical form takes far less."""
NAME_BYTES_MAX = 64
BETWEEN_BYTES_MAX = 6

# What a name holds that announces a secret, without the joints between its parts.
_LONG = names(
    "password passwd passphrase passcode secret credential sharedaccesssignature sessionid sessid "
    "authorization cookie " + " ".join(f"{kind}key" for kind in KEYS_OF.split("|"))
)
# These must be a whole part of a name: `pass`, `user_pass`, `userPass`, `pass2`, but no `compass`.
_SHORT = names("pass pwd pw sig signature sid otp pin dsn cred creds token")
_KNOWN = names(BEGINNINGS + " ya29. AKIA ASIA")
_KNOWN_FIRST = np.zeros(256, dtype=np.bool_)
_KNOWN_FIRST[_KNOWN[:, 0]] = True
_KNOWN_PAIRS = np.zeros((32, 32), dtype=np.bool_)  # of bytes that one begins with, by their last five bits
_KNOWN_PAIRS[_KNOWN[:, 0] & 31, _KNOWN[:, 1] & 31] = True

_BETWEEN = np.zeros(256, dtype=np.bool_)  # may stand between a name and its separator
_BETWEEN[list(b" \"'\\=]-(")] = True
_IS_JOINT = np.zeros(256, dtype=np.bool_)
_IS_JOINT[list(b"_-.")] = True
_IN_NAME = ((CLASS & ALNUM) != 0) | _IS_JOINT
# Pairs of letters that a word begins with, by their last five bits; a joint may stand between the two.
_PAIRS = np.zeros((32, 32), dtype=np.bool_)
for _words in (_LONG, _SHORT):
    for _second in (_words[:, 1], *(np.full(len(_words), ord(joint)) for joint in "_-.")):
        _PAIRS[_words[:, 0] & 31, _second & 31] = True
# What the quick look stops at: all else is passed over.
_TELLING = _KNOWN_FIRST.copy()
_TELLING[list(b"=:>@%&-'\"")] = _TELLING[0xEF] = True


def hidden(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    *,
    secrets: bool = True,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lines `buffer[starts[i]:ends[i]]` with secrets and addresses hidden, as buffer and bounds.

    A URL loses what precedes its host, so that it reads as all URLs do.
    """
    rows = may_hold(buffer, starts, ends)
    if not rows.any():
        return buffer, starts, ends
    starts, ends, held = starts.copy(), ends.copy(), len(buffer)
    more: list[bytes] = []
    for row in np.flatnonzero(rows).tolist():
        raw = buffer[starts[row] : min(ends[row], starts[row] + LOOK_BYTES_MAX)].tobytes()
        text = raw.decode("utf-8", "surrogateescape")
        line = hide(text, secrets=secrets, personal=True, userinfo="").encode("utf-8", "surrogateescape")
        starts[row], ends[row] = held, held + len(line)
        more.append(line)
        held += len(line)
    return np.concatenate([buffer, np.frombuffer(b"".join(more), np.uint8)]), starts, ends


def may_hold(
    buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Of each line, whether `hidden` would look at it again."""
    rows = np.zeros(len(starts), np.bool_)
    _worth_a_look(readonly(buffer), readonly(starts), readonly(ends), rows)
    return rows


@inner
def worth_a_look(b, k, n):  # type: ignore[no-untyped-def]
    """Whether the line b[k:n] may hold something for `hide`."""
    slashes = False
    for p in range(k, n):
        c = b[p]
        if not _TELLING[c]:
            continue
        if c == 61 or c == 58 or c == 62:  # = : >
            if _announces(b, k, p):
                return True
            slashes |= c == 58 and p + 2 < n and (b[p + 1] == 47 or b[p + 1] == 92 or b[p + 1] == 37)
        elif c == 64:  # @
            if slashes or p == k or p + 1 >= n or _odd_mail(b, k, p, n):
                return True
        elif c == 37 or c == 38:  # %40 &#64;
            if p + 2 < n and ((b[p + 1] == 52 and b[p + 2] == 48) or (b[p + 1] == 35 and b[p + 2] == 54)):
                return True
        elif c == 45:
            if _option(b, k, p, n):
                return True
        elif c == 39 or c == 34:
            if p > k and _quoted(b, k, p, n):
                return True
        elif c == 0xEF:  # the full-width @
            if p + 2 < n and b[p + 1] == 0xBC and b[p + 2] == 0xA0:
                return True
        elif (
            p + 1 < n
            and _KNOWN_PAIRS[c & 31, b[p + 1] & 31]
            and (p == k or not CLASS[b[p - 1]] & ALNUM)
            and _begins_known(b, p, n)
        ):
            return True
    return False


@inner
def _option(b, k, p, n):  # type: ignore[no-untyped-def]
    """Whether an option that may have a secret begins at p: -u name:…, --user, --password …, -p…"""
    if p + 2 >= n:
        return False
    c = b[p + 1]
    if c == 45 and (p == k or b[p - 1] == 32):
        q = p + 2
        while q < n and (b[q] == 45 or b[q] == 95 or CLASS[b[q]] & ALNUM):
            q += 1
        if b[p + 2] == 112 or (q < n and b[q] == 32 and _announces(b, k, q)):
            return True
    if c == 45:
        return b[p + 2] == 117 or b[p + 2] == 112
    if c == 117:
        return b[p + 2] == 32 or b[p + 2] == 115
    return c == 112 and p > k + 1 and b[p - 1] == 32 and (b[p + 2] > 32 or b[p - 2] | 32 == 115)


@inner
def _quoted(b, k, p, n):  # type: ignore[no-untyped-def]
    """Whether the quote at p is of a value: by '…', password '…', password("…, "password", "value"."""
    before = b[p - 1]
    if p - k > 3 and before == 32 and b[p - 2] | 32 == 121 and b[p - 3] | 32 == 98:
        return True
    after = b[p + 1] if p + 1 < n else 0
    opens = before == 32 or before == 40 or before == 92
    return (opens or after == 32 or after == 44) and _announces(b, k, p)


@inner
def _begins_known(b, k, n):  # type: ignore[no-untyped-def]
    for row in range(len(_KNOWN)):
        i = 0
        while _KNOWN[row, i] and k + i < n and b[k + i] == _KNOWN[row, i]:
            i += 1
        if _KNOWN[row, i] == 0:
            return True
    return False


@inner
def _odd_mail(b, k, p, n):  # type: ignore[no-untyped-def]
    """Whether the scanner would not take the address around the @ at p, or not all of it."""
    if b[p - 1] == 34 or b[p + 1] == 91 or b[p + 1] >= 0x80:
        return True
    q = p + 1
    dotted = dashed = False
    while q < n and DOMAIN[b[q]]:
        dotted |= b[q] == 46
        dashed = b[q] == 45 or (dashed and b[q] != 46)
        q += 1
    return (q < n and b[q] >= 0x80) or (dotted and (dashed or (q < n and b[q] == 95)))


@inner
def _announces(b, k, p):  # type: ignore[no-untyped-def]
    """Whether the name before the separator at p holds a word that announces a secret."""
    e = p
    while e > k and p - e < BETWEEN_BYTES_MAX and _BETWEEN[b[e - 1]]:
        e -= 1
    start = e
    least = max(k, e - NAME_BYTES_MAX)
    hopeful = False
    while start > least and _IN_NAME[b[start - 1]]:
        start -= 1
        hopeful |= _PAIRS[b[start] & 31, b[start + 1] & 31]
    if hopeful:
        for at in range(start, e - 1):
            if _PAIRS[b[at] & 31, b[at + 1] & 31] and (
                _holds(b, at, e, _LONG) or (_begins_part(b, start, at) and _holds_part(b, at, e))
            ):
                return True
    # `API key: …`, `key provided: …`: the one name that is written with a space.
    return (
        start > k + 2
        and b[start - 1] == 32
        and (b[e - 1] | 32 == 121 or b[e - 1] | 32 == 100)
        and (b[start - 2] | 32 == 105 or b[start - 2] | 32 == 121)
    )


@inner
def _begins_part(b, start, at):  # type: ignore[no-untyped-def]
    return at == start or not CLASS[b[at - 1]] & LETTER or (b[at] < 97 <= b[at - 1])


@inner
def _holds(b, at, e, table):  # type: ignore[no-untyped-def]
    row = 0
    while row < len(table) and not _match(b, at, e, table, row):
        row += 1
    return row < len(table)


@inner
def _holds_part(b, at, e):  # type: ignore[no-untyped-def]
    for row in range(len(_SHORT)):
        end = _match(b, at, e, _SHORT, row)
        if end and (end >= e or not 97 <= b[end] <= 122):
            return True
    return False


@inner
def _match(b, at, e, table, row):  # type: ignore[no-untyped-def]
    """The end of a word of the table at `at`, joints left out, or 0."""
    if b[at] | 32 != table[row, 0]:
        return 0
    p = at
    i = 0
    while table[row, i]:
        if i and p < e and _IS_JOINT[b[p]]:
            p += 1
        if p >= e or b[p] | 32 != table[row, i]:
            return 0
        p += 1
        i += 1
    return p


def _look_loop(made_of: int) -> Any:
    @entry
    def _worth_a_look(buffer, starts, ends, rows):  # type: ignore[no-untyped-def]
        assert made_of >= 0  # closed over, so that the cache knows which sources made the kernel
        b = pointer(buffer)
        for i in range(len(starts)):
            rows[i] = worth_a_look(b, starts[i], min(ends[i], starts[i] + LOOK_BYTES_MAX))

    return _worth_a_look


_worth_a_look = _look_loop(sources(announced, chars, kernel))
