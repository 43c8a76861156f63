"""The scanner of the canonical form: one pass over a clean line, chunk by chunk.

Owns: steps 3 to 8 of the grammar in `canonical.py`, and the order in which matchers are tried. Must not know:
where lines come from. The functions write to `out` from `o` on and return where they stopped in both; the
magnitude of each number goes to `sizes` (`magnitudes.py`).
"""

from __future__ import annotations

import numpy as np

from driftlock.signals.chars import (
    ACTIVE,
    ALNUM,
    AT,
    BASE64,
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
    WORD,
    digits,
    ends_word,
)
from driftlock.signals.kernel import inner, once
from driftlock.signals.magnitudes import put_number
from driftlock.signals.marks import (
    M_B64,
    M_BREAK,
    M_EMAIL,
    M_HEX,
    M_HOST,
    M_ID,
    M_IP,
    M_JWT,
    M_MAC,
    M_PATH,
    M_QUERY,
    M_SECRET,
    M_TS,
    M_URL,
    M_UUID,
    copy,
    put,
)
from driftlock.signals.mask_times import digit_timestamp, letter_timestamp
from driftlock.signals.masks import (
    BASE64_BYTES_MIN,
    URL_SCHEME_BYTES_MAX,
    base64_end,
    email_at,
    host_end,
    ip4_end,
    ip6_end,
    jwt_end,
    mac_end,
    port_end,
    url_end,
    uuid_end,
)
from driftlock.signals.results import names_result
from driftlock.signals.routes import stays
from driftlock.signals.secrets import (
    AWS_KEY_BYTES,
    aws_key_end,
    known_key_end,
    may_announce,
    pem_end,
    secret_span,
)

KEPT_DIGITS_MAX = 4
HEX_BYTES_MIN = 8
ID_CHANGES_MIN = 3
ID_BYTES_MIN = 20
# Up to here a chunk of letters cannot be a MAC address, a UUID or a key id.
PLAIN_BYTES_MAX = 16
ZERO, ONE = np.int64(0), np.int64(1)  # typed: a literal argument makes Numba compile a function again


@inner
def mask_line(b, start, n, hide, out, o, sizes):  # type: ignore[no-untyped-def]
    """Write the masked form of the clean line b[start:n] to out[o:]; where it ends. `hide`: secrets too."""
    k = start
    while k < n:
        if CLASS[b[k]] & DELIMITER:
            if b[k] == 10:
                o = put(out, o, M_BREAK)
            else:
                out[o] = b[k]
                o += 1
            k += 1
            continue
        if hide and b[k] == 45:
            end = pem_end(b, k, n)
            if end:
                k, o = end, put(out, o, M_SECRET)
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
            o = put_number(b, k, e, out, o, sizes)
            k = e
            continue
        stop = e
        if seen & ACTIVE:
            while stop > k and (b[stop - 1] == 58 or b[stop - 1] == 46):
                stop -= 1
            if stop < e:
                seen = _kinds(b, k, stop)
        if seen & ACTIVE or stop - k > PLAIN_BYTES_MAX:
            k, o = _mask_chunk(b, start, k, e, n, seen, hide, out, o, sizes)
        else:
            k, o = _plain_chunk(b, k, stop, n, hide, out, o)
    return o


@once
def _kinds(b, k, e):  # type: ignore[no-untyped-def]
    seen = np.uint16(0)
    for p in range(k, e):
        seen |= CLASS[b[p]]
    return seen


@once
def _plain_chunk(b, k, e, n, hide, out, o):  # type: ignore[no-untyped-def]
    """A chunk without digits and inner `.`, `/`, `:`, `@`: what the full scan does to it, quicker.

    It is at out[o:] already.
    """
    if e - k == 3 and b[k] < 97:
        end = letter_timestamp(b, k, n)
        if end:
            return end, put(out, o, M_TS)
    o += e - k
    if hide and may_announce(b, k, e, n):
        value, end = secret_span(b, k, e, n)
        if end:
            o = copy(b, e, value, out, o)
            return end, put(out, o, M_SECRET)
    p = e
    while p < n and (b[p] == 58 or b[p] == 46):
        out[o] = b[p]
        o += 1
        p += 1
    return p, o


