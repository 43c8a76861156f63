"""OTLP requests for the collector: check, split by partition, and answer.

Owns: parsing an Export request (protobuf or JSON form), refusing what cannot be stored, grouping its
resources by partition into messages of bounded size, and the response and status bodies, after
`opentelemetry-proto/docs/specification.md`. Must not know: transports, the log. Imports neither numba nor
numpy's users: the collector starts fast and stays small.

Parsing with the protobuf library (upb) is the validation: it checks bounds, nesting and UTF-8. Protobuf
input is then passed on as it came, or as slices of it; only what had to be changed is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from google.protobuf.message import DecodeError, EncodeError, Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.keys import resource_partition
from driftlock.signals.otlp_json import parse_json

Kind = Literal["logs", "metrics", "traces"]

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
# Tag and length of a nested message. Reckoned closely: tiny scopes are little else, and reckoning too much
# would end messages early and repeat the resource more often.
FIELD_BYTES_MAX = 6


@dataclass(frozen=True, slots=True)
class Split:
    """A request cut by partition.

    `parts` are (partition, bytes of a valid Export request); `records` counts the log records, spans or
    metric points in them, `rejected` those left out, and `message` says why (empty when there is nothing
    to say).
    """

    parts: list[tuple[int, bytes]]
    records: int
    rejected: int
    message: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """The names that differ between the three kinds."""

    request: type[Any]
    response: type[Any]
    resources: str
    scopes: str
    records: str
    rejected: str
    rejected_json: str
    count: Callable[[Any], int]


def _count_each(_record: Any) -> int:
    return 1


def _count_points(metric: Any) -> int:
    data = metric.WhichOneof("data")
    return len(getattr(metric, data).data_points) if data else 0


_SHAPES: dict[str, _Shape] = {
    "logs": _Shape(
        logs_service.ExportLogsServiceRequest,
        logs_service.ExportLogsServiceResponse,
        "resource_logs",
        "scope_logs",
        "log_records",
        "rejected_log_records",
        "rejectedLogRecords",
        _count_each,
    ),
    "metrics": _Shape(
        metrics_service.ExportMetricsServiceRequest,
        metrics_service.ExportMetricsServiceResponse,
        "resource_metrics",
        "scope_metrics",
        "metrics",
        "rejected_data_points",
        "rejectedDataPoints",
        _count_points,
    ),
    "traces": _Shape(
        trace_service.ExportTraceServiceRequest,
        trace_service.ExportTraceServiceResponse,
        "resource_spans",
        "scope_spans",
        "spans",
        "rejected_spans",
        "rejectedSpans",
        _count_each,
    ),
}


@dataclass(slots=True)
class _Refusals:
    """Records left out, by reason."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, count: int = 1) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def message(self) -> str:
        return "; ".join(f"{count} rejected: {reason}" for reason, count in sorted(self.counts.items()))


def split(
    kind: Kind,
    payload: bytes,
    *,
    json: bool,
    tenant: str,
    attributes: tuple[str, ...],
    partitions: int,
    message_bytes_max: int,
) -> Split:
    """Cut an Export request into messages for the log, each for one partition and of bounded size.

    `attributes` are the resource attributes that, beside `service.name`, make the stream key. Spans without
    valid ids, records larger than `message_bytes_max` and records whose resource and scope take more than
    half of it are rejected and counted; the messages together hold at most about four times the request,
    though they repeat resources and scopes. Raises
    `MalformedTelemetryError` when the request as a whole is not valid OTLP.
    """
    shape = _SHAPES[kind]
    request = _parse(shape, payload, json=json)
    resources = getattr(request, shape.resources)
    refusals = _Refusals()
    changed = _drop_bad_spans(resources, refusals) if kind == "traces" else frozenset()
    records = _count(shape, resources)
    if not records:
        return Split([], 0, refusals.total, refusals.message)
    owners = _owners(resources, tenant, attributes, partitions)
    if not json and not changed and len(payload) <= message_bytes_max and len(set(owners)) == 1:
        return Split([(owners[0], bytes(payload))], records, 0, "")
    raws = _raw_resources(resources, b"" if json else payload, changed)
    refused_before = refusals.total
    parts = list(_pack(shape, resources, raws, owners, message_bytes_max, refusals))
    too_large = refusals.total - refused_before
    return Split(parts, records - too_large, refusals.total, refusals.message)


