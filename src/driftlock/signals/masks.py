"""Matchers of the canonical form: where a variable part that begins here ends.

Owns: one compiled matcher for each typed placeholder that has a bounded or disjoint scan.
Timestamps are in `mask_times.py`. Must not know:
lines, output, OTLP. Every matcher takes `(b, k, n)`, a byte array, a position and the end of
the line, and returns the end of the match, or 0 when there is none. None backtracks; each looks at a
bounded number of bytes or at a run that no later call looks at again, so that a line costs linear time.

`canonical.py` states the grammar; `tests/unit/signals/oracle.py` says it again with regular expressions.
Numba's file cache does not see a change in a called module: after an edit here, remove `__pycache__`.
"""

from __future__ import annotations

from driftlock.signals.chars import (
    BASE64,
    CLASS,
    DIGIT,
    DOMAIN,
    EMAIL_LOCAL,
    HEX,
    LETTER,
    TRAILING,
    URL_STOP,
    WORD,
    digits,
    ends_word,
    names,
)
from driftlock.signals.kernel import inner

PACKAGES = names("com org net io java")
TOP_LEVEL = names("com net org edu gov local internal")
FILE_ENDINGS = names("py js go rs so gz sh rb ts md cc db id ms")

URL_SCHEME_BYTES_MAX = 20
BASE64_BYTES_MIN = 32
JWT_BYTES_MIN = 24
IP6_BYTES_MAX = 46


# ---- ids and addresses


@inner
def uuid_end(b, k, n):  # type: ignore[no-untyped-def]
    """8-4-4-4-12 hexadecimal digits."""
    if k + 36 > n or not ends_word(b, k + 36, n):
        return 0
    for p in range(36):
        c = b[k + p]
        if p == 8 or p == 13 or p == 18 or p == 23:
            if c != 45:
                return 0
        elif not CLASS[c] & HEX:
            return 0
    return k + 36


@inner
def port_end(b, k, n):  # type: ignore[no-untyped-def]
    """Past `:port`, or k."""
    if k < n and b[k] == 58:
        count = digits(b, k + 1, n)
        if 1 <= count <= 5 and ends_word(b, k + 1 + count, n):
            return k + 1 + count
    return k


@inner
def ip4_end(b, k, n):  # type: ignore[no-untyped-def]
    """Four numbers of one to three digits, and a port."""
    p = k
    for part in range(4):
        count = digits(b, p, n)
        if count < 1 or count > 3:
            return 0
        p += count
        if part < 3:
            if p >= n or b[p] != 46:
                return 0
            p += 1
    if not ends_word(b, p, n) or (p + 1 < n and b[p] == 46 and CLASS[b[p + 1]] & DIGIT):
        return 0
    return port_end(b, p, n)


@inner
def mac_end(b, k, n):  # type: ignore[no-untyped-def]
    """Six pairs of hexadecimal digits between `:` or `-`."""
    if k + 17 > n or not ends_word(b, k + 17, n):
        return 0
    mark = b[k + 2]
    if mark != 58 and mark != 45:
        return 0
    for p in range(17):
        if p % 3 == 2:
            if b[k + p] != mark:
                return 0
        elif not CLASS[b[k + p]] & HEX:
            return 0
    if k + 17 < n and b[k + 17] == mark:
        return 0
    return k + 17


@inner
def ip6_end(b, k, n):  # type: ignore[no-untyped-def]
    """Eight groups, or fewer around one `::` with a digit among them; then a decimal port after eight.

    Takes the whole run of hexadecimal digits and colons, without a last lone colon, or nothing.
    """
    e = k
    while e < n and e - k <= IP6_BYTES_MAX and (CLASS[b[e]] & HEX or b[e] == 58):
        e += 1
    if e - k > IP6_BYTES_MAX or e - k < 2:
        return 0
    if b[e - 1] == 58 and b[e - 2] != 58:
        e -= 1
    if not ends_word(b, e, n):
        return 0
    groups = doubles = run = numbers = longest = 0
    for p in range(k, e):
        if b[p] == 58:
            if p > k and b[p - 1] == 58:
                doubles += 1
            elif p == k and (p + 1 >= e or b[p + 1] != 58):
                return 0
            longest = max(longest, run)
            run = 0
        else:
            groups += run == 0
            run += 1
            numbers += CLASS[b[p]] & DIGIT
    if longest > 4 or doubles > 1:
        return 0
    if doubles == 0 and groups == 9:
        return e if run <= 5 and digits(b, e - run, n) == run else 0
    whole = doubles == 0 and groups == 8
    return e if run <= 4 and (whole or (doubles == 1 and 1 <= groups <= 7 and numbers > 0)) else 0


