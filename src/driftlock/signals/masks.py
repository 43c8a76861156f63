"""Matchers of the canonical form: where a variable part that begins here ends.

Owns: byte classes, and one compiled matcher for each typed placeholder that has a bounded or disjoint scan.
Must not know: lines, output, OTLP. Every matcher takes `(b, k, n)`, a byte array, a position and the end of
the line, and returns the end of the match, or 0 when there is none. None backtracks; each looks at a
bounded number of bytes or at a run that no later call looks at again, so that a line costs linear time.

`canonical.py` states the grammar; `tests/unit/signals/oracle.py` says it again with regular expressions.
Numba's file cache does not see a change in a called module: after an edit here, remove `__pycache__`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.kernel import inner

Bytes = npt.NDArray[np.uint8]

DIGIT, LETTER, UNDER, DELIMITER, HEX, PATH, COLON, AT, DOT, ACTIVE, NOT_DIGIT = (1 << n for n in range(11))
ALNUM = DIGIT | LETTER
WORD = DIGIT | LETTER | UNDER

DELIMITERS = b" \"'`()[]{}<>,;=|"
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
URL_STOP[list(b" \"'`<>()[]{}|")] = True
TRAILING = np.zeros(256, dtype=np.bool_)
TRAILING[list(b".:!?,;")] = True


def _three(words: str) -> npt.NDArray[np.int64]:
    return np.array([int.from_bytes(name.encode(), "big") for name in words.split()], dtype=np.int64)


MONTHS = _three("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
WEEKDAYS = _three("Mon Tue Wed Thu Fri Sat Sun")


def names(text: str) -> Bytes:
    """Names as rows of bytes, each padded with zeros (one at least)."""
    words = text.encode().split()
    table = np.zeros((len(words), max(map(len, words)) + 1), dtype=np.uint8)
    for row, word in zip(table, words, strict=True):
        row[: len(word)] = list(word)
    return table


PACKAGES = names("com org net io java")
TOP_LEVEL = names("com net org edu gov local internal")
FILE_ENDINGS = names("py js go rs so gz sh rb ts md cc db id ms")

# Forms of a time of day.
FULL, SHORT, LOOSE = (np.int64(n) for n in range(3))

URL_SCHEME_BYTES_MAX = 20
BASE64_BYTES_MIN = 32
JWT_BYTES_MIN = 24
IP6_BYTES_MAX = 46


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
def _three_in(b, k, n, table):  # type: ignore[no-untyped-def]
    if k + 3 > n:
        return False
    code = (np.int64(b[k]) << 16) | (np.int64(b[k + 1]) << 8) | np.int64(b[k + 2])
    found = False
    for one in table:
        found |= one == code
    return found


# ---- timestamps


@inner
def time_end(b, k, n, form):  # type: ignore[no-untyped-def]
    """`h:mm:ss`, then a fraction, then a zone. The fraction may follow `.`, `,` or `:`.

    With the form SHORT the seconds may be missing, with LOOSE any field may have a single digit.
    """
    p = _field_end(b, k, n, LOOSE)
    if not p or p >= n or b[p] != 58:
        return 0
    p = _field_end(b, p + 1, n, form)
    if not p:
        return 0
    seconds = _field_end(b, p + 1, n, form) if p < n and b[p] == 58 else 0
    if seconds:
        p = seconds
        if p + 1 < n and (b[p] == 46 or b[p] == 44 or b[p] == 58):
            count = digits(b, p + 1, n)
            if 1 <= count <= 9:
                p += 1 + count
    elif form != SHORT:
        return 0
    p = _zone_end(b, p, n)
    return p if ends_word(b, p, n) else 0


@inner
def _field_end(b, k, n, form):  # type: ignore[no-untyped-def]
    count = digits(b, k, n)
    return k + count if count == 2 or (form == LOOSE and count == 1) else 0


@inner
def _zone_end(b, k, n):  # type: ignore[no-untyped-def]
    if k < n and b[k] == 90:  # Z
        return k + 1
    p = k + 1 if k < n and b[k] == 32 else k
    if p + 3 <= n and (
        (b[p] == 85 and b[p + 1] == 84 and b[p + 2] == 67)
        or (b[p] == 71 and b[p + 1] == 77 and b[p + 2] == 84)
    ):
        return p + 3 if p > k else k  # UTC, GMT
    if p < n and (b[p] == 43 or b[p] == 45):
        count = digits(b, p + 1, n)
        if count == 4:
            return p + 5
        if count == 2 and p + 3 < n and b[p + 3] == 58 and digits(b, p + 4, n) == 2:
            return p + 6
    return k


@inner
def digit_timestamp(b, k, n):  # type: ignore[no-untyped-def]
    """A timestamp that begins with a digit."""
    count = digits(b, k, n)
    p = k + count
    if p >= n or (count > 2 and count != 4 and count != 8):
        return 0
    c = b[p]
    if count == 4 and (c == 45 or c == 47 or c == 46):
        return _iso_end(b, p, n, c)
    if count == 2 and c == 47 and digits(b, p + 1, n) == 2 and p + 3 < n and b[p + 3] == 47:
        return _slashed_end(b, p, n)
    if count <= 2 and (c == 47 or c == 45 or c == 32) and _three_in(b, p + 1, n, MONTHS):
        return _named_month_end(b, p, n)
    if count == 8 and (c == 45 or c == 84 or c == 95 or c == 32):
        return time_end(b, p + 1, n, LOOSE)
    if c == 58:
        return time_end(b, k, n, FULL)
    return 0


@inner
def _iso_end(b, p, n, mark):  # type: ignore[no-untyped-def]
    if digits(b, p + 1, n) != 2 or p + 3 >= n or b[p + 3] != mark or digits(b, p + 4, n) != 2:
        return 0
    return _then_time(b, p + 6, n)


@inner
def _then_time(b, p, n):  # type: ignore[no-untyped-def]
    if p < n and (b[p] == 84 or b[p] == 32 or b[p] == 95 or b[p] == 45):
        end = time_end(b, p + 1, n, SHORT)
        if end:
            return end
    return p if ends_word(b, p, n) else 0


@inner
def _slashed_end(b, p, n):  # type: ignore[no-untyped-def]
    count = digits(b, p + 4, n)
    if count != 2 and count != 4:
        return 0
    q = p + 4 + count
    if q < n and b[q] == 32:
        end = time_end(b, q + 1, n, FULL)
        if end:
            return end
    return q if count == 4 and ends_word(b, q, n) else 0


@inner
def _named_month_end(b, p, n):  # type: ignore[no-untyped-def]
    q = p + 4
    if q >= n or b[q] != b[p] or digits(b, q + 1, n) != 4:
        return 0
    q += 5
    if q < n and (b[q] == 58 or b[q] == 32):
        end = time_end(b, q + 1, n, FULL)
        if end:
            return end
    return q if ends_word(b, q, n) else 0


@inner
def letter_timestamp(b, k, n):  # type: ignore[no-untyped-def]
    """`Dec 10 06:55:46`, `Sun Dec 04 04:47:44 2005`, `Sun, 04 Dec 2005 04:47:44 GMT`."""
    if _three_in(b, k, n, MONTHS):
        return _month_end(b, k, n)
    if not _three_in(b, k, n, WEEKDAYS):
        return 0
    p = k + 3
    if p < n and b[p] == 44:
        p += 1
    if p >= n or b[p] != 32:
        return 0
    if _three_in(b, p + 1, n, MONTHS):
        return _month_end(b, p + 1, n)
    count = digits(b, p + 1, n)
    q = p + 1 + count
    if 1 <= count <= 2 and q < n and b[q] == 32 and _three_in(b, q + 1, n, MONTHS):
        return _named_month_end(b, q, n)
    return 0


@inner
def _month_end(b, k, n):  # type: ignore[no-untyped-def]
    p = k + 3
    if p >= n or b[p] != 32:
        return 0
    p += 1
    if p < n and b[p] == 32:
        p += 1
    count = digits(b, p, n)
    p += count
    if count < 1 or count > 2 or p >= n or b[p] != 32:
        return 0
    end = time_end(b, p + 1, n, FULL)
    if not end:
        return 0
    year = end + 1
    if end >= n or b[end] != 32 or digits(b, year, n) != 4 or not ends_word(b, year + 4, n):
        return end
    century = b[year] * 10 + b[year + 1] - 528
    return year + 4 if century == 19 or century == 20 else end


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
