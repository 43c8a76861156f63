"""Timestamps of text log lines, in nanoseconds since 1970.

Owns: the formats of line timestamps and their compiled parser. Must not know: files, masking. A time without
a zone is taken as UTC, one without a year in the year that the caller names. A value that no calendar has
(the 31st of June) and a time outside 1970 to 2262 are 0, as is a line without a timestamp.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.chars import CLASS, DIGIT, digits
from driftlock.signals.kernel import entry, inner, pointer, readonly
from driftlock.signals.mask_times import MONTHS

# The formats, in the order in which they win a draw.
ISO, COMPACT, SLASHED, HEALTH, EPOCH, BRACKETED, SYSLOG, ACCESS = (np.int64(n) for n in range(1, 9))
FORMATS = (ISO, COMPACT, SLASHED, HEALTH, EPOCH, BRACKETED, SYSLOG, ACCESS)
NO_FORMAT = np.int64(0)

SEARCH_BYTES_MAX = np.int64(160)
PROBED_LINES_MAX = 200
YEAR_UNKNOWN = 1970
YEAR_PROBED = 1972  # a leap year, so that the 29th of February shows a format as well

SECOND_NS = np.int64(1_000_000_000)
DAY_S = np.int64(86_400)
SECONDS_MAX = np.int64(2**63 - 1) // SECOND_NS - 1
NIL = np.int64(0)


def find_format(
    buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> np.int64:
    """The format that most of the first lines have, or `NO_FORMAT`."""
    first, last = starts[:PROBED_LINES_MAX], ends[:PROBED_LINES_MAX]
    counts = [int((line_times(buffer, first, last, form, year=YEAR_PROBED) > 0).sum()) for form in FORMATS]
    best = int(np.argmax(counts))
    return FORMATS[best] if counts[best] else NO_FORMAT


def line_times(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    form: np.int64,
    *,
    year: int = YEAR_UNKNOWN,
) -> npt.NDArray[np.int64]:
    """The time of each line in the given format, 0 for a line without."""
    times = np.zeros(len(starts), dtype=np.int64)
    if form:
        _times(readonly(buffer), readonly(starts), readonly(ends), np.int64(form), np.int64(year), times)
    return times


@entry
def _times(buffer, starts, ends, form, year, times):  # type: ignore[no-untyped-def]
    b = pointer(buffer)
    for i in range(len(starts)):
        times[i] = _time(b, starts[i], ends[i], form, year)


@inner
def _time(b, k, e, form, year):  # type: ignore[no-untyped-def]
    while k < e and b[k] <= 32:
        k += 1
    if form == ISO:
        return _iso(b, k, e)
    if form == COMPACT:
        return _compact(b, k, e)
    if form == SLASHED:
        return _slashed(b, k, e)
    if form == HEALTH:
        return _health(b, k, e)
    if form == EPOCH:
        return _epoch(b, k, e)
    if form == BRACKETED:
        return _bracketed(b, k, e)
    if form == SYSLOG:
        return _syslog(b, k, e, year)
    return _access(b, k, e)


@inner
def _number(b, k, size):  # type: ignore[no-untyped-def]
    value = NIL
    for p in range(k, k + size):
        value = value * 10 + np.int64(b[p]) - 48
    return value


@inner
def _month(b, k, e):  # type: ignore[no-untyped-def]
    """1 to 12 for a month's English abbreviation at k, else 0."""
    if k + 3 > e:
        return NIL
    code = (np.int64(b[k]) << 16) | (np.int64(b[k + 1]) << 8) | np.int64(b[k + 2])
    found = NIL
    for i in range(12):
        if MONTHS[i] == code:
            found = np.int64(i + 1)
    return found


@inner
def _instant(year, month, day, seconds, fraction_ns):  # type: ignore[no-untyped-def]
    """Nanoseconds since 1970 of a civil date and a second of its day, 0 when out of range.

    Days from civil dates after Howard Hinnant, https://howardhinnant.github.io/date_algorithms.html.
    """
    if month < 1 or month > 12 or day < 1 or seconds < -2 * DAY_S or seconds > 3 * DAY_S:
        return NIL
    long = month in (1, 3, 5, 7, 8, 10, 12)
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    last = 31 if long else 30 if month != 2 else 29 if leap else 28
    if day > last:
        return NIL
    y = year - 1 if month <= 2 else year
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    total = days * DAY_S + seconds
    if total < 0 or total > SECONDS_MAX:
        return NIL
    return total * SECOND_NS + fraction_ns


