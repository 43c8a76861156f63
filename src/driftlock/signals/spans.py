"""Spans of the log's messages as columnar batches in canonical form.

Owns: `decode_spans`, what a span's line holds, duration and token buckets. Must not know: detection.

A line reads `KIND name STATUS key=value … took<duration>`: attributes as in `log_text.py`, and the type of an
exception event. How long a span took is kept beside the line as the sizes of numbers are, and before them:
were it in the line, a service whose durations have a long tail would write lines never seen for ever. Spans
of the OpenTelemetry GenAI conventions form the signal `llm`; their token counts read as magnitudes, and the
names of models stay as they are, before the duration: masked, two versions of a model would read alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import Lines, Signal, SpanBatch
from driftlock.signals.canonical import hash_lines, with_endings
from driftlock.signals.kernel import entry
from driftlock.signals.keys import KeyTable, stream_key
from driftlock.signals.log_columns import TRACE_ID_BYTES
from driftlock.signals.log_text import (
    ATTRIBUTES_BYTES_MAX,
    ATTRIBUTES_MAX,
    KEY_BYTES_MAX,
    attribute_value,
    cut,
    pair_value,
)
from driftlock.signals.logs import TIME_NS_MAX
from driftlock.signals.magnitudes import BUCKET_BITS, Magnitudes
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.redaction import redact
from driftlock.signals.sessions import DEFAULT_SESSIONS, Sessions, attribute_key

NAME_BYTES_MAX = 256
SPAN_ID_BYTES = 8
STATUS_BYTES_MAX = 128
STATUS_CODE_MAX = 2
ENDING = b" took<duration>"

GENAI_MARKERS = frozenset({"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system"})
GENAI_FINISH = "gen_ai.response.finish_reasons"
GENAI_USAGE = "gen_ai.usage."
GENAI_MODELS = ("gen_ai.request.model", "gen_ai.response.model")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")

_CALL_IDS = ("span_id", "parent_span_id")
_KINDS = (b"", b"INTERNAL", b"SERVER", b"CLIENT", b"PRODUCER", b"CONSUMER")
_STATUSES = (b"", b"OK", b"ERROR")
_MAGNITUDES = (
    b"none",
    b"units",
    b"tens",
    b"hundreds",
    b"thousands",
    b"ten-thousands",
    b"hundred-thousands",
    b"millions",
)


DURATION_BOUNDS_NS = np.array([62_500 * 2**n for n in range(26)], np.int64)
"""Powers of two of milliseconds, from 62.5 µs to 35 minutes: every other one bounds the buckets of the first
size of a span, and those between them the buckets of the second. So what takes eight times as long as ever is
two buckets away in one of the two, though a bucket is four times as wide as the one below."""
DURATION_BUCKET_MIN = 2  # that of the shortest; 1 is that of zero, which lies elsewhere (`magnitudes`)
DURATION_SIZES = 2


def decode_spans(
    payload: bytes,
    *,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
    sessions: Sessions = DEFAULT_SESSIONS,
) -> SpanBatch:
    """The spans of an ExportTraceServiceRequest, in order. Raises `MalformedTelemetryError`.

    Of spans, only those of the signal `llm` have session keys, by their attributes or their resource's.
    """
    try:
        request = ExportTraceServiceRequest.FromString(payload)
    except DecodeError as error:
        raise MalformedTelemetryError(f"not a valid OTLP traces message: {error}") from error
    table = KeyTable()
    streams: list[int] = []
    spans: list[Any] = []
    lines: list[bytes] = []
    models: list[bytes] = []
    keys: list[bytes] = []
    for resource in request.resource_spans:
        known: dict[tuple[Signal, bool], int] = {}
        for span in _spans(resource):
            signal: Signal = "llm" if _is_genai(span) else "traces"
            keys.append(_session(span, resource, sessions, masking) if signal == "llm" else b"")
            kind = signal, bool(keys[-1])
            if kind not in known:
                key = stream_key(resource.resource, tenant, signal, attributes, masking.redact)
                known[kind] = table.index(key.of_sessions if keys[-1] else key)
            streams.append(known[kind])
            spans.append(span)
            lines.append(span_line(span, genai=signal == "llm", without=sessions.attributes))
            models.append(_models(span) if signal == "llm" else b"")
    return _batch(table, streams, spans, lines, models, keys, masking)


def _session(span: Any, resource: Any, sessions: Sessions, masking: Masking) -> bytes:
    names = sessions.attributes
    return attribute_key(span.attributes, names, masking.redact) or attribute_key(
        resource.resource.attributes, names, masking.redact
    )


def span_line(span: Any, *, genai: bool, without: tuple[str, ...] = ()) -> bytes:
    """The raw line of a span, without its duration; of a GenAI span without the attributes `without`."""
    code = _status_code(span)
    parts = [
        _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else b"",
        cut(span.name.encode(), NAME_BYTES_MAX),
        _STATUSES[code],
        cut(span.status.message.encode(), STATUS_BYTES_MAX) if code == STATUS_CODE_MAX else b"",
        *_exceptions(span),
        _attributes(span.attributes, genai, without if genai else ()),
    ]
    return b" ".join(part for part in parts if part)


def _batch(
    table: KeyTable,
    streams: list[int],
    spans: list[Any],
    lines: list[bytes],
    models: list[bytes],
    keys: list[bytes],
    masking: Masking,
) -> SpanBatch:
    starts = np.array([min(s.start_time_unix_nano, TIME_NS_MAX) for s in spans], dtype=np.int64)
    ends = np.array([min(s.end_time_unix_nano, TIME_NS_MAX) for s in spans], dtype=np.int64)
    duration_ns = np.maximum(ends - starts, 0)
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    masked = masking.canonical(np.frombuffer(b"".join(lines), dtype=np.uint8), offsets[:-1], offsets[1:])
    canonical = replace(
        with_endings(masked, *_endings(models)), numbers=with_durations(masked.numbers, duration_ns)
    )
    trace_ids = b"".join(
        s.trace_id if len(s.trace_id) == TRACE_ID_BYTES else bytes(TRACE_ID_BYTES) for s in spans
    )
    return SpanBatch(
        keys=table.keys,
        stream=np.array(streams, dtype=np.int32),
        time_ns=np.where(starts == TIME_NS_MAX, 0, starts),
        duration_ns=duration_ns,
        status=np.array([_status_code(s) for s in spans], dtype=np.uint8),
        trace_id=np.frombuffer(trace_ids, dtype=np.uint8).reshape(-1, TRACE_ID_BYTES),
        canonical=canonical,
        template=hash_lines(canonical),
        calls=np.stack([_span_hashes([getattr(s, name) for s in spans]) for name in _CALL_IDS], axis=1),
        heads=operation_ends(canonical),
        sessions=keys if any(keys) else (),
    )


def _span_hashes(ids: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """32 bits of each span id, 2 or more; 0 for none (empty, or zeros: W3C), 1 for what is no id."""
    whole = np.frombuffer(
        b"".join(i if len(i) == SPAN_ID_BYTES else bytes(SPAN_ID_BYTES) for i in ids), "<u8"
    )
    # ids should be random, but need not be: a multiplication carries every bit into the highest
    hashed = (whole * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)).astype(np.uint32)
    size = np.fromiter(map(len, ids), np.int64, len(ids))
    unknown = (size != SPAN_ID_BYTES) & (size != 0)
    return np.where(whole == 0, unknown, np.maximum(hashed, 2)).astype(np.uint32)


@entry
def _operation_ends(
    buffer: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> None:
    for row in range(len(ends)):
        begin, end = offsets[row], offsets[row + 1]
        word = begin
        for at in range(begin, end + 1):
            if at < end and buffer[at] == 61:  # "="
                break
            if at < end and buffer[at] != 32:
                continue
            size = at - word
            first, last = buffer[word] if size else 0, buffer[at - 1] if size else 0
            ok = size == 2 and first == 79 and last == 75
            error = size == 5 and first == 69 and last == 82 and buffer[word + 2] == 82
            took = size > 5 and first == 116 and buffer[word + 3] == 107 and buffer[word + 4] == 60
            if word > begin and (ok or error or took):
                break
            word = at + 1
        ends[row] = max(word - 1 - begin, 0)


def operation_ends(lines: Lines) -> npt.NDArray[np.int64]:
    """How many bytes of each span's line name its operation: kind and name.

    They end before the status, before the first word with a `=`, and before the duration. So a name that
    holds such a word is cut there; names that differ only behind it are one operation.
    """
    ends = np.zeros(len(lines.offsets) - 1, np.int64)
    _operation_ends(lines.buffer, lines.offsets, ends)
    return ends


def _endings(models: Sequence[bytes]) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """The endings of lines, with models where there are any, and which of them each line has."""
    known: dict[bytes, int] = {}
    which = [known.setdefault(model + ENDING, len(known)) for model in models]
    return list(known), np.array(which, dtype=np.int64)


def with_durations(numbers: Magnitudes, duration_ns: npt.NDArray[np.int64]) -> Magnitudes:
    """The magnitudes of the spans' durations, two each, then those of their lines' numbers."""
    octaves = np.searchsorted(DURATION_BOUNDS_NS, duration_ns, "right")
    first, second = (DURATION_BUCKET_MIN + (octaves + shift) // 2 for shift in (1, 0))
    durations = (first | second << BUCKET_BITS).astype(np.uint32)
    return durations | numbers << np.uint32(DURATION_SIZES * BUCKET_BITS)


def _models(span: Any) -> bytes:
    found = {item.key: item.value.string_value for item in span.attributes if _names_model(item)}
    return b"".join(f" {key}={found[key]}".encode() for key in GENAI_MODELS if key in found)


def _names_model(item: Any) -> bool:
    name = item.value.string_value
    return item.key in GENAI_MODELS and _MODEL.fullmatch(name) is not None and redact(name) == name


def _spans(resource: Any) -> Iterator[Any]:
    for scope in resource.scope_spans:
        yield from scope.spans


def _status_code(span: Any) -> int:
    code = span.status.code
    return int(code) if 0 <= code <= STATUS_CODE_MAX else 0


def _is_genai(span: Any) -> bool:
    return any(item.key in GENAI_MARKERS for item in span.attributes)


def _exceptions(span: Any) -> Iterator[bytes]:
    """The types of the exceptions recorded as events: often the only difference between two failures."""
    for event in list(span.events)[:ATTRIBUTES_MAX]:
        if event.name != "exception":
            continue
        for item in event.attributes:
            if item.key == "exception.type":
                yield b"exception=" + attribute_value(item.value)


def _attributes(attributes: Any, genai: bool, without: tuple[str, ...]) -> bytes:
    parts: list[bytes] = []
    size = 0
    kept = islice((item for item in attributes if item.key not in without), ATTRIBUTES_MAX)
    for item in sorted(kept, key=lambda item: item.key.encode()):
        if genai and _names_model(item):
            continue
        value = _genai_value(item) if genai else None
        key = item.key.encode()
        part = key[:KEY_BYTES_MAX] + b"=" + (pair_value(key, item.value) if value is None else value)
        size += len(part) + 1
        if size > ATTRIBUTES_BYTES_MAX:
            break
        parts.append(part)
    return b" ".join(parts)


def _genai_value(item: Any) -> bytes | None:
    """Token counts as magnitudes, finish reasons in full; None for any other attribute."""
    if item.key.startswith(GENAI_USAGE) and item.value.WhichOneof("value") == "int_value":
        count = max(item.value.int_value, 0)
        return _MAGNITUDES[min(len(str(count)) if count else 0, len(_MAGNITUDES) - 1)]
    if item.key == GENAI_FINISH:
        reasons = item.value.array_value.values
        return b"+".join(sorted(attribute_value(one) for one in list(reasons)[:ATTRIBUTES_MAX]))
    return None
