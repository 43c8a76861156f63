"""Canonical bytes, version 1: a line of text with its variable parts replaced by typed placeholders.

Owns: the grammar below, its compiled scanner, and the 64-bit hash of a canonical line. Must not know: OTLP,
streams, detection. The matchers are in `masks.py`, secrets in `secrets.py`; the same grammar written with
regular expressions is the oracle in `tests/unit/signals/oracle.py`.

A change in what any input yields is a new `CANONICAL_VERSION`, because baselines hold canonical bytes.

1. Cut: at most `LINE_BYTES_MAX` bytes of input, on a character's boundary; a cut line ends with `<cut>`.
2. Clean: each byte outside valid UTF-8 becomes `?`, each run of line breaks becomes `⏎`, each other run of
   spaces and control characters one space; none at either end.
3. Chunks: bytes between delimiters (space, quotes, brackets, `,` `;` `=` `|` and the backquote), which stay.
   Inside a chunk words are runs of letters, digits, `_` and non-ASCII bytes.
4. At the beginning of a word, the first that matches: `<ts>` (also over spaces), `<url>` (`word://…`),
   `<jwt>`, `<b64>` (32 bytes and more), `<host>` and `<ip>` (both with their port), `<uuid>`, `<mac>`, IPv6
   as `<ip>`. An `<email>` anywhere in the chunk comes before these.
5. Else the parts of a word between `_`: `<num>` for a number (sign, decimals, thousands, exponent; a unit of
   up to 4 bytes stays), `<hex>` for `0x…` or 8 and more mixed hexadecimal digits, `<id>` where letters and
   digits alternate three times and more, else each run of digits `<num>`. So `task_2008_m_0001` becomes
   `task_<num>_m_<num>`.
6. What a number says where it names a result stays: up to 4 digits after `status`, `code`, `errno`, `exit`
   or `signal`, after `HTTP/1.1 `, and three digits after a closing quote, as in access logs.
7. Paths keep their first segments; from the fifth `/` of a chunk on they are `<path>`, a query `?<query>`.
8. Secrets (`password=…`, `token: …`, `Authorization: …`, `Bearer …`, AWS keys) become `<secret>`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftlock.signals.batch import Lines
from driftlock.signals.kernel import entry, inner, once, pointer, readonly
from driftlock.signals.masks import (
    ACTIVE,
    ALNUM,
    AT,
    BASE64,
    BASE64_BYTES_MIN,
    CLASS,
    DELIMITER,
    DIGIT,
    DOMAIN,
    DOT,
    HEX,
    LETTER,
    NOT_DIGIT,
    PATH,
    UNDER,
    URL_SCHEME_BYTES_MAX,
    WORD,
    base64_end,
    digit_timestamp,
    digits,
    email_at,
    ends_word,
    host_end,
    ip4_end,
    ip6_end,
    jwt_end,
    letter_timestamp,
    mac_end,
    port_end,
    url_end,
    uuid_end,
)
from driftlock.signals.secrets import AWS_KEY_BYTES, aws_key_end, may_announce, secret_span, suffixes

CANONICAL_VERSION = 1
LINE_BYTES_MAX = 4096
PATH_SEGMENTS_MAX = 4
KEPT_DIGITS_MAX = 4
HEX_BYTES_MIN = 8
ID_CHANGES_MIN = 3
ID_BYTES_MIN = 20
# Up to here a chunk of letters cannot be a MAC address, a UUID or a key id.
PLAIN_BYTES_MAX = 16
RESULT_GAP_BYTES_MAX = 4
ZERO, ONE = np.int64(0), np.int64(1)  # typed: a literal argument makes Numba compile a function again
# Worst growth: one byte and a line break become `<num>` and the three bytes of the mark.
GROWTH_MAX = 5
LINE_SLACK_BYTES = 64

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
    " ",
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
    M_SPACE,
) = (np.int64(number) for number in range(len(MARKS)))
_MARK_SIZES = np.array([len(mark.encode()) for mark in MARKS])
_MARK_WORDS = np.array([int.from_bytes(mark.encode().ljust(8, b"\0"), "little") for mark in MARKS], np.uint64)

_RESULTS = suffixes(("status", "code", "statuscode", "errno", "exit", "signal", "response"))
_GAP = np.zeros(256, dtype=np.bool_)
_GAP[list(b" :=\"'(\\")] = True


def canonicalise(
    buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> Lines:
    """The canonical line of each `buffer[starts[i]:ends[i]]`, in order. See the module for the grammar."""
    assert len(starts) == len(ends)
    if len(starts):
        assert int(starts.min()) >= 0
        assert int(ends.max()) <= len(buffer)
    lengths = np.minimum(np.maximum(ends - starts, 0), LINE_BYTES_MAX)
    out = np.empty(int(lengths.sum()) * GROWTH_MAX + LINE_SLACK_BYTES * (len(starts) + 1), dtype=np.uint8)
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    _canonical_lines(readonly(buffer), readonly(starts), readonly(ends), out, offsets)
    return Lines(out[: offsets[-1]].copy(), offsets)


def hash_lines(lines: Lines) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each line, never 0, the same on every platform."""
    hashes = np.empty(len(lines), dtype=np.uint64)
    _hash_lines(readonly(lines.buffer), readonly(lines.offsets), hashes)
    return hashes