def encode_response(kind: Kind, rejected: int, message: str, *, json: bool) -> bytes:
    """The body of a success; `partial_success` is unset when nothing was rejected and nothing is to say."""
    shape = _SHAPES[kind]
    told = rejected > 0 or bool(message)
    if json:
        partial = {shape.rejected_json: str(rejected), "errorMessage": message}
        return msgspec.json.encode({"partialSuccess": partial} if told else {})
    response = shape.response()
    if told:
        setattr(response.partial_success, shape.rejected, rejected)
        response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def encode_status(code: int, message: str, *, json: bool, retry_after_s: float | None = None) -> bytes:
    """A `google.rpc.Status`: a gRPC code, a sentence, and `RetryInfo` when trying again later may help."""
    if json:
        body: dict[str, Any] = {"code": code, "message": message}
        if retry_after_s is not None:
            retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after_s:g}s"}
            body["details"] = [retry]
        return msgspec.json.encode(body)
    status = Status(code=code, message=message)
    if retry_after_s is not None:
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
        status.details.add().Pack(info)
    return bytes(status.SerializeToString())


def _parse(shape: _Shape, payload: bytes, *, json: bool) -> Any:
    request = shape.request()
    if json:
        parse_json(payload, request)
        return request
    try:
        request.ParseFromString(payload)
    except (DecodeError, RecursionError) as error:
        raise MalformedTelemetryError(f"not a valid OTLP protobuf message: {error}") from error
    return request


def _count(shape: _Shape, resources: Iterable[Any]) -> int:
    scopes = [scope for resource in resources for scope in getattr(resource, shape.scopes)]
    if shape.count is _count_each:
        return sum(len(getattr(scope, shape.records)) for scope in scopes)
    return sum(shape.count(record) for scope in scopes for record in getattr(scope, shape.records))


def _owners(resources: Iterable[Any], tenant: str, attributes: tuple[str, ...], partitions: int) -> list[int]:
    # By its bytes, a resource seen before is found faster than its attributes can be read.
    return [resource_partition(_serialize(r.resource), tenant, attributes, partitions) for r in resources]


# ---- refusals of spans


def _drop_bad_spans(resources: Iterable[Any], refusals: _Refusals) -> frozenset[int]:
    """Remove spans without valid ids; the indices of the resources that were changed."""
    changed = set()
    for index, resource in enumerate(resources):
        for scope in resource.scope_spans:
            bad = [n for n, span in enumerate(scope.spans) if not _ids_are_valid(span)]
            for n in reversed(bad):
                del scope.spans[n]
            if bad:
                changed.add(index)
                refusals.add("a span needs a trace_id of 16 and a span_id of 8 bytes, not all zero", len(bad))
    return frozenset(changed)


def _ids_are_valid(span: Any) -> bool:
    trace_id, span_id = span.trace_id, span.span_id
    return (
        len(trace_id) == TRACE_ID_BYTES
        and len(span_id) == SPAN_ID_BYTES
        and trace_id != b"\0" * TRACE_ID_BYTES
        and span_id != b"\0" * SPAN_ID_BYTES
    )


# ---- slicing and packing


def _raw_resources(resources: Any, payload: bytes, changed: frozenset[int]) -> list[bytes]:
    """Each resource as `field 1` of a request: a slice of the payload where that still says the same."""
    slices = _slices(payload) if payload else []
    if len(slices) != len(resources):
        slices = [b""] * len(resources)
    return [
        raw if raw and index not in changed else _field_one(_serialize(resource))
        for index, (raw, resource) in enumerate(zip(slices, resources, strict=True))
    ]


