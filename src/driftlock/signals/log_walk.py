"""A compiled walk over the wire bytes of an ExportLogsServiceRequest: columns, and a raw line a record.

Owns: the walk. It takes what is plainly valid and usual; at anything else (truncation, a repeated singular
field, a group, invalid UTF-8, a structured body) it gives up, and the caller takes the protobuf library,
which is the judge. What it takes, it reads as that library does. Must not know: masking, stream keys.
The rules for a line are those of `log_text.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from driftlock.signals import chars, log_compose, log_session, log_text, scanner, wire
from driftlock.signals import clean as cleaning
from driftlock.signals.kernel import entry, inner, pointer, sources
from driftlock.signals.log_columns import TRACE_ID_BYTES
from driftlock.signals.log_compose import (
    ABSENT,
    ARRAY,
    ATTRIBUTES_MAX,
    BOOL,
    DOUBLE,
    EVENT_MAX,
    INT,
    KEY,
    KEY_END,
    KIND,
    MAP,
    SEVERITY_MAX,
    SEVERITY_NUMBER_MAX,
    SEVERITY_WORDS,
    STRING,
    VALUE,
    VALUE_END,
    attributes_text,
    body_text,
    piece,
    write_word,
)
from driftlock.signals.log_session import (
    LENGTH_BITS,
    SESSION_COLUMNS,
    SESSION_KIND,
    SESSION_NAME,
    names_session,
)
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

_GENAI = np.frombuffer(b"gen_ai.", dtype=np.uint8)


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


def _walk(made_of: int) -> Any:
    @entry
    def walk_logs(payload, resources, columns, wanted, text_array, offsets):  # type: ignore[no-untyped-def]
        """Fill the columns. 0 when done, 1 when the protobuf library must still validate, -1 on giving up.

        `resources` (r, 2) are the bytes of each Resource; the columns have one row a record. The raw line of
        record i is `text[offsets[i]:offsets[i + 1]]`; `wanted` are the attributes that name sessions.
        """
        assert made_of >= 0  # closed over, so that the cache knows which sources made the kernel
        b, text = pointer(payload), pointer(text_array)
        sought = (pointer(wanted.names), pointer(wanted.bounds), len(wanted.bounds) - 1, wanted.lengths)
        # pointers: seven arrays are sixty words to hand on for each record
        places = (
            pointer(columns.owner),
            pointer(columns.time_ns),
            pointer(columns.severity),
            pointer(columns.trace_id),
            columns.genai,  # an array: truth values cannot be written by a pointer
            pointer(columns.session),
            pointer(columns.body),
            len(columns.body) > 0,
        )
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
                    found, row = _scope(b, inside, start, number, row, places, sought, table, text, offsets)
                    if found < 0:
                        return BAD
                    validate |= found
            number += 1
        return validate

    return walk_logs


MADE_OF = (chars, cleaning, log_compose, log_session, log_text, scanner, wire)
walk_logs = _walk(sources(*MADE_OF))


@inner
def _scope(b, k, e, number, row, places, sought, table, text, offsets):  # type: ignore[no-untyped-def]
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
            found, size = _record(b, inside, k, row, places, sought, table, text, offsets[row])
            if found < 0:
                return BAD, row
            validate |= found
            places[0][row] = number
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
def _record(b, k, e, row, places, sought, table, text, o):  # type: ignore[no-untyped-def]
    """Read one LogRecord into row; whether to validate, and where its raw line ends."""
    time = observed = level = NIL
    name = name_end = event = event_end = trace = trace_end = NIL
    kind, body, body_end = ABSENT, NIL, NIL
    count = NIL
    bodies = False
    told = False
    validate = NIL
    _, times, severity, trace_id, genais, session, body_place, bodies_asked = places
    session[row * SESSION_COLUMNS + SESSION_KIND] = ABSENT
    session[row * SESSION_COLUMNS + SESSION_NAME] = sought[2]
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
            place = min(count, ATTRIBUTES_MAX - 1)
            found = _key_value(b, start, k, table, place, count < ATTRIBUTES_MAX, sought[3])
            if found < 0:
                return BAD, o
            validate |= found & 1
            told |= found & 2 != 0
            count += 1
            if found & 4 and _names_session(b, start, k, sought, session, row):
                count -= 1  # no part of the line: the next attribute takes its place
        elif field == 9:
            trace, trace_end = start, k
    times[row] = max(time, NIL) or max(observed, NIL)
    number = np.int64(np.int32(level))
    number = number if 1 <= number <= SEVERITY_NUMBER_MAX else NIL
    severity[row] = number
    for i in range(TRACE_ID_BYTES):
        trace_id[row * TRACE_ID_BYTES + i] = b[trace + i] if trace_end - trace == TRACE_ID_BYTES else 0
    genai = genais[row] = told or _is_genai(b, event, event_end)
    begin = o
    if number:
        o = write_word(text, o, SEVERITY_WORDS, (number - 1) >> 2)
    else:
        o = piece(b, name, name_end, SEVERITY_MAX, text, o, begin)
    o = piece(b, event, event_end, EVENT_MAX, text, o, begin)
    before = o + (o > begin)
    o = body_text(b, kind, body, body_end, genai, text, o, begin)
    if bodies_asked:
        body_place[2 * row], body_place[2 * row + 1] = min(before, o), o
    return validate, attributes_text(b, table, min(count, ATTRIBUTES_MAX), text, o, begin)


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
def _key_value(b, k, e, table, row, keep, lengths):  # type: ignore[no-untyped-def]
    """Read a KeyValue; bits 1: validate, 2: of the GenAI conventions, 4: may be wanted; -1 on giving up."""
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
    if (lengths >> min(key_end - key, LENGTH_BITS)) & 1:
        found |= 4
    return found


@inner
def _names_session(b, k, e, sought, session, row):  # type: ignore[no-untyped-def]
    """Whether a KeyValue that was read before has a key that is wanted; what its value names is told."""
    key = key_end = value = value_end = NIL
    kind = ABSENT
    while k < e:
        field, _, k = tag(b, k, e)
        start, k = span(b, k, e)
        if field == 1:
            key, key_end = start, k
        else:
            kind, value, value_end = _any_value(b, start, k)
    return names_session(b, key, key_end, kind, value, value_end, sought, session, row)


@inner
def _is_genai(b, k, e):  # type: ignore[no-untyped-def]
    if e - k < 7:
        return False
    same = True
    for i in range(7):
        same &= b[k + i] == _GENAI[i]
    return same