@once
def _mask_chunk(b, line, chunk, e, n, seen, hide, out, o, sizes):  # type: ignore[no-untyped-def]
    """The full scan of the chunk [chunk, e). A match may end beyond it."""
    p = chunk
    slashes = 0
    mail, mail_end = email_at(b, p, e) if seen & AT else (0, 0)
    while p < e:
        if mail_end and p >= mail:
            if p == mail:
                o = put(out, o, M_EMAIL)
                p = mail_end
                slashes = 0
            mail, mail_end = email_at(b, p, e)
            continue
        c = b[p]
        kind = CLASS[c]
        if kind & WORD:
            p, o = _word(b, line, chunk, p, e, n, ZERO, seen, hide, out, o, sizes)
        elif c == 47:
            slashes += 1
            p, o = _slash(b, line, chunk, p, e, slashes, out, o)
        elif c == 63 and slashes and p + 1 < e and CLASS[b[p + 1]] & WORD:
            o = put(out, o, M_QUERY)
            p = url_end(b, p + 1, n)
        else:
            if hide and c == 45 and _after_mark(b, chunk, p):
                end = pem_end(b, p, n)
                if end:
                    return end, put(out, o, M_SECRET)
            out[o] = c
            o += 1
            p += 1
            if not kind & PATH:
                slashes = 0
            if (c == 45 or c == 43) and p < e and CLASS[b[p]] & DIGIT:
                if p - 1 == chunk or not CLASS[b[p - 2]] & ALNUM:
                    p, o = _word(b, line, chunk, p, e, n, ONE, seen, hide, out, o, sizes)
            elif c == 58 and p < e and b[p] == 58 and (p - 1 == chunk or not CLASS[b[p - 2]] & WORD):
                end = ip6_end(b, p - 1, n)
                if end:
                    p, o = end, put(out, o - 1, M_IP)
    return p, o


@inner
def _after_mark(b, chunk, p):  # type: ignore[no-untyped-def]
    """Whether `:` or an escaped line break (`\\n`) stands before p: there a PEM block may begin too."""
    if p > chunk and b[p - 1] == 58:
        return True
    return p - chunk > 1 and b[p - 1] == 110 and b[p - 2] == 92


@inner
def _slash(b, line, chunk, p, e, slashes, out, o):  # type: ignore[no-untyped-def]
    out[o] = 47
    o += 1
    p += 1
    if p >= e or not CLASS[b[p]] & PATH or stays(b, line, chunk, slashes):
        return p, o
    q = p
    while q < e and (CLASS[b[q]] & PATH or b[q] == 47):
        q += 1
    while q > p and b[q - 1] == 46:
        q -= 1
    return (q, put(out, o, M_PATH)) if q > p else (p, o)


@inner
def _word(b, line, chunk, p, e, n, sign, seen, hide, out, o, sizes):  # type: ignore[no-untyped-def]
    """What begins with the word at p. `sign` is 1 when the byte before it, already written, may be one."""
    we = p
    kinds = np.uint16(0)
    while we < e and CLASS[b[we]] & WORD:
        kinds |= CLASS[b[we]]
        we += 1
    before = b[p - 1] if p > chunk else np.uint8(32)
    mark = b[we] if we < n else np.uint8(32)
    end, o = _run(b, chunk, p, we, e, n, before, seen, hide, out, o)
    if end:
        return end, o
    if kinds & DIGIT or mark == 45 or mark == 58:
        end, o = _typed(b, p, we, n, mark, out, o)
        if end:
            return end, o
    if not kinds & DIGIT:
        o = copy(b, p, we, out, o)
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
            p, o = _part(b, line, p, s, we, n, sign, out, o, sizes)
        sign = 0
    if hide and p == we and may_announce(b, chunk, we, n):
        value, end = secret_span(b, chunk, we, n)
        if end:
            o = copy(b, we, value, out, o)
            return end, put(out, o, M_SECRET)
    return p, o