@inner
def _clock(b, k, e):  # type: ignore[no-untyped-def]
    """Second of the day, nanoseconds and end of `hh:mm:ss` with a fraction; an end of 0 when not there.

    Minutes and seconds may have one digit.
    """
    h = digits(b, k, e)
    p = k + h
    if h < 1 or h > 2 or p >= e or b[p] != 58:
        return NIL, NIL, NIL
    m = digits(b, p + 1, e)
    q = p + 1 + m
    if m < 1 or m > 2 or q >= e or b[q] != 58:
        return NIL, NIL, NIL
    s = digits(b, q + 1, e)
    if s < 1 or s > 2:
        return NIL, NIL, NIL
    hours, minutes, seconds = _number(b, k, h), _number(b, p + 1, m), _number(b, q + 1, s)
    if hours > 23 or minutes > 59 or seconds > 60:
        return NIL, NIL, NIL
    end = q + 1 + s
    fraction = NIL
    if end + 1 < e and (b[end] == 46 or b[end] == 44 or b[end] == 58):
        count = digits(b, end + 1, e)
        if 1 <= count <= 9:
            fraction = _number(b, end + 1, count)
            for _ in range(9 - count):
                fraction *= 10
            end += 1 + count
    return hours * 3600 + minutes * 60 + seconds, fraction, end


@inner
def _zone(b, k, e):  # type: ignore[no-untyped-def]
    """Seconds east of UTC of `±hh:mm` or `±hhmm` at k or after one space, else 0."""
    p = k + 1 if k < e and b[k] == 32 else k
    if p >= e or (b[p] != 43 and b[p] != 45):
        return NIL
    count = digits(b, p + 1, e)
    if count == 4:
        seconds = _number(b, p + 1, 2) * 3600 + _number(b, p + 3, 2) * 60
    elif count == 2 and p + 3 < e and b[p + 3] == 58 and digits(b, p + 4, e) == 2:
        seconds = _number(b, p + 1, 2) * 3600 + _number(b, p + 4, 2) * 60
    else:
        return NIL
    return seconds if b[p] == 43 else -seconds


@inner
def _iso(b, k, e):  # type: ignore[no-untyped-def]
    """`2015-10-18 18:01:47,978`, `2015-10-18T18:01:47.978+02:00`, also with slashes, near the beginning."""
    stop = min(e - 18, k + SEARCH_BYTES_MAX)
    p = k
    while p < stop:
        if not CLASS[b[p]] & DIGIT:
            p += 1
            continue
        count = digits(b, p, e)
        mark = b[p + 4]
        dated = count == 4 and p + 18 < e and (mark == 45 or mark == 47) and b[p + 7] == mark
        dated = dated and digits(b, p + 5, e) == 2 and digits(b, p + 8, e) == 2
        if dated and (b[p + 10] == 84 or b[p + 10] == 32):
            seconds, fraction, end = _clock(b, p + 11, e)
            if end:
                second = seconds - _zone(b, end, e)
                return _instant(
                    _number(b, p, 4), _number(b, p + 5, 2), _number(b, p + 8, 2), second, fraction
                )
        p += count
    return NIL


@inner
def _compact(b, k, e):  # type: ignore[no-untyped-def]
    """`081109 203530`: year, month, day, then time, in pairs."""
    if e - k < 13 or digits(b, k, e) != 6 or b[k + 6] != 32 or digits(b, k + 7, e) != 6:
        return NIL
    hours, minutes, seconds = _number(b, k + 7, 2), _number(b, k + 9, 2), _number(b, k + 11, 2)
    if hours > 23 or minutes > 59 or seconds > 60:
        return NIL
    second = hours * 3600 + minutes * 60 + seconds
    return _instant(2000 + _number(b, k, 2), _number(b, k + 2, 2), _number(b, k + 4, 2), second, NIL)


