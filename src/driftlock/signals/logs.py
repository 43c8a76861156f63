"""Log records of the log's messages as columnar batches in canonical form.

Owns: decoding one request or several, and which stream a record belongs to. Must not know: detection. The
compiled walk does the usual case; what it leaves, the protobuf library reads by the same rules
(`log_text.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import LogBatch, Signal
from driftlock.signals.canonical import hash_lines
from driftlock.signals.kernel import readonly
from driftlock.signals.keys import KeyTable, resource_key, stream_key
from driftlock.signals.log_columns import TRACE_ID_BYTES, Columns
from driftlock.signals.log_compose import INT, STRING
from driftlock.signals.log_session import SESSION_KIND, wanted
from driftlock.signals.log_text import SEVERITY_NUMBER_MAX, body_text, is_genai, record_line
from driftlock.signals.log_walk import TEXT_GROWTH_MAX, TEXT_SLACK_BYTES, count_logs, walk_logs
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.sessions import (
    DEFAULT_SESSIONS,
    Sessions,
    attribute_key,
    body_keys,
    encoded,
    resource_attribute_key,
    session_key,
)

TIME_NS_MAX = 2**63 - 1


def decode_logs(
    payload: bytes,
    *,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
    sessions: Sessions = DEFAULT_SESSIONS,
) -> LogBatch:
    """The log records of an ExportLogsServiceRequest, in order.

    A line reads `SEVERITY event_name body key=value …`, masked. A record's time is its own, else the
    observed one, else 0 (also for times after the year 2262). Records of the GenAI conventions (an event
    name or an attribute that begins with `gen_ai.`) belong to the stream of the signal `llm`. Records with a
    session key (see `sessions.py`) belong to a stream of their own. Raises `MalformedTelemetryError`.
    """
    batch = _walked(payload, tenant, attributes, masking, sessions)
    return _parsed(payload, tenant, attributes, masking, sessions) if batch is None else batch


def decode_logs_together(
    payloads: Sequence[bytes],
    *,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
    sessions: Sessions = DEFAULT_SESSIONS,
) -> tuple[LogBatch, npt.NDArray[np.int64]] | None:
    """Several requests as one batch, in order, and the number of records of each.

    None when one of them is not of the usual form: then only `decode_logs` of each tells what is in it. It
    never reads together what it would not read alone, for each is walked to its end before they are joined.
    """
    counts = [count_logs(readonly(np.frombuffer(payload, dtype=np.uint8))) for payload in payloads]
    if any(resources < 0 for resources, _ in counts):
        return None
    try:
        batch = _walked(b"".join(payloads), tenant, attributes, masking, sessions)
    except MalformedTelemetryError:
        return None
    rows = np.array([records for _, records in counts], dtype=np.int64)
    return None if batch is None else (batch, rows)


def _walked(
    payload: bytes,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
    sessions: Sessions = DEFAULT_SESSIONS,
) -> LogBatch | None:
    raw = readonly(np.frombuffer(payload, dtype=np.uint8))
    resource_count, count = count_logs(raw)
    if resource_count < 0:
        return None
    resources = np.empty((resource_count, 2), dtype=np.int64)
    columns = Columns.empty(count, bodies=bool(sessions.pattern))
    # A varint of k bytes has at most 2.2 k digits; the other growth (quotes, `=`, words) is smaller.
    text = np.empty(len(payload) * TEXT_GROWTH_MAX + TEXT_SLACK_BYTES * (count + 1), dtype=np.uint8)
    offsets = np.zeros(count + 1, dtype=np.int64)
    state = walk_logs(raw, resources, columns, wanted(encoded(sessions.attributes)), text, offsets)
    if state < 0:
        return None
    text = text[: offsets[-1]]
    filled = np.bincount(columns.owner, minlength=resource_count)
    if state or not filled.all():
        # The walk has not looked into lists, maps, and resources without records.
        _parse(payload)
    held = [payload[start:end] for start, end in resources.tolist()]
    table = KeyTable()
    lookup = np.zeros((resource_count, 4), dtype=np.int32)
    try:
        keys = _walked_keys(payload, held, columns, text, sessions, masking.redact)
        kinds = columns.genai.astype(np.intp)
        if keys:
            kinds += 2 * np.array([len(key) > 0 for key in keys])
        for number, kind in _present(columns.owner, kinds, filled):
            name: Signal = "llm" if kind & 1 else "logs"
            key = resource_key(held[number], tenant, name, attributes, masking.redact)
            lookup[number, kind] = table.index(key.of_sessions if kind & 2 else key)
    except DecodeError:
        return None
    stream = lookup[columns.owner, kinds]
    canonical = masking.canonical(text, offsets[:-1], offsets[1:])
    fields = (columns.time_ns, columns.severity, columns.trace_id, canonical, hash_lines(canonical))
    return LogBatch(table.keys, stream, *fields, keys)


def _walked_keys(
    payload: bytes,
    resources: Sequence[bytes],
    columns: Columns,
    text: npt.NDArray[np.uint8],
    sessions: Sessions,
    redact: tuple[str, ...],
) -> Sequence[bytes]:
    """The session key of each record, by the rules of `sessions.py`; empty as a whole where none has one."""
    names = sessions.attributes
    by_resource = [resource_attribute_key(raw, names, redact) for raw in resources] if names else []
    named = np.flatnonzero(columns.session[:, SESSION_KIND])
    if not len(named) and not sessions.pattern and not any(by_resource):
        return ()
    keys = [by_resource[number] for number in columns.owner.tolist()] if names else [b""] * len(columns.owner)
    known: dict[tuple[int, int, int | bytes], bytes] = {}  # most sessions have several records
    for row, (kind, name, value, end) in zip(named.tolist(), columns.session[named].tolist(), strict=True):
        told = (kind, name, payload[value:end] if kind == STRING else value)
        key = known.get(told)
        if key is None:
            key = known[told] = session_key(names[name], _told_text(*told), redact)
        keys[row] = key or keys[row]
    if sessions.pattern:
        has_key = np.array([len(key) > 0 for key in keys], np.bool_)
        asked = np.flatnonzero(~has_key & ~columns.genai)
        found = body_keys(text, columns.body[asked, 0], columns.body[asked, 1], sessions.pattern, redact)
        for row, key in zip(asked.tolist(), found, strict=True):
            keys[row] = key
    return keys if any(keys) else ()


def _told_text(kind: int, _name: int, value: int | bytes) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return str(value) if kind == INT else "true" if value else "false"


def _present(
    owner: npt.NDArray[np.int64], kinds: npt.NDArray[np.intp], filled: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """The pairs of resource and kind (bits 1: GenAI, 2: of a session) that occur, as they first appear."""
    if not kinds.any():
        return [(int(number), 0) for number in np.flatnonzero(filled)]
    distinct, first = np.unique(owner * 4 + kinds, return_index=True)
    return [divmod(int(code), 4) for code in distinct[np.argsort(first)]]


def _parse(payload: bytes) -> Any:
    try:
        return ExportLogsServiceRequest.FromString(payload)
    except DecodeError as error:
        raise MalformedTelemetryError(f"not a valid OTLP logs message: {error}") from error


def _parsed(
    payload: bytes,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
    sessions: Sessions = DEFAULT_SESSIONS,
) -> LogBatch:
    """`decode_logs` by the protobuf library alone."""
    owned = [
        (resource.resource, record)
        for resource in _parse(payload).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    records = [record for _, record in owned]
    keys = _parsed_keys(owned, sessions, masking.redact)
    table = KeyTable()
    streams: list[int] = []
    for (resource, record), session in zip(owned, keys, strict=True):
        signal: Signal = "llm" if is_genai(record) else "logs"
        key = stream_key(resource, tenant, signal, attributes, masking.redact)
        streams.append(table.index(key.of_sessions if session else key))
    text, offsets = _joined([record_line(record, without=sessions.attributes) for record in records])
    canonical = masking.canonical(text, offsets[:-1], offsets[1:])
    trace_ids = b"".join(_trace_id(record) for record in records)
    return LogBatch(
        keys=table.keys,
        stream=np.array(streams, dtype=np.int32),
        time_ns=np.array([_time_ns(record) for record in records], dtype=np.int64),
        severity=np.array([_severity(record) for record in records], dtype=np.uint8),
        trace_id=np.frombuffer(trace_ids, dtype=np.uint8).reshape(-1, TRACE_ID_BYTES),
        canonical=canonical,
        template=hash_lines(canonical),
        sessions=keys if any(keys) else (),
    )


def _joined(lines: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The lines in one buffer, and their bounds: line i is `buffer[bounds[i]:bounds[i + 1]]`."""
    bounds = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    return np.frombuffer(b"".join(lines), dtype=np.uint8), bounds


def _parsed_keys(owned: list[tuple[Any, Any]], sessions: Sessions, redact: tuple[str, ...]) -> list[bytes]:
    keys = [
        attribute_key(record.attributes, sessions.attributes, redact)
        or attribute_key(resource.attributes, sessions.attributes, redact)
        for resource, record in owned
    ]
    if sessions.pattern:
        asked = [n for n, (_, record) in enumerate(owned) if not keys[n] and not is_genai(record)]
        text, bounds = _joined([body_text(owned[n][1].body) for n in asked])
        found = body_keys(text, bounds[:-1], bounds[1:], sessions.pattern, redact)
        for n, key in zip(asked, found, strict=True):
            keys[n] = key
    return keys


def _trace_id(record: Any) -> bytes:
    found = bytes(record.trace_id)
    return found if len(found) == TRACE_ID_BYTES else bytes(TRACE_ID_BYTES)


def _time_ns(record: Any) -> int:
    times = (record.time_unix_nano, record.observed_time_unix_nano)
    return next((int(time) for time in times if 0 < time <= TIME_NS_MAX), 0)


def _severity(record: Any) -> int:
    return int(record.severity_number) if 1 <= record.severity_number <= SEVERITY_NUMBER_MAX else 0
