"""Canonical bytes, version 6: a line of text with its variable parts replaced by typed placeholders.

Owns: the grammar below, its compiled scanner, and the 64-bit hash of a canonical line. Must not know: OTLP,
streams, detection. The scanner is in `scanner.py`, what it matches in `mask_times.py`, `masks.py`,
`results.py`, `routes.py` and `secrets.py`; the same grammar written with regular expressions is the oracle in
`tests/unit/signals/oracle.py`.

A change in what any input yields is a new `CANONICAL_VERSION`, because baselines hold canonical bytes.

1. Cut: at most `LINE_BYTES_MAX` bytes of input; the chunk (step 3) that a cut falls into goes with it, since
   half an address or a key has no form any more. A cut line ends with `<cut>`.
2. Clean: each byte outside valid UTF-8 becomes `?`, each run of line breaks one break, which is written `⏎`,
   each other run of spaces and control characters one space; none at either end.
3. Chunks: bytes between delimiters (space, break, quotes, brackets, `,` `;` `=` `|` and the backquote), which
   stay. Inside a chunk words are runs of letters, digits, `_` and non-ASCII bytes.
4. At the beginning of a word, the first that matches: `<ts>` (also over spaces), `<url>` (`word://…`),
   `<jwt>`, `<b64>` (32 bytes and more), `<host>` and `<ip>` (both with their port), `<uuid>`, `<mac>`, IPv6
   as `<ip>`. An `<email>` anywhere in the chunk comes before these.
5. Else the parts of a word between `_`: `<num>` for a number (with sign, decimals, exponent), `<hex>` for
   `0x…` or 8 and more mixed hexadecimal digits, `<id>` where letters and digits alternate three times and
   more, else each run of digits `<num>`. So `task_2008_m_0001` becomes `task_<num>_m_<num>` and
   `15ms` becomes `<num>ms`.
   The magnitudes of a line's first eight numbers are kept beside it (`magnitudes.py`).
6. What a number says where it names a result stays: up to 4 digits after `status`, `code`, `errno`, `exit`,
   `signal` or `response`; three digits after `HTTP/1.1 ` or after a closing quote, as in access logs.
7. What follows the third `/` of a path is `<path>`; in a chunk after an HTTP method in capitals and one space
   (`GET /a/b/c/d/e`) what follows the fifth, so that routes stay distinct. A query is `?<query>`.
8. Secrets (`password=…`, `token: …`, `Authorization: …`, `Bearer …`, keys of known services by their form,
   PEM blocks of keys) become `<secret>`.

Which digit stands somewhere matters in few places. `shapes.py` lists them, and is to be told of another one:
of lines that differ in other digits it has only one made canonical.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.signals import (
    chars,
    kernel,
    magnitudes,
    marks,
    mask_times,
    masks,
    redaction,
    results,
    routes,
    scanner,
)
from driftlock.signals import clean as cleaning
from driftlock.signals import secrets as secret_forms
from driftlock.signals.batch import Lines
from driftlock.signals.chars import eight
from driftlock.signals.clean import clean, cut_end, is_clean
from driftlock.signals.kernel import entry, inner, pointer, readonly, sources
from driftlock.signals.magnitudes import NO_PLACE, NUMBERS_MAX, SIZES, Places, begin, keep_places, packed
from driftlock.signals.marks import M_CUT, MARKS, put
from driftlock.signals.scanner import ZERO, mask_line

__all__ = ["CANONICAL_VERSION", "LINE_BYTES_MAX", "MARKS", "canonicalise", "hash_lines", "with_endings"]

CANONICAL_VERSION = 6
LINE_BYTES_MAX = 4096
# Worst growth: one byte and a line break become `<num>` and the three bytes of the mark.
GROWTH_MAX = 5
LINE_SLACK_BYTES = 64


def canonicalise(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    *,
    secrets: bool = True,
) -> Lines:
    """The canonical line of each `buffer[starts[i]:ends[i]]`, in order. See the module for the grammar.

    Without `secrets`, step 8 is left out.
    """
    return _made(buffer, starts, ends, secrets, np.empty((0, 2 * NUMBERS_MAX), np.int16))


def canonicalise_with_places(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    *,
    secrets: bool = True,
) -> tuple[Lines, Places]:
    """The same, and where each line's numbers are (`magnitudes.sizes_at`), with which other lines of the same
    form have theirs read. Of a line that is not clean, or long, the first place is `NO_PLACE` - 1: unknown.
    """
    places = np.empty((len(starts), 2 * NUMBERS_MAX), np.int16)
    return _made(buffer, starts, ends, secrets, places), places


def _made(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    secrets: bool,
    places: Places,
) -> Lines:
    assert len(starts) == len(ends)
    if len(starts):
        assert int(starts.min()) >= 0
        assert int(ends.max()) <= len(buffer)
    lengths = np.minimum(np.maximum(ends - starts, 0), LINE_BYTES_MAX)
    out = np.empty(int(lengths.sum()) * GROWTH_MAX + LINE_SLACK_BYTES * (len(starts) + 1), dtype=np.uint8)
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    numbers = np.empty(len(starts), dtype=np.uint32)
    columns = readonly(buffer), readonly(starts), readonly(ends)
    _canonical_lines(*columns, secrets, out, offsets, numbers, places)
    return Lines(out[: offsets[-1]].copy(), offsets, numbers)


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
    return Lines(out, offsets, lines.numbers)


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


def _line_loop(made_of: int) -> Any:
    @entry
    def _canonical_lines(buffer, starts, ends, hide, out_array, offsets, numbers, places):  # type: ignore[no-untyped-def]
        assert made_of >= 0  # closed over, so that the cache knows which sources made the kernel
        line_array = np.empty(LINE_BYTES_MAX * 3 + 8, dtype=np.uint8)
        size_array = np.empty(SIZES, dtype=np.int64)
        b, line, out, sizes = pointer(buffer), pointer(line_array), pointer(out_array), pointer(size_array)
        o = ZERO
        for i in range(len(starts)):
            start, end = starts[i], ends[i]
            cut = end - start > LINE_BYTES_MAX
            if cut:
                end = cut_end(b, start, start + LINE_BYTES_MAX)
            begin(sizes)
            clean_already = is_clean(b, start, end)
            if clean_already:
                o = mask_line(b, start, end, hide, out, o, sizes)
            else:
                o = mask_line(line, ZERO, clean(b, start, end, line), hide, out, o, sizes)
            numbers[i] = packed(sizes)
            if len(places):
                keep_places(sizes, start, places[i])
                if cut or not clean_already:
                    places[i, 0] = NO_PLACE - 1
            if cut:
                o = put(out, o, M_CUT)
            offsets[i + 1] = o

    return _canonical_lines


MADE_OF = (
    chars,
    cleaning,
    kernel,
    magnitudes,
    marks,
    mask_times,
    masks,
    redaction,
    results,
    routes,
    scanner,
    secret_forms,
)
_canonical_lines = _line_loop(sources(*MADE_OF))


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
        h = _stir(h, eight(b, p))
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