def with_endings(lines: Lines, endings: list[bytes], which: npt.NDArray[np.int64]) -> Lines:
    """Each line with `endings[which[i]]` behind it: for words that are canonical already."""
    sizes = np.array([0, *map(len, endings)], dtype=np.int64)
    out = np.empty(len(lines.buffer) + int(sizes[1:][which].sum()), dtype=np.uint8)
    offsets = np.zeros(len(lines) + 1, dtype=np.int64)
    words = np.frombuffer(b"".join(endings), dtype=np.uint8)
    _append(
        readonly(lines.buffer),
        readonly(lines.offsets),
        readonly(words),
        np.cumsum(sizes),
        which,
        out,
        offsets,
    )
    return Lines(out, offsets)


@entry
def _append(buffer, bounds, words, word_bounds, which, out, offsets):  # type: ignore[no-untyped-def]
    o = 0
    for i in range(len(which)):
        for p in range(bounds[i], bounds[i + 1]):
            out[o] = buffer[p]
            o += 1
        for p in range(word_bounds[which[i]], word_bounds[which[i] + 1]):
            out[o] = words[p]
            o += 1
        offsets[i + 1] = o


@entry
def _canonical_lines(buffer, starts, ends, out_array, offsets):  # type: ignore[no-untyped-def]
    line_array = np.empty(LINE_BYTES_MAX * 3 + 8, dtype=np.uint8)
    b, line, out = pointer(buffer), pointer(line_array), pointer(out_array)
    o = ZERO
    for i in range(len(starts)):
        start, end = starts[i], ends[i]
        cut = end - start > LINE_BYTES_MAX
        if cut:
            end = start + LINE_BYTES_MAX
            while end > start + LINE_BYTES_MAX - 3 and b[end] & 0xC0 == 0x80:
                end -= 1
        if _is_clean(b, start, end):
            o = _mask(b, start, end, out, o)
        else:
            o = _mask(line, ZERO, _clean(b, start, end, line), out, o)
        if cut:
            o = _put(out, o, M_CUT)
        offsets[i + 1] = o


# ---- cleaning


@once
def _is_clean(b, k, e):  # type: ignore[no-untyped-def]
    if k == e:
        return True
    odd = np.uint8((b[k] == 32) | (b[e - 1] == 32) | (np.uint8(b[e - 1] - 32) >= 95))
    for p in range(k, e - 1):
        # Without branches, so that it becomes vector code. All but 32 to 126 wrap to 95 and more.
        odd |= np.uint8((np.uint8(b[p] - 32) >= 95) | ((b[p] | b[p + 1]) == 32))
    return odd == 0


@inner
def _clean(b, k, e, out):  # type: ignore[no-untyped-def]
    """Write the clean form of b[k:e] to out; its size."""
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
                o = _put(out, o, M_BREAK if breaks else M_SPACE)
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


# ---- masking


@inner
def _put(out, o, mark):  # type: ignore[no-untyped-def]
    # Eight bytes at once: what is written beyond the mark is overwritten by what follows.
    word = _MARK_WORDS[mark]
    for p in range(8):
        out[o + p] = np.uint8(word >> np.uint64(8 * p))
    return o + _MARK_SIZES[mark]


@inner
def _copy(b, k, e, out, o):  # type: ignore[no-untyped-def]
    for p in range(k, e):
        out[o] = b[p]
        o += 1
    return o


