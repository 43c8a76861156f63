"""Matchers of timestamps inside a line: the forms that `<ts>` stands for.

Owns: where a timestamp that begins here ends. Must not know: what time it is (`text_time.py` does). As in
`masks.py`, a matcher takes `(b, k, n)` and returns the end of the match, or 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.chars import digits, ends_word
from driftlock.signals.kernel import inner


def _three(words: str) -> npt.NDArray[np.int64]:
    return np.array([int.from_bytes(name.encode(), "big") for name in words.split()], dtype=np.int64)


MONTHS = _three("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
WEEKDAYS = _three("Mon Tue Wed Thu Fri Sat Sun")


# Forms of a time of day.
FULL, SHORT, LOOSE = (np.int64(n) for n in range(3))


@inner
def _three_in(b, k, n, table):  # type: ignore[no-untyped-def]
    if k + 3 > n:
        return False
    code = (np.int64(b[k]) << 16) | (np.int64(b[k + 1]) << 8) | np.int64(b[k + 2])
    found = False
    for one in table:
        found |= one == code
    return found


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