@inner
def _slashed(b, k, e):  # type: ignore[no-untyped-def]
    """`17/06/09 20:10:40`: year, month, day."""
    if e - k < 17 or b[k + 2] != 47 or b[k + 5] != 47 or b[k + 8] != 32:
        return NIL
    if digits(b, k, e) != 2 or digits(b, k + 3, e) != 2 or digits(b, k + 6, e) != 2:
        return NIL
    seconds, fraction, end = _clock(b, k + 9, e)
    if not end:
        return NIL
    return _instant(2000 + _number(b, k, 2), _number(b, k + 3, 2), _number(b, k + 6, 2), seconds, fraction)


@inner
def _health(b, k, e):  # type: ignore[no-untyped-def]
    """`20171223-22:15:29:606`, also with `T`, `_` or a space between."""
    if e - k < 14 or digits(b, k, e) != 8:
        return NIL
    mark = b[k + 8]
    if mark != 45 and mark != 84 and mark != 95 and mark != 32:
        return NIL
    seconds, fraction, end = _clock(b, k + 9, e)
    if not end:
        return NIL
    return _instant(_number(b, k, 4), _number(b, k + 4, 2), _number(b, k + 6, 2), seconds, fraction)


@inner
def _epoch(b, k, e):  # type: ignore[no-untyped-def]
    """Seconds (10 digits, with a fraction), milliseconds (13), microseconds (16), nanoseconds (19)."""
    if k < e and b[k] == 91:
        k += 1
    count = digits(b, k, e)
    if count != 10 and count != 13 and count != 16 and count != 19:
        return NIL
    if count == 19 and b[k] > 56:
        return NIL
    value = _number(b, k, count)
    for _ in range(19 - count):
        value *= 10
    if count == 10 and k + 11 < e and b[k + 10] == 46:
        size = min(digits(b, k + 11, e), 9)
        fraction = _number(b, k + 11, size)
        for _ in range(9 - size):
            fraction *= 10
        value += fraction
    return max(value, NIL)


@inner
def _bracketed(b, k, e):  # type: ignore[no-untyped-def]
    """`[Sun Dec 04 04:47:44 2005]`, as Apache writes errors (also with a fraction)."""
    p = k + 1 if k < e and b[k] == 91 else k
    month = _month(b, p + 4, e)
    if not month or b[p + 3] != 32:
        return NIL
    p += 8
    while p < e and b[p] == 32:
        p += 1
    count = digits(b, p, e)
    if count < 1 or count > 2:
        return NIL
    day = _number(b, p, count)
    seconds, fraction, end = _clock(b, p + count + 1, e)
    if not end or end >= e or b[end] != 32 or digits(b, end + 1, e) != 4:
        return NIL
    return _instant(_number(b, end + 1, 4), month, day, seconds, fraction)


@inner
def _syslog(b, k, e, year):  # type: ignore[no-untyped-def]
    """`Dec 10 06:55:46`, also after a priority `<13>`."""
    if k < e and b[k] == 60:
        size = digits(b, k + 1, e)
        if k + 1 + size < e and b[k + 1 + size] == 62:
            k += size + 2
    month = _month(b, k, e)
    if not month:
        return NIL
    p = k + 3
    while p < e and b[p] == 32:
        p += 1
    count = digits(b, p, e)
    if count < 1 or count > 2:
        return NIL
    seconds, fraction, end = _clock(b, p + count + 1, e)
    return _instant(year, month, _number(b, p, count), seconds, fraction) if end else NIL


@inner
def _access(b, k, e):  # type: ignore[no-untyped-def]
    """`[04/Dec/2005:04:47:44 +0000]` near the beginning, as web servers write requests."""
    stop = min(e - 20, k + SEARCH_BYTES_MAX)
    for p in range(k, stop):
        if b[p] == 91 and digits(b, p + 1, e) == 2 and b[p + 3] == 47 and b[p + 7] == 47:
            month = _month(b, p + 4, e)
            if month and digits(b, p + 8, e) == 4 and b[p + 12] == 58:
                seconds, fraction, end = _clock(b, p + 13, e)
                if end:
                    zone = _zone(b, end, e)
                    return _instant(
                        _number(b, p + 8, 4), month, _number(b, p + 1, 2), seconds - zone, fraction
                    )
    return NIL