@inner
def _mask(b, start, n, out, o):  # type: ignore[no-untyped-def]
    """Write the masked form of the clean line b[start:n] to out[o:]; where it ends."""
    k = start
    while k < n:
        if CLASS[b[k]] & DELIMITER:
            out[o] = b[k]
            o += 1
            k += 1
            continue
        e = k
        seen = np.uint16(0)
        while e < n:
            kind = CLASS[b[e]]
            if kind & DELIMITER:
                break
            # Copied on the chance that it stays: most chunks do.
            out[o + e - k] = b[e]
            seen |= kind
            e += 1
        size = e - k
        if not seen & NOT_DIGIT and size > KEPT_DIGITS_MAX and size != 8:
            # Only digits, and too many or too few to begin a timestamp or to name a result.
            k, o = e, _put(out, o, M_NUM)
            continue
        stop = e
        if seen & ACTIVE:
            while stop > k and (b[stop - 1] == 58 or b[stop - 1] == 46):
                stop -= 1
            if stop < e:
                seen = _kinds(b, k, stop)
        if seen & ACTIVE or stop - k > PLAIN_BYTES_MAX:
            k, o = _mask_chunk(b, start, k, e, n, seen, out, o)
        else:
            k, o = _plain_chunk(b, k, stop, n, out, o)
    return o


@once
def _kinds(b, k, e):  # type: ignore[no-untyped-def]
    seen = np.uint16(0)
    for p in range(k, e):
        seen |= CLASS[b[p]]
    return seen


@once
def _plain_chunk(b, k, e, n, out, o):  # type: ignore[no-untyped-def]
    """A chunk without digits and inner `.`, `/`, `:`, `@`: what the full scan does to it, quicker.

    It is at out[o:] already.
    """
    if e - k == 3 and b[k] < 97:
        end = letter_timestamp(b, k, n)
        if end:
            return end, _put(out, o, M_TS)
    o += e - k
    if may_announce(b, k, e, n):
        value, end = secret_span(b, k, e, n)
        if end:
            o = _copy(b, e, value, out, o)
            return end, _put(out, o, M_SECRET)
    p = e
    while p < n and (b[p] == 58 or b[p] == 46):
        out[o] = b[p]
        o += 1
        p += 1
    return p, o


@once
def _mask_chunk(b, line, chunk, e, n, seen, out, o):  # type: ignore[no-untyped-def]
    """The full scan of the chunk [chunk, e). A match may end beyond it."""
    p = chunk
    slashes = 0
    mail, mail_end = email_at(b, p, e) if seen & AT else (0, 0)
    while p < e:
        if mail_end and p >= mail:
            if p == mail:
                o = _put(out, o, M_EMAIL)
                p = mail_end
                slashes = 0
            mail, mail_end = email_at(b, p, e)
            continue
        c = b[p]
        kind = CLASS[c]
        if kind & WORD:
            p, o = _word(b, line, chunk, p, e, n, ZERO, seen, out, o)
        elif c == 47:
            slashes += 1
            p, o = _slash(b, p, e, slashes, out, o)
        elif c == 63 and slashes and p + 1 < e and CLASS[b[p + 1]] & WORD:
            o = _put(out, o, M_QUERY)
            p = url_end(b, p + 1, n)
        else:
            out[o] = c
            o += 1
            p += 1
            if not kind & PATH:
                slashes = 0
            if (c == 45 or c == 43) and p < e and CLASS[b[p]] & DIGIT:
                if p - 1 == chunk or not CLASS[b[p - 2]] & ALNUM:
                    p, o = _word(b, line, chunk, p, e, n, ONE, seen, out, o)
            elif c == 58 and p < e and b[p] == 58 and (p - 1 == chunk or not CLASS[b[p - 2]] & WORD):
                end = ip6_end(b, p - 1, n)
                if end:
                    p, o = end, _put(out, o - 1, M_IP)
    return p, o


@inner
def _slash(b, p, e, slashes, out, o):  # type: ignore[no-untyped-def]
    out[o] = 47
    o += 1
    p += 1
    if slashes <= PATH_SEGMENTS_MAX or p >= e or not CLASS[b[p]] & PATH:
        return p, o
    q = p
    while q < e and (CLASS[b[q]] & PATH or b[q] == 47):
        q += 1
    while q > p and b[q - 1] == 46:
        q -= 1
    return (q, _put(out, o, M_PATH)) if q > p else (p, o)


