"""The raw line of a log record, composed by compiled code: the rules of `log_text.py`.

Owns: writing severity, event name, body and attributes as text. Must not know: messages, masking.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals import log_text
from driftlock.signals.chars import names
from driftlock.signals.clean import cut_end
from driftlock.signals.kernel import inner
from driftlock.signals.wire import NIL, fixed64, varint

# Rows of the attribute table: where key and value lie, and what the value is.
KEY, KEY_END, KIND, VALUE, VALUE_END = range(5)
ABSENT, STRING, BOOL, INT, DOUBLE, ARRAY, MAP, BYTES = (np.int64(n) for n in range(8))

SEVERITY_WORDS = names(" ".join(name.decode() for name in log_text.SEVERITIES))
_PROMPTS = names(" ".join(key.decode() for key in log_text.PROMPT_KEYS))
_PROMPT_FIRST = np.zeros(256, dtype=np.bool_)
_PROMPT_FIRST[[key[0] for key in log_text.PROMPT_KEYS]] = True
_WORDS = names("<list> <map> <text> <bytes> <num> <cut> true false")
_LIST, _MAP, _TEXT, _BYTES, _NUMBER, _CUT, _TRUE, _FALSE = (np.int64(n) for n in range(8))
_DOUBLE_SIZES = np.array(log_text.DOUBLE_SIZES)
_BODY_MAX = np.int64(log_text.BODY_BYTES_MAX)
_KEY_MAX = np.int64(log_text.KEY_BYTES_MAX)
_VALUE_MAX = np.int64(log_text.VALUE_BYTES_MAX)
EVENT_MAX = np.int64(log_text.EVENT_BYTES_MAX)
SEVERITY_MAX = np.int64(log_text.SEVERITY_BYTES_MAX)
SEVERITY_NUMBER_MAX = log_text.SEVERITY_NUMBER_MAX
ATTRIBUTES_MAX = log_text.ATTRIBUTES_MAX
_ATTRIBUTES_BYTES_MAX = log_text.ATTRIBUTES_BYTES_MAX


@inner
def write_word(text, o, table, row):  # type: ignore[no-untyped-def]
    i = 0
    while table[row, i]:
        text[o] = table[row, i]
        o += 1
        i += 1
    return o


@inner
def _copy(b, k, e, text, o):  # type: ignore[no-untyped-def]
    for p in range(k, e):
        text[o] = b[p]
        o += 1
    return o


@inner
def _gap(text, o, begin):  # type: ignore[no-untyped-def]
    if o > begin:
        text[o] = 32
        return o + 1
    return o


@inner
def piece(b, k, e, size_max, text, o, begin):  # type: ignore[no-untyped-def]
    if k == e:
        return o
    return _copy(b, k, min(e, k + size_max), text, _gap(text, o, begin))


@inner
def body_text(b, kind, k, e, quiet, text, o, begin):  # type: ignore[no-untyped-def]
    if kind == ABSENT or (kind == STRING and k == e):
        return o
    o = _gap(text, o, begin)
    if kind != STRING:
        return _scalar(b, kind, k, e, text, o)
    if quiet:
        return write_word(text, o, _WORDS, _TEXT)
    if e - k > _BODY_MAX:
        return write_word(text, _copy(b, k, cut_end(b, k, k + _BODY_MAX), text, o), _WORDS, _CUT)
    return _copy(b, k, e, text, o)


@inner
def _scalar(b, kind, k, e, text, o):  # type: ignore[no-untyped-def]
    if kind == STRING:
        return _copy(b, k, e, text, o)
    if kind == INT:
        value, _ = varint(b, k, e)
        return _integer(value, text, o)
    if kind == BOOL:
        value, _ = varint(b, k, e)
        return write_word(text, o, _WORDS, _TRUE if value else _FALSE)
    if kind == ABSENT:
        return o
    if kind == DOUBLE:
        return _double(np.int64(fixed64(b, k)).view(np.float64), text, o)
    word = _LIST if kind == ARRAY else _MAP if kind == MAP else _BYTES
    return write_word(text, o, _WORDS, word)


@inner
def _double(value, text, o):  # type: ignore[no-untyped-def]
    size = abs(value)
    if not size < np.inf:
        return write_word(text, o, _WORDS, _NUMBER)
    if size == 0.0:
        text[o] = 48
        return o + 1
    exponent = np.int64(-4)
    for row in range(len(_DOUBLE_SIZES)):
        exponent += size >= _DOUBLE_SIZES[row]
    text[o], text[o + 1] = 49, 101
    return _integer(exponent, text, o + 2)


@inner
def _integer(value, text, o):  # type: ignore[no-untyped-def]
    if value < 0:
        text[o] = 45
        o += 1
    # Digits of the absolute value, last first, from the negative side: the least int64 has no opposite.
    rest = -value if value > 0 else value
    count = 1
    probe = rest
    while probe < -9:
        probe = _tenth(probe)
        count += 1
    for i in range(count - 1, -1, -1):
        shorter = _tenth(rest)
        text[o + i] = np.uint8(48 - (rest - shorter * 10))
        rest = shorter
    return o + count


@inner
def _tenth(negative):  # type: ignore[no-untyped-def]
    """A number that is not positive, divided by ten toward zero."""
    quotient = negative // 10
    return quotient + 1 if quotient * 10 != negative else quotient


@inner
def attributes_text(b, table, count, text, o, begin):  # type: ignore[no-untyped-def]
    _sort(b, table, count)
    total = NIL
    for row in range(count):
        before = o
        o = _gap(text, o, begin)
        first = o
        key, key_end = table[row, KEY], table[row, KEY_END]
        o = _copy(b, key, min(key_end, key + _KEY_MAX), text, o)
        text[o] = 61
        kind = table[row, KIND]
        if kind == STRING and _is_prompt(b, key, key_end):
            o = write_word(text, o + 1, _WORDS, _TEXT)
        else:
            o = _attribute_value(b, kind, table[row, VALUE], table[row, VALUE_END], text, o + 1)
        total += o - first + 1
        if total > _ATTRIBUTES_BYTES_MAX:
            return before
    return o


@inner
def _is_prompt(b, k, e):  # type: ignore[no-untyped-def]
    """Whether a key begins as one of `PROMPT_KEYS` does."""
    if k == e or not _PROMPT_FIRST[b[k]]:
        return False
    for row in range(len(_PROMPTS)):
        i = 0
        while _PROMPTS[row, i] and k + i < e and b[k + i] == _PROMPTS[row, i]:
            i += 1
        if not _PROMPTS[row, i]:
            return True
    return False


@inner
def _attribute_value(b, kind, k, e, text, o):  # type: ignore[no-untyped-def]
    if kind != STRING:
        return _scalar(b, kind, k, e, text, o)
    if e - k > _VALUE_MAX:
        return write_word(text, o, _WORDS, _TEXT)
    spaced = False
    for p in range(k, e):
        spaced |= b[p] == 32
    if not spaced:
        return _copy(b, k, e, text, o)
    text[o] = 34
    o = _copy(b, k, e, text, o + 1)
    text[o] = 34
    return o + 1


@inner
def _sort(b, table, count):  # type: ignore[no-untyped-def]
    """Insertion sort by key, stable: attributes are few and mostly sorted already."""
    for i in range(1, count):
        j = i
        while j > 0 and _less(b, table, j, j - 1):
            for c in range(5):
                table[j, c], table[j - 1, c] = table[j - 1, c], table[j, c]
            j -= 1


@inner
def _less(b, table, i, j):  # type: ignore[no-untyped-def]
    k, e = table[i, KEY], table[i, KEY_END]
    m, n = table[j, KEY], table[j, KEY_END]
    while k < e and m < n:
        if b[k] != b[m]:
            return b[k] < b[m]
        k += 1
        m += 1
    return k == e and m < n