def _slices(payload: bytes) -> list[bytes]:
    """The bytes of each `field 1`, tag included; empty when the request holds anything else.

    Only for payloads that the protobuf library has accepted.
    """
    found = []
    position, end = 0, len(payload)
    while position < end:
        start = position
        if payload[position] != 0x0A:
            return []
        position += 1
        size = shift = 0
        while True:
            byte = payload[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        position += size
        found.append(payload[start:position])
    return found


def _pack(
    shape: _Shape,
    resources: Iterable[Any],
    raws: list[bytes],
    owners: list[int],
    bytes_max: int,
    refusals: _Refusals,
) -> Iterator[tuple[int, bytes]]:
    """Concatenate resources of one partition up to the size limit, in the order of the request."""
    open_parts: dict[int, list[bytes]] = {}
    sizes: dict[int, int] = {}
    for resource, whole, owner in zip(resources, raws, owners, strict=True):
        pieces = [whole] if len(whole) <= bytes_max else _cut(shape, resource, bytes_max, refusals)
        for raw in pieces:
            if owner in open_parts and sizes[owner] + len(raw) > bytes_max:
                yield owner, b"".join(open_parts.pop(owner))
            if owner not in open_parts:
                open_parts[owner], sizes[owner] = [], 0
            open_parts[owner].append(raw)
            sizes[owner] += len(raw)
    for owner, pieces in open_parts.items():
        yield owner, b"".join(pieces)


def _cut(shape: _Shape, resource: Any, bytes_max: int, refusals: _Refusals) -> Iterator[bytes]:
    """A resource that is too large for one message, as several that repeat its resource and scope.

    What is repeated takes at most half of a message, and a message ends only when it is full: else a few
    megabytes with many scopes would grow to hundreds of gigabytes.
    """
    head = _resource_head(resource)
    head_bytes = head.ByteSize() + FIELD_BYTES_MAX
    piece, size = _copy(head), head_bytes
    for scope in getattr(resource, shape.scopes):
        scope_head = _scope_head(scope)
        scope_bytes = scope_head.ByteSize() + FIELD_BYTES_MAX
        if head_bytes + scope_bytes > bytes_max // 2:
            for record in getattr(scope, shape.records):
                refusals.add(_too_large_head(bytes_max // 2), shape.count(record))
            continue
        target = None
        for record in getattr(scope, shape.records):
            need = record.ByteSize() + FIELD_BYTES_MAX
            if head_bytes + scope_bytes + need > bytes_max:
                refusals.add(_too_large(bytes_max), shape.count(record))
                continue
            if size + need + (scope_bytes if target is None else 0) > bytes_max:
                yield _field_one(_serialize(piece))
                piece, size, target = _copy(head), head_bytes, None
            if target is None:
                target = getattr(piece, shape.scopes).add()
                target.CopyFrom(scope_head)
                size += scope_bytes
            getattr(target, shape.records).append(record)
            size += need
    if size > head_bytes:
        yield _field_one(_serialize(piece))


def _too_large(bytes_max: int) -> str:
    return f"larger than a message of the log may be ({bytes_max} bytes)"


def _too_large_head(bytes_max: int) -> str:
    return f"the resource and scope together are larger than may be repeated ({bytes_max} bytes)"


def _resource_head(resource: Any) -> Any:
    """`resource` without scopes."""
    head = type(resource)(schema_url=resource.schema_url)
    if resource.HasField("resource"):
        head.resource.CopyFrom(resource.resource)
    return head


def _scope_head(scope: Any) -> Any:
    """`scope` without records."""
    head = type(scope)(schema_url=scope.schema_url)
    if scope.HasField("scope"):
        head.scope.CopyFrom(scope.scope)
    return head


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _serialize(message: Message) -> bytes:
    try:
        return bytes(message.SerializeToString())
    except EncodeError as error:
        raise MalformedTelemetryError(f"OTLP message cannot be stored: {error}") from error


def _field_one(raw: bytes) -> bytes:
    header = bytearray(b"\x0a")
    size = len(raw)
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header) + raw