@inner
def _word(b, line, chunk, p, e, n, sign, seen, out, o):  # type: ignore[no-untyped-def]
    """What begins with the word at p. `sign` is 1 when the byte before it, already written, may be one."""
    we = p
    kinds = np.uint16(0)
    while we < e and CLASS[b[we]] & WORD:
        kinds |= CLASS[b[we]]
        we += 1
    before = b[p - 1] if p > chunk else np.uint8(32)
    mark = b[we] if we < n else np.uint8(32)
    end, o = _run(b, chunk, p, we, e, n, before, seen, out, o)
    if end:
        return end, o
    if kinds & DIGIT or mark == 45 or mark == 58:
        end, o = _typed(b, p, we, n, mark, out, o)
        if end:
            return end, o
    if not kinds & DIGIT:
        o = _copy(b, p, we, out, o)
        p = we
    while p < we:
        if CLASS[b[p]] & UNDER:
            out[o] = 95
            o += 1
            p += 1
        else:
            s = p + 1
            while s < we and not CLASS[b[s]] & UNDER:
                s += 1
            p, o = _part(b, line, p, s, we, n, sign, out, o)
        sign = 0
    if p == we and may_announce(b, chunk, we, n):
        value, end = secret_span(b, chunk, we, n)
        if end:
            o = _copy(b, we, value, out, o)
            return end, _put(out, o, M_SECRET)
    return p, o


@once
def _run(b, chunk, p, we, e, n, before, seen, out, o):  # type: ignore[no-untyped-def]
    """A placeholder for a run with an alphabet of its own that begins here, else (0, o)."""
    if p == chunk and we - p == 3 and b[p] < 97:
        end = letter_timestamp(b, p, n)
        if end:
            return end, _put(out, o, M_TS)
    if not BASE64[before]:
        if b[p] == 101 and before != 46:
            end = jwt_end(b, p, n)
            if end:
                return end, _put(out, o, M_JWT)
        if e - p >= BASE64_BYTES_MIN:
            end = base64_end(b, p, n)
            if end:
                return end, _put(out, o, M_B64)
    if seen & DOT and not DOMAIN[before]:
        end = host_end(b, p, e)
        if end:
            return port_end(b, end, n), _put(out, o, M_HOST)
    if we - p == AWS_KEY_BYTES:
        end = aws_key_end(b, p, we)
        if end:
            return end, _put(out, o, M_SECRET)
    return ZERO, o


@once
def _typed(b, p, we, n, mark, out, o):  # type: ignore[no-untyped-def]
    """A timestamp, URL, address or UUID that begins with the word [p, we), else (0, o)."""
    size = we - p
    kind = CLASS[b[p]]
    if kind & DIGIT:
        end = digit_timestamp(b, p, n)
        if end:
            return end, _put(out, o, M_TS)
        if mark == 46 and size <= 3:
            end = ip4_end(b, p, n)
            if end:
                return end, _put(out, o, M_IP)
    scheme = mark == 58 and kind & LETTER and size <= URL_SCHEME_BYTES_MAX and we + 3 <= n
    if scheme and b[we + 1] == 47 and b[we + 2] == 47:
        return url_end(b, p, n), _put(out, o, M_URL)
    if not kind & HEX or (mark != 45 and mark != 58):
        return ZERO, o
    if size == 8 and mark == 45:
        end = uuid_end(b, p, n)
        if end:
            return end, _put(out, o, M_UUID)
    if size == 2:
        end = mac_end(b, p, n)
        if end:
            return end, _put(out, o, M_MAC)
    if mark == 58 and size <= 4:
        end = ip6_end(b, p, n)
        if end:
            return end, _put(out, o, M_IP)
    return ZERO, o


@inner
def _part(b, line, p, s, we, n, sign, out, o):  # type: ignore[no-untyped-def]
    """The part [p, s) of a word that goes on to we: letters and digits without `_`."""
    if CLASS[b[p]] & DIGIT:
        count = digits(b, p, s)
        end = _exponent_end(b, p + count, n) if s == we else 0
        if end:
            return end, _put(out, o - sign, M_NUM)
        if count == s - p:
            if s == we:
                return _number(b, line, p, s, n, sign, out, o)
            return s, _put(out, o - sign, M_NUM)
    numbers = changes = upper = lower = 0
    only_hex = True
    before = CLASS[b[p]] & DIGIT
    for q in range(p, s):
        c = b[q]
        kind = CLASS[c]
        numbers += kind & DIGIT
        changes += kind & DIGIT != before
        before = kind & DIGIT
        only_hex &= kind & HEX != 0
        upper += 65 <= c <= 90
        lower += 97 <= c <= 122
    if numbers == 0:
        return s, _copy(b, p, s, out, o)
    size = s - p
    if (only_hex and size >= HEX_BYTES_MIN) or _is_0x(b, p, s):
        return s, _put(out, o, M_HEX)
    if changes >= ID_CHANGES_MIN or (size >= ID_BYTES_MIN and upper and lower):
        return s, _put(out, o, M_ID)
    return s, _digit_runs(b, p, s, out, o)


