"""Telemetry to measure speed with: OTLP requests, encoded before any clock starts.

Owns the texts and their shape; the same arguments give the same bytes. It must not know transports.

Each service writes a mix of templates of its own, most of them rarely, with ids, numbers, addresses and paths
in them; a line has about 150 characters and a record about 200 bytes. All times of a request, and the first
halves of its trace ids, are one mark each, so that a request can be sent again later as fresh telemetry:
see `fresh`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Kind = Literal["logs", "traces", "metrics"]

RECORDS_A_REQUEST = 1_000
TEMPLATES_A_SERVICE = 10
SPANS_A_TRACE = 5
TIME_MARK_NS = 0x17E8_D3C5_B9A1_F642
TRACE_MARK = bytes.fromhex("d7c3b1a5f9e8e2d4")
_TIME_MARK = TIME_MARK_NS.to_bytes(8, "little")
_SEVERITIES = {"INFO": 9, "WARN": 13, "ERROR": 17}

_FIELDS: dict[str, Callable[[random.Random], str]] = {
    "n": lambda rng: str(rng.randrange(10 ** rng.randrange(1, 8))),
    "ms": lambda rng: f"{rng.expovariate(0.03):.2f}",
    "hex": lambda rng: f"{rng.getrandbits(64):016x}",
    "uuid": lambda rng: re.sub(r"(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-", f"{rng.getrandbits(128):032x}"),
    "ip": lambda rng: f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
    "port": lambda rng: str(rng.randrange(1024, 65536)),
    "path": lambda rng: f"/srv/data/shard-{rng.randrange(64):02d}/segment-{rng.randrange(10**6):06d}.dat",
}

_TEMPLATES = """\
INFO accepted order {n} of customer {uuid}: {n} items from warehouse {n}, total {ms} EUR, took {ms} ms
INFO GET /api/v2/catalogue/items/{n}?page={n} 200 {n} bytes in {ms} ms from {ip}:{port} agent shop-app/{n}
INFO flushed segment {path} with {n} entries and {n} tombstones to level {n} in {ms} ms, checksum {hex}
INFO session {hex} renewed for user {n} at {ip}, expires in {n} s, previous address {ip} was kept
INFO replica {ip}:{port} acknowledged batch {uuid} up to offset {n}, lag is {n} bytes and {ms} ms
INFO scheduled job {uuid} on queue nightly-reports with priority {n}, {n} tasks are waiting before it
INFO cache refill of region eu-{n} loaded {n} keys from {path} in {ms} ms, {n} were stale and dropped
INFO payment {uuid} authorised by acquirer {n} for {ms} EUR after {n} attempts, risk score {ms}
INFO connection {n} from {ip}:{port} closed by peer after {n} requests and {n} bytes, idle for {ms} s
WARN slow statement {hex} took {ms} ms, scanned {n} rows of table ledger_{n} and returned {n}
INFO moved block {hex} of file {path} to node {ip}:{port}, {n} of {n} copies are in place
WARN retrying call to inventory service at {ip}:{port}, attempt {n} of {n}, waiting {ms} ms, request {uuid}
INFO garbage collection of generation {n} freed {n} bytes in {ms} ms, heap is {n} of {n} bytes
INFO exported {n} spans and {n} logs to collector {ip}:{port} in {ms} ms, queue holds {n}, dropped {n}
ERROR request {uuid} failed with status 502 after {ms} ms: upstream {ip}:{port} closed the connection
INFO worker {n} picked up message {uuid} from partition {n} at offset {n}, delivered {n} times
"""

_STRANGE = """\
ERROR journal of volume {n} is corrupt at sector {n}, remounting read-only, checksum {hex} expected
ERROR out of memory while allocating {n} bytes for tensor arena, killing process {n} without mercy
ERROR certificate chain of issuer {hex} is not trusted, refusing every handshake from {ip} from now on
ERROR split brain: node {ip}:{port} claims leadership of term {n}, fencing it and stopping all writes
"""

_SPANS = ("GET /checkout", "authorise payment", "SELECT ledger", "reserve stock", "publish order.accepted")
_DURATIONS_NS = tuple(int(400_000 * 2.5**step) for step in range(8))
_METRICS = ("queue.depth", "http.server.active_requests", "process.memory.usage", "jvm.threads", "cpu.time")


@dataclass(frozen=True, slots=True)
class Shape:
    """Who sends: `streams` services called `{prefix}-{number}`, each with `run` records in a request."""

    streams: int
    run: int
    prefix: str = "service"

    @property
    def services_a_request(self) -> int:
        return RECORDS_A_REQUEST // self.run

    def services(self, request: int) -> list[int]:
        """The numbers of the services that are in a request: all in turn."""
        first = request * self.services_a_request
        return [(first + i) % self.streams for i in range(self.services_a_request)]

    def name(self, service: int) -> str:
        return f"{self.prefix}-{service:05d}"


def shape_of(streams: int, *, prefix: str = "service") -> Shape:
    """The usual shape: one service alone, or a hundred services with ten records each in a request."""
    return Shape(streams, RECORDS_A_REQUEST if streams == 1 else 10, prefix)


def requests(kind: Kind, shape: Shape, *, count: int, seed: int) -> list[bytes]:
    """`count` Export requests of `RECORDS_A_REQUEST` log records, spans or metric points each."""
    encode = {"logs": _logs, "traces": _traces, "metrics": _metrics}[kind]
    rng = random.Random(seed)
    return [encode(rng, shape, number) for number in range(count)]


def strange_block(service: str, *, events: int, seed: int) -> bytes:
    """A request with lines of one service that it never wrote before."""
    rng = random.Random(seed)
    request = ExportLogsServiceRequest()
    block = _resource(request.resource_logs.add(), service).scope_logs.add()
    for _ in range(events):
        _add_record(block, rng, rng.choice(_COMPILED_STRANGE))
    return bytes(request.SerializeToString())


def fresh(payload: bytes, *, now_ns: int, round_number: int) -> bytes:
    """The request with its times at `now_ns` and its trace ids, if it has any, made new for this round."""
    payload = payload.replace(_TIME_MARK, now_ns.to_bytes(8, "little"))
    if TRACE_MARK not in payload:
        return payload
    for duration_ns in _DURATIONS_NS:
        start = (TIME_MARK_NS - duration_ns).to_bytes(8, "little")
        payload = payload.replace(start, (now_ns - duration_ns).to_bytes(8, "little"))
    return payload.replace(TRACE_MARK, (round_number + 1).to_bytes(8, "little"))


def lines(*, count: int, seed: int) -> Iterator[str]:
    """Plain log lines with a time and a level, for commands that read files."""
    rng = random.Random(seed)
    mix = _mix("file")
    for number in range(count):
        (_, level), pieces = mix(rng)
        clock = f"{1 + number // 86_400 % 28:02d}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}"
        yield f"2026-03-{clock}:{number % 60:02d}.{rng.randrange(1000):03d}Z {level} {_fill(pieces, rng)}"


# ---- texts

_Template = tuple[tuple[int, str], list[str | Callable[[random.Random], str]]]


def _compile(template: str) -> _Template:
    level, _, text = template.partition(" ")
    parts = re.split(r"\{(\w+)\}", text)
    pieces = [_FIELDS[part] if index % 2 else part for index, part in enumerate(parts)]
    return (_SEVERITIES[level], level), pieces


_COMPILED = [_compile(template) for template in _TEMPLATES.splitlines()]
_COMPILED_STRANGE = [_compile(template) for template in _STRANGE.splitlines()]


def _fill(pieces: list[str | Callable[[random.Random], str]], rng: random.Random) -> str:
    return "".join(piece if isinstance(piece, str) else piece(rng) for piece in pieces)


def _mix(service: str) -> Callable[[random.Random], _Template]:
    """How a service chooses its next template: a few of them often, the others rarely (1/rank)."""
    own = random.Random(service)
    chosen = own.sample(_COMPILED, TEMPLATES_A_SERVICE)
    weights = list(accumulate(1 / rank for rank in range(1, TEMPLATES_A_SERVICE + 1)))
    return lambda rng: rng.choices(chosen, cum_weights=weights)[0]


# ---- requests


def _resource(resource_part: Any, service: str) -> Any:
    resource_part.resource.attributes.add(key="service.name").value.string_value = service
    resource_part.resource.attributes.add(key="host.name").value.string_value = "node-1"
    return resource_part


def _add_record(block: Any, rng: random.Random, template: _Template) -> None:
    (number, text), pieces = template
    record = block.log_records.add(
        time_unix_nano=TIME_MARK_NS,
        observed_time_unix_nano=TIME_MARK_NS,
        severity_number=number,
        severity_text=text,
    )
    record.body.string_value = _fill(pieces, rng)


def _logs(rng: random.Random, shape: Shape, number: int) -> bytes:
    request = ExportLogsServiceRequest()
    for service in shape.services(number):
        name = shape.name(service)
        block = _resource(request.resource_logs.add(), name).scope_logs.add()
        mix = _mix(name)
        for _ in range(shape.run):
            _add_record(block, rng, mix(rng))
    return bytes(request.SerializeToString())


def _traces(rng: random.Random, shape: Shape, number: int) -> bytes:
    request = ExportTraceServiceRequest()
    for service in shape.services(number):
        block = _resource(request.resource_spans.add(), shape.name(service)).scope_spans.add()
        for index in range(shape.run):
            if index % SPANS_A_TRACE == 0:
                trace_id = TRACE_MARK + rng.randbytes(8)
            span = block.spans.add(
                trace_id=trace_id,
                span_id=rng.randbytes(7) + b"\1",
                name=_SPANS[index % SPANS_A_TRACE],
                kind=2 if index % SPANS_A_TRACE == 0 else 3,
                start_time_unix_nano=TIME_MARK_NS - rng.choice(_DURATIONS_NS),
                end_time_unix_nano=TIME_MARK_NS,
            )
            span.attributes.add(key="http.response.status_code").value.int_value = 200
            span.attributes.add(key="server.address").value.string_value = _FIELDS["ip"](rng)
    return bytes(request.SerializeToString())


def _metrics(rng: random.Random, shape: Shape, number: int) -> bytes:
    """Gauges: each service has as many series as it has points in a request."""
    request = ExportMetricsServiceRequest()
    for service in shape.services(number):
        block = _resource(request.resource_metrics.add(), shape.name(service)).scope_metrics.add()
        for first in range(0, shape.run, len(_METRICS)):
            for name in _METRICS:
                point = block.metrics.add(name=name, unit="1").gauge.data_points.add(
                    time_unix_nano=TIME_MARK_NS, as_double=rng.gauss(100.0, 10.0)
                )
                point.attributes.add(key="instance").value.int_value = first // len(_METRICS)
    return bytes(request.SerializeToString())