# ---- runs of their own alphabet


@inner
def url_end(b, k, n):  # type: ignore[no-untyped-def]
    """The end of a URL whose `://` was seen, without closing punctuation."""
    p = k
    while p < n and not URL_STOP[b[p]]:
        p += 1
    while p > k and TRAILING[b[p - 1]]:
        p -= 1
    return p


@inner
def jwt_end(b, k, n):  # type: ignore[no-untyped-def]
    """`eyJ….….…` in URL-safe base64. Call only where the run before k has ended."""
    if k + JWT_BYTES_MIN > n or b[k] != 101 or b[k + 1] != 121 or b[k + 2] != 74:
        return 0
    p = k
    dots = 0
    while p < n:
        c = b[p]
        if c == 46:
            dots += 1
            if dots > 2:
                return 0
        elif not (CLASS[c] & WORD and c < 0x80) and c != 45:
            break
        p += 1
    return p if dots == 2 and p - k >= JWT_BYTES_MIN else 0


@inner
def base64_end(b, k, n):  # type: ignore[no-untyped-def]
    """A long run of base64 in which all three kinds of characters alternate as chance has them.

    Paths and camel-case names change kind at under one in four characters, base64 at about six in ten; the
    line is at two in five. Call only where the run before k has ended.
    """
    p = k
    changes = 0
    kinds = 0
    before = 0
    while p < n and BASE64[b[p]]:
        c = b[p]
        kind = 1 if c >= 97 else 2 if 65 <= c <= 90 else 4 if 48 <= c <= 57 else 8
        if c == 95:
            kind = 8
        changes += kind != before
        kinds |= kind
        before = kind
        p += 1
    if p - k < BASE64_BYTES_MIN or kinds & 7 != 7 or changes * 5 < (p - k) * 2:
        return 0
    for _ in range(2):
        if p < n and b[p] == 61:
            p += 1
    return p if ends_word(b, p, n) else 0


@inner
def email_at(b, k, n):  # type: ignore[no-untyped-def]
    """Start and end of the first e-mail address in [k, n), or (0, 0)."""
    p = k
    floor = k
    while p < n:
        if b[p] != 64:
            p += 1
            continue
        start = p
        while start > floor and EMAIL_LOCAL[b[start - 1]]:
            start -= 1
        end = p + 1
        last_dot = 0
        while end < n and DOMAIN[b[end]]:
            if b[end] == 46 and end + 1 < n and DOMAIN[b[end + 1]] and b[end + 1] != 46:
                last_dot = end
            end += 1
        while end > p + 1 and (b[end - 1] == 46 or b[end - 1] == 45):
            end -= 1
        if start < p and last_dot > p + 1 and _letters(b, last_dot + 1, end) >= 2:
            return start, end
        floor = p + 1
        p += 1
    return 0, 0


@inner
def _letters(b, k, e):  # type: ignore[no-untyped-def]
    for p in range(k, e):
        if not CLASS[b[p]] & LETTER:
            return 0
    return e - k


@inner
def host_end(b, k, n):  # type: ignore[no-untyped-def]
    """A lower-case dotted name under a top-level domain. Call only where the run begins.

    Names of packages read like hosts, so a run that begins as one (`com.`, `org.`, `net.`, `io.`, `java.`)
    is none, and a two-letter ending counts only after two dots and when it is not a file's.
    """
    e = k
    dots = 0
    while e < n and DOMAIN[b[e]]:
        if 65 <= b[e] <= 90:
            return 0
        dots += b[e] == 46
        e += 1
    while e > k and (b[e - 1] == 46 or b[e - 1] == 45):
        dots -= b[e - 1] == 46
        e -= 1
    if dots < 1 or not ends_word(b, e, n) or b[k] == 46:
        return 0
    s = k
    while b[s] != 46:
        s += 1
    if _among(b, k, s, PACKAGES):
        return 0
    s = e
    while b[s - 1] != 46:
        s -= 1
    if e - s == 2:
        return 0 if dots < 2 or _letters(b, s, e) != 2 or _among(b, s, e, FILE_ENDINGS) else e
    return e if _among(b, s, e, TOP_LEVEL) else 0


@inner
def _among(b, k, e, table):  # type: ignore[no-untyped-def]
    """Whether b[k:e] is a row of a table of names, each padded with zeros."""
    size = e - k
    if size >= table.shape[1]:
        return False
    for row in range(len(table)):
        p = 0
        while p < size and table[row, p] == b[k + p]:
            p += 1
        if p == size and table[row, p] == 0:
            return True
    return False
