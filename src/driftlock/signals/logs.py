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
from driftlock.signals.log_text import SEVERITY_NUMBER_MAX, is_genai, record_line
from driftlock.signals.log_walk import TEXT_GROWTH_MAX, TEXT_SLACK_BYTES, count_logs, walk_logs
from driftlock.signals.masking import DEFAULT_MASKING, Masking

TIME_NS_MAX = 2**63 - 1
TRACE_ID_BYTES = 16


def decode_logs(
    payload: bytes, *, tenant: str, attributes: tuple[str, ...], masking: Masking = DEFAULT_MASKING
) -> LogBatch:
    """The log records of an ExportLogsServiceRequest, in order.

    A line reads `SEVERITY event_name body key=value …`, masked. A record's time is its own, else the
    observed one, else 0 (also for times after the year 2262). Records of the GenAI conventions (an event
    name or an attribute that begins with `gen_ai.`) belong to the stream of the signal `llm`. Raises
    `MalformedTelemetryError`.
    """
    batch = _walked(payload, tenant, attributes, masking)
    return _parsed(payload, tenant, attributes, masking) if batch is None else batch


def decode_logs_together(
    payloads: Sequence[bytes],
    *,
    tenant: str,
    attributes: tuple[str, ...],
    masking: Masking = DEFAULT_MASKING,
) -> tuple[LogBatch, npt.NDArray[np.int64]] | None:
    """Several requests as one batch, in order, and the number of records of each.

    None when one of them is not of the usual form: then only `decode_logs` of each tells what is in it. It
    never reads together what it would not read alone, for each is walked to its end before they are joined.
    """
    counts = [count_logs(readonly(np.frombuffer(payload, dtype=np.uint8))) for payload in payloads]
    if any(resources < 0 for resources, _ in counts):
        return None
    try:
        batch = _walked(b"".join(payloads), tenant, attributes, masking)
    except MalformedTelemetryError:
        return None
    rows = np.array([records for _, records in counts], dtype=np.int64)
    return None if batch is None else (batch, rows)


def _walked(
    payload: bytes, tenant: str, attributes: tuple[str, ...], masking: Masking = DEFAULT_MASKING
) -> LogBatch | None:
    raw = readonly(np.frombuffer(payload, dtype=np.uint8))
    resource_count, count = count_logs(raw)
    if resource_count < 0:
        return None
    resources = np.empty((resource_count, 2), dtype=np.int64)
    owner = np.empty(count, dtype=np.int64)
    time_ns = np.empty(count, dtype=np.int64)
    severity = np.empty(count, dtype=np.uint8)
    trace_id = np.empty((count, TRACE_ID_BYTES), dtype=np.uint8)
    genai = np.empty(count, dtype=np.bool_)
    # A varint of k bytes has at most 2.2 k digits; the other growth (quotes, `=`, words) is smaller.
    text = np.empty(len(payload) * TEXT_GROWTH_MAX + TEXT_SLACK_BYTES * (count + 1), dtype=np.uint8)
    offsets = np.zeros(count + 1, dtype=np.int64)
    state = walk_logs(raw, resources, owner, time_ns, severity, trace_id, genai, text, offsets)
    if state < 0:
        return None
    filled = np.bincount(owner, minlength=resource_count)
    if state or not filled.all():
        # The walk has not looked into lists, maps, and resources without records.
        _parse(payload)
    table = KeyTable()
    lookup = np.zeros((resource_count, 2), dtype=np.int32)
    for number, signal in _present(owner, genai, filled):
        start, end = resources[number]
        name: Signal = "llm" if signal else "logs"
        try:
            key = resource_key(payload[start:end], tenant, name, attributes, masking.redact)
        except DecodeError:
            return None
        lookup[number, signal] = table.index(key)
    stream = lookup[owner, genai.astype(np.intp)]
    canonical = masking.canonical(text, offsets[:-1], offsets[1:])
    return LogBatch(table.keys, stream, time_ns, severity, trace_id, canonical, hash_lines(canonical))


def _present(
    owner: npt.NDArray[np.int64], genai: npt.NDArray[np.bool_], filled: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """The pairs of resource and GenAI flag that occur, in order of first appearance."""
    if not genai.any():
        return [(int(number), 0) for number in np.flatnonzero(filled)]
    distinct, first = np.unique(owner * 2 + genai, return_index=True)
    return [divmod(int(code), 2) for code in distinct[np.argsort(first)]]


def _parse(payload: bytes) -> Any:
    try:
        return ExportLogsServiceRequest.FromString(payload)
    except DecodeError as error:
        raise MalformedTelemetryError(f"not a valid OTLP logs message: {error}") from error


def _parsed(
    payload: bytes, tenant: str, attributes: tuple[str, ...], masking: Masking = DEFAULT_MASKING
) -> LogBatch:
    """`decode_logs` by the protobuf library alone."""
    table = KeyTable()
    streams: list[int] = []
    records: list[Any] = []
    for resource in _parse(payload).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                signal: Signal = "llm" if is_genai(record) else "logs"
                key = stream_key(resource.resource, tenant, signal, attributes, masking.redact)
                streams.append(table.index(key))
                records.append(record)
    lines = [record_line(record) for record in records]
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    canonical = masking.canonical(np.frombuffer(b"".join(lines), dtype=np.uint8), offsets[:-1], offsets[1:])
    trace_ids = b"".join(_trace_id(record) for record in records)
    return LogBatch(
        keys=table.keys,
        stream=np.array(streams, dtype=np.int32),
        time_ns=np.array([_time_ns(record) for record in records], dtype=np.int64),
        severity=np.array([_severity(record) for record in records], dtype=np.uint8),
        trace_id=np.frombuffer(trace_ids, dtype=np.uint8).reshape(-1, TRACE_ID_BYTES),
        canonical=canonical,
        template=hash_lines(canonical),
    )


def _trace_id(record: Any) -> bytes:
    found = bytes(record.trace_id)
    return found if len(found) == TRACE_ID_BYTES else bytes(TRACE_ID_BYTES)


def _time_ns(record: Any) -> int:
    times = (record.time_unix_nano, record.observed_time_unix_nano)
    return next((int(time) for time in times if 0 < time <= TIME_NS_MAX), 0)


def _severity(record: Any) -> int:
    return int(record.severity_number) if 1 <= record.severity_number <= SEVERITY_NUMBER_MAX else 0
