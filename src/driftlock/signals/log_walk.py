"""A compiled walk over the wire bytes of an ExportLogsServiceRequest: columns, and a raw line a record.

Owns: the walk. It takes what is plainly valid and usual; at anything else (truncation, a repeated singular
field, a group, invalid UTF-8, a structured body) it gives up, and the caller takes the protobuf library,
which is the judge. What it takes, it reads as that library does. Must not know: masking, stream keys.
The rules for a line are those of `log_text.py`.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals import log_text
from driftlock.signals.kernel import entry, inner, pointer
from driftlock.signals.masks import names
from driftlock.signals.wire import (
    BAD,
    FIXED32,
    FIXED64,
    LENGTH,
    NIL,
    VARINT,
    fixed64,
    is_utf8,
    skip,
    span,
    tag,
    varint,
)

# Enough room for the raw line of any record: see `decode_logs`.
TEXT_GROWTH_MAX = 3
TEXT_SLACK_BYTES = 64

# Rows of the attribute table: where key and value lie, and what the value is.
KEY, KEY_END, KIND, VALUE, VALUE_END = range(5)
ABSENT, STRING, BOOL, INT, DOUBLE, ARRAY, MAP, BYTES = (np.int64(n) for n in range(8))

_SEVERITIES = names(" ".join(name.decode() for name in log_text.SEVERITIES))
_WORDS = names("<list> <map> <text> <bytes> <num> <cut> true false")
_LIST, _MAP, _TEXT, _BYTES, _NUMBER, _CUT, _TRUE, _FALSE = (np.int64(n) for n in range(8))
_GENAI = np.frombuffer(b"gen_ai.", dtype=np.uint8)
_BODY_MAX = np.int64(log_text.BODY_BYTES_MAX)
_KEY_MAX = np.int64(log_text.KEY_BYTES_MAX)
_VALUE_MAX = np.int64(log_text.VALUE_BYTES_MAX)
_EVENT_MAX = np.int64(log_text.EVENT_BYTES_MAX)
_SEVERITY_MAX = np.int64(log_text.SEVERITY_BYTES_MAX)
_SEVERITY_NUMBER_MAX = log_text.SEVERITY_NUMBER_MAX
_ATTRIBUTES_MAX = log_text.ATTRIBUTES_MAX
_ATTRIBUTES_BYTES_MAX = log_text.ATTRIBUTES_BYTES_MAX


@entry
def count_logs(payload):  # type: ignore[no-untyped-def]
    """Resources and records in a request; (-1, 0) when the walk gives up."""
    b = pointer(payload)
    resources = records = NIL
    k, e = NIL, np.int64(len(payload))
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0 or field != 1 or wire != LENGTH:
            return BAD, NIL
        start, k = span(b, k, e)
        if k < 0:
            return BAD, NIL
        resources += 1
        found = _count_scopes(b, start, k)
        if found < 0:
            return BAD, NIL
        records += found
    return resources, records


@inner
def _count_scopes(b, k, e):  # type: ignore[no-untyped-def]
    records = NIL
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0:
            return BAD
        start = k
        k = skip(b, k, e, wire)
        if k < 0:
            return BAD
        if field == 2 and wire == LENGTH:
            start, _ = span(b, start, e)
            found = _count_records(b, start, k)
            if found < 0:
                return BAD
            records += found
    return records


@inner
def _count_records(b, k, e):  # type: ignore[no-untyped-def]
    records = NIL
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0:
            return BAD
        k = skip(b, k, e, wire)
        if k < 0:
            return BAD
        records += field == 2 and wire == LENGTH
    return records


@entry
def walk_logs(payload, resources, owner, time_ns, severity, trace_id, genai, text_array, offsets):  # type: ignore[no-untyped-def]
    """Fill the columns. 0 when done, 1 when the protobuf library must still validate, -1 on giving up.

    `resources` (r, 2) are the bytes of each Resource; the others have one row a record. The raw line of
    record i is `text[offsets[i]:offsets[i + 1]]`.
    """
    b, text = pointer(payload), pointer(text_array)
    table = np.empty((log_text.ATTRIBUTES_MAX, 5), dtype=np.int64)
    k, e = NIL, np.int64(len(payload))
    row = number = NIL
    validate = NIL
    while k < e:
        _, _, k = tag(b, k, e)
        start, end = span(b, k, e)
        k = end
        resource = schema = False
        resources[number, 0] = resources[number, 1] = 0
        while start < end:
            field, wire, start = tag(b, start, end)
            if start < 0 or (field <= 3 and wire != LENGTH):
                return BAD
            inside = start
            start = skip(b, start, end, wire)
            if field > 3:
                continue
            inside, _ = span(b, inside, end)
            if field == 1:
                if resource:
                    return BAD
                resource = True
                resources[number, 0], resources[number, 1] = inside, start
            elif field == 3:
                if schema or not is_utf8(b, inside, start):
                    return BAD
                schema = True
            else:
                found, row = _scope(
                    b,
                    inside,
                    start,
                    number,
                    row,
                    owner,
                    time_ns,
                    severity,
                    trace_id,
                    genai,
                    table,
                    text,
                    offsets,
                )
                if found < 0:
                    return BAD
                validate |= found
        number += 1
    return validate


@inner
def _scope(b, k, e, number, row, owner, time_ns, severity, trace_id, genai, table, text, offsets):  # type: ignore[no-untyped-def]
    validate = NIL
    scope = schema = False
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0 or (field <= 3 and wire != LENGTH):
            return BAD, row
        inside = k
        k = skip(b, k, e, wire)
        if field > 3:
            continue
        inside, _ = span(b, inside, e)
        if field == 1:
            found = _instrumentation(b, inside, k)
            if scope or found < 0:
                return BAD, row
            scope = True
            validate |= found
        elif field == 3:
            if schema or not is_utf8(b, inside, k):
                return BAD, row
            schema = True
        else:
            found, size = _record(
                b, inside, k, row, time_ns, severity, trace_id, genai, table, text, offsets[row]
            )
            if found < 0:
                return BAD, row
            validate |= found
            owner[row] = number
            row += 1
            offsets[row] = size
    return validate, row


@inner
def _instrumentation(b, k, e):  # type: ignore[no-untyped-def]
    """Check an InstrumentationScope, of which nothing is kept."""
    validate = NIL
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0 or (field <= 3 and wire != LENGTH) or (field == 4 and wire != VARINT):
            return BAD
        inside = k
        k = skip(b, k, e, wire)
        if k < 0:
            return BAD
        if field == 3:
            # Attributes of a scope are rare, and their form is not checked here.
            validate = np.int64(1)
        if field <= 2:
            inside, _ = span(b, inside, e)
            if not is_utf8(b, inside, k):
                return BAD
    return validate


@inner
def _record(b, k, e, row, time_ns, severity, trace_id, genai, table, text, o):  # type: ignore[no-untyped-def]
    """Read one LogRecord into row; whether to validate, and where its raw line ends."""
    time = observed = level = NIL
    name = name_end = event = event_end = trace = trace_end = NIL
    kind, body, body_end = ABSENT, NIL, NIL
    count = NIL
    bodies = False
    told = False
    validate = NIL
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0 or not _wire_fits(field, wire):
            return BAD, o
        start = k
        k = skip(b, k, e, wire)
        if k < 0:
            return BAD, o
        if wire == LENGTH:
            start, _ = span(b, start, e)
        if field == 1:
            time = fixed64(b, start)
        elif field == 11:
            observed = fixed64(b, start)
        elif field == 2:
            level, _ = varint(b, start, e)
        elif field == 3 or field == 12:
            if not is_utf8(b, start, k):
                return BAD, o
            if field == 3:
                name, name_end = start, k
            else:
                event, event_end = start, k
        elif field == 5:
            if bodies:
                return BAD, o
            bodies = True
            kind, body, body_end = _any_value(b, start, k)
            if kind < 0 or kind in (ARRAY, MAP):
                return BAD, o
        elif field == 6:
            found = _key_value(b, start, k, table, min(count, _ATTRIBUTES_MAX - 1), count < _ATTRIBUTES_MAX)
            if found < 0:
                return BAD, o
            validate |= found & 1
            told |= found & 2 != 0
            count += 1
        elif field == 9:
            trace, trace_end = start, k
    time_ns[row] = max(time, NIL) or max(observed, NIL)
    number = np.int64(np.int32(level))
    number = number if 1 <= number <= _SEVERITY_NUMBER_MAX else NIL
    severity[row] = number
    for i in range(16):
        trace_id[row, i] = b[trace + i] if trace_end - trace == 16 else 0
    genai[row] = told or _is_genai(b, event, event_end)
    begin = o
    if number:
        o = _word(text, o, _SEVERITIES, (number - 1) >> 2)
    else:
        o = _piece(b, name, name_end, _SEVERITY_MAX, text, o, begin)
    o = _piece(b, event, event_end, _EVENT_MAX, text, o, begin)
    o = _body(b, kind, body, body_end, text, o, begin)
    return validate, _attributes(b, table, min(count, _ATTRIBUTES_MAX), text, o, begin)


@inner
def _wire_fits(field, wire):  # type: ignore[no-untyped-def]
    if field > 12 or field == 4:
        return True
    if field == 1 or field == 11:
        return wire == FIXED64
    if field == 2 or field == 7:
        return wire == VARINT
    return wire == FIXED32 if field == 8 else wire == LENGTH


@inner
def _any_value(b, k, e):  # type: ignore[no-untyped-def]
    """Kind, start and end of an AnyValue; a kind of -1 on giving up."""
    if k == e:
        return ABSENT, NIL, NIL
    field, wire, k = tag(b, k, e)
    if k < 0 or field > 7:
        return BAD, NIL, NIL
    want = LENGTH
    if field in (BOOL, INT):
        want = VARINT
    elif field == DOUBLE:
        want = FIXED64
    start = k
    k = skip(b, k, e, wire)
    if wire != want or k != e:
        return BAD, NIL, NIL
    if wire == LENGTH:
        start, _ = span(b, start, e)
        if field == STRING and not is_utf8(b, start, k):
            return BAD, NIL, NIL
    return field, start, k


@inner
def _key_value(b, k, e, table, row, keep):  # type: ignore[no-untyped-def]
    """Read a KeyValue; bits 1: validate, 2: of the GenAI conventions; -1 on giving up."""
    key = key_end = value = value_end = NIL
    kind = ABSENT
    keys = values = False
    while k < e:
        field, wire, k = tag(b, k, e)
        if k < 0 or field > 2 or wire != LENGTH:
            return BAD
        start, k = span(b, k, e)
        if k < 0:
            return BAD
        if field == 1:
            if keys or not is_utf8(b, start, k):
                return BAD
            keys = True
            key, key_end = start, k
        else:
            if values:
                return BAD
            values = True
            kind, value, value_end = _any_value(b, start, k)
            if kind < 0:
                return BAD
    if keep:
        table[row, KEY], table[row, KEY_END] = key, key_end
        table[row, KIND], table[row, VALUE], table[row, VALUE_END] = kind, value, value_end
    found = NIL
    if kind in (ARRAY, MAP):
        found |= 1
    if _is_genai(b, key, key_end):
        found |= 2
    return found


@inner
def _is_genai(b, k, e):  # type: ignore[no-untyped-def]
    if e - k < 7:
        return False
    same = True
    for i in range(7):
        same &= b[k + i] == _GENAI[i]
    return same


# ---- the raw line


@inner
def _word(text, o, table, row):  # type: ignore[no-untyped-def]
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
def _piece(b, k, e, size_max, text, o, begin):  # type: ignore[no-untyped-def]
    if k == e:
        return o
    return _copy(b, k, min(e, k + size_max), text, _gap(text, o, begin))


@inner
def _body(b, kind, k, e, text, o, begin):  # type: ignore[no-untyped-def]
    if kind == ABSENT or (kind == STRING and k == e):
        return o
    o = _gap(text, o, begin)
    if kind != STRING:
        return _scalar(b, kind, k, e, text, o)
    o = _copy(b, k, min(e, k + _BODY_MAX), text, o)
    return _word(text, o, _WORDS, _CUT) if e - k > _BODY_MAX else o


@inner
def _scalar(b, kind, k, e, text, o):  # type: ignore[no-untyped-def]
    if kind == STRING:
        return _copy(b, k, e, text, o)
    if kind == INT:
        value, _ = varint(b, k, e)
        return _integer(value, text, o)
    if kind == BOOL:
        value, _ = varint(b, k, e)
        return _word(text, o, _WORDS, _TRUE if value else _FALSE)
    if kind == ABSENT:
        return o
    word = _NUMBER if kind == DOUBLE else _LIST if kind == ARRAY else _MAP if kind == MAP else _BYTES
    return _word(text, o, _WORDS, word)


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
def _attributes(b, table, count, text, o, begin):  # type: ignore[no-untyped-def]
    _sort(b, table, count)
    total = NIL
    for row in range(count):
        before = o
        o = _gap(text, o, begin)
        first = o
        key, key_end = table[row, KEY], table[row, KEY_END]
        o = _copy(b, key, min(key_end, key + _KEY_MAX), text, o)
        text[o] = 61
        o = _attribute_value(b, table[row, KIND], table[row, VALUE], table[row, VALUE_END], text, o + 1)
        total += o - first + 1
        if total > _ATTRIBUTES_BYTES_MAX:
            return before
    return o


@inner
def _attribute_value(b, kind, k, e, text, o):  # type: ignore[no-untyped-def]
    if kind != STRING:
        return _scalar(b, kind, k, e, text, o)
    if e - k > _VALUE_MAX:
        return _word(text, o, _WORDS, _TEXT)
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