@once
def _run(b, chunk, p, we, e, n, before, seen, hide, out, o):  # type: ignore[no-untyped-def]
    """A placeholder for a run with an alphabet of its own that begins here, else (0, o)."""
    if p == chunk and we - p == 3 and b[p] < 97:
        end = letter_timestamp(b, p, n)
        if end:
            return end, put(out, o, M_TS)
    begins = not BASE64[before]
    if begins and b[p] == 101 and before != 46:
        end = jwt_end(b, p, n)
        if end:
            return end, put(out, o, M_JWT)
    if hide and (begins or before == 47):  # a key has no `/`, so each segment of a path is a run of its own
        end = known_key_end(b, p, e)
        if end:
            return end, put(out, o, M_SECRET)
    if begins and e - p >= BASE64_BYTES_MIN:
        end = base64_end(b, p, n)
        if end:
            return end, put(out, o, M_B64)
    if seen & DOT and not DOMAIN[before]:
        end = host_end(b, p, e)
        if end:
            return port_end(b, end, n), put(out, o, M_HOST)
    if hide and we - p == AWS_KEY_BYTES:
        end = aws_key_end(b, p, we)
        if end:
            return end, put(out, o, M_SECRET)
    return ZERO, o


@once
def _typed(b, p, we, n, mark, out, o):  # type: ignore[no-untyped-def]
    """A timestamp, URL, address or UUID that begins with the word [p, we), else (0, o)."""
    size = we - p
    kind = CLASS[b[p]]
    if kind & DIGIT:
        end = digit_timestamp(b, p, n)
        if end:
            return end, put(out, o, M_TS)
        if mark == 46 and size <= 3:
            end = ip4_end(b, p, n)
            if end:
                return end, put(out, o, M_IP)
    scheme = mark == 58 and kind & LETTER and size <= URL_SCHEME_BYTES_MAX and we + 3 <= n
    if scheme and b[we + 1] == 47 and b[we + 2] == 47:
        return url_end(b, p, n), put(out, o, M_URL)
    if not kind & HEX or (mark != 45 and mark != 58):
        return ZERO, o
    if size == 8 and mark == 45:
        end = uuid_end(b, p, n)
        if end:
            return end, put(out, o, M_UUID)
    if size == 2:
        end = mac_end(b, p, n)
        if end:
            return end, put(out, o, M_MAC)
    if mark == 58 and size <= 4:
        end = ip6_end(b, p, n)
        if end:
            return end, put(out, o, M_IP)
    return ZERO, o


@inner
def _part(b, line, p, s, we, n, sign, out, o, sizes):  # type: ignore[no-untyped-def]
    """The part [p, s) of a word that goes on to we: letters and digits without `_`."""
    if CLASS[b[p]] & DIGIT:
        count = digits(b, p, s)
        end = _exponent_end(b, p + count, n) if s == we else 0
        if end:
            return end, put_number(b, p, end, out, o - sign, sizes)
        if count == s - p:
            if s == we:
                return _number(b, line, p, s, n, sign, out, o, sizes)
            return s, put_number(b, p, s, out, o - sign, sizes)
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
        return s, copy(b, p, s, out, o)
    size = s - p
    if (only_hex and size >= HEX_BYTES_MIN) or _is_0x(b, p, s):
        return s, put(out, o, M_HEX)
    if changes >= ID_CHANGES_MIN or (size >= ID_BYTES_MIN and upper and lower):
        return s, put(out, o, M_ID)
    return s, _digit_runs(b, p, s, out, o, sizes)


@inner
def _digit_runs(b, p, s, out, o, sizes):  # type: ignore[no-untyped-def]
    while p < s:
        if CLASS[b[p]] & DIGIT:
            end = p + digits(b, p, s)
            o = put_number(b, p, end, out, o, sizes)
            p = end
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
def _number(b, line, p, e, n, sign, out, o, sizes):  # type: ignore[no-untyped-def]
    """Digits [p, e) that end a word, and the decimals that follow."""
    end = e
    while end + 1 < n and b[end] == 46 and CLASS[b[end + 1]] & DIGIT:
        end += 1
        end += digits(b, end, n)
    if end == e and e - p <= KEPT_DIGITS_MAX and names_result(b, line, p - sign, e, n):
        return e, copy(b, p, e, out, o)
    exponent = _exponent_end(b, end, n) if end > e else 0
    end = max(end, exponent)
    return end, put_number(b, p, end, out, o - sign, sizes)