@inner
def _digit_runs(b, p, s, out, o):  # type: ignore[no-untyped-def]
    while p < s:
        if CLASS[b[p]] & DIGIT:
            p += digits(b, p, s)
            o = _put(out, o, M_NUM)
        else:
            out[o] = b[p]
            o += 1
            p += 1
    return o


@inner
def _is_0x(b, p, s):  # type: ignore[no-untyped-def]
    if s - p < 3 or b[p] != 48 or b[p + 1] | 32 != 120:
        return False
    only_hex = True
    for q in range(p + 2, s):
        only_hex &= CLASS[b[q]] & HEX != 0
    return only_hex


@inner
def _exponent_end(b, k, n):  # type: ignore[no-untyped-def]
    if k >= n or b[k] | 32 != 101:
        return 0
    p = k + 1
    if p < n and (b[p] == 43 or b[p] == 45):
        p += 1
    count = digits(b, p, n)
    return p + count if count and ends_word(b, p + count, n) else 0


@once
def _number(b, line, p, e, n, sign, out, o):  # type: ignore[no-untyped-def]
    """Digits [p, e) that end a word, and the decimals that follow."""
    end = e
    while end + 1 < n and b[end] == 46 and CLASS[b[end + 1]] & DIGIT:
        end += 1
        end += digits(b, end, n)
    if end == e and e - p <= KEPT_DIGITS_MAX and _names_result(b, line, p - sign, e, n):
        return e, _copy(b, p, e, out, o)
    exponent = _exponent_end(b, end, n) if end > e else 0
    return max(end, exponent), _put(out, o - sign, M_NUM)


# ---- numbers that stay


@inner
def _names_result(b, line, p, e, n):  # type: ignore[no-untyped-def]
    """Whether the number [p, e) says how something ended: a status, an error number, an exit code."""
    if p - line < 2:
        return False
    if e - p == 3 and b[p - 1] == 32 and (e == n or b[e] == 32):
        if b[p - 2] == 34 and 49 <= b[p] <= 53:
            return True
        if _http_version_before(b, line, p - 1):
            return True
    q = p
    while q > line and p - q < RESULT_GAP_BYTES_MAX and _GAP[b[q - 1]]:
        q -= 1
    if q == p:
        return False
    for row in range(len(_RESULTS)):
        start = _name_start(b, line, q, row)
        if start >= 0 and (start == line or not CLASS[b[start - 1]] & LETTER or 65 <= b[start] <= 90):
            return True
    return False


@inner
def _http_version_before(b, line, p):  # type: ignore[no-untyped-def]
    q = p
    while q > line and p - q < 3 and (CLASS[b[q - 1]] & DIGIT or b[q - 1] == 46):
        q -= 1
    return (
        q < p
        and q - line >= 5
        and b[q - 1] == 47
        and b[q - 2] == 80
        and b[q - 3] == 84
        and b[q - 4] == 84
        and b[q - 5] == 72
    )


@inner
def _name_start(b, line, e, row):  # type: ignore[no-untyped-def]
    p = e
    for i in range(_RESULTS.shape[1]):
        want = _RESULTS[row, i]
        if want == 0:
            break
        p -= 1
        if p < line or b[p] | 32 != want:
            return -1
    return p


# ---- hashing


@entry
def _hash_lines(buffer, offsets, hashes):  # type: ignore[no-untyped-def]
    b = pointer(buffer)
    for i in range(len(offsets) - 1):
        hashes[i] = _hash(b, offsets[i], offsets[i + 1])


@inner
def _hash(b, k, e):  # type: ignore[no-untyped-def]
    """FNV-1a's shape over eight bytes at a time, with a multiply-shift finish (constants of MurmurHash3)."""
    h = np.uint64(0xCBF29CE484222325) ^ (np.uint64(e - k) * np.uint64(0x9E3779B97F4A7C15))
    p = k
    while p + 8 <= e:
        h = _stir(h, _eight(b, p))
        p += 8
    last = np.uint64(0)
    for q in range(e - 1, p - 1, -1):
        last = (last << np.uint64(8)) | np.uint64(b[q])
    h = _stir(h, last)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h if h != 0 else np.uint64(1)


@inner
def _stir(h, word):  # type: ignore[no-untyped-def]
    h = (h ^ word) * np.uint64(0xFF51AFD7ED558CCD)
    return h ^ (h >> np.uint64(32))


@inner
def _eight(b, p):  # type: ignore[no-untyped-def]
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(b[p + i]) << np.uint64(8 * i)
    return word
