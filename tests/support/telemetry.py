"""Telemetry made for tests: seeded, realistic enough to learn from, with faults put in where asked.

A `Story` yields log messages as a collector would append them: (kind, tenant, received_ns, payload).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SECOND_NS = 1_000_000_000
START_NS = 1_760_000_000 * SECOND_NS

NORMAL = (
    ("checkout accepted order {n} for customer {n} in {n} ms", 30),
    ("payment authorised transaction {n} amount {n}.{n}", 25),
    ("cache hit for key session:{n}", 25),
    ("GET /api/v1/orders/{n} 200 {n}ms", 15),
    ("connection from 10.1.{b}.{b} closed", 5),
)
STRANGE = (
    "FATAL disk failure on device sd{n}: unrecoverable read error at sector {n}",
    "panic: runtime error: index out of range [{n}] with length {n}",
    "replication slot lost, rebuilding from scratch, lag {n} bytes",
    "OutOfMemoryError: Java heap space while serving request {n}",
    "certificate expired for upstream ledger-{n}.internal",
)


@dataclass(frozen=True, slots=True)
class Message:
    """What a collector would append to one partition of the log."""

    kind: str
    payload: bytes
    received_ns: int


def line(rng: random.Random, pattern: str) -> str:
    """A pattern with `{n}` and `{b}` filled with random numbers."""
    while "{n}" in pattern:
        pattern = pattern.replace("{n}", str(rng.randrange(1, 100_000)), 1)
    while "{b}" in pattern:
        pattern = pattern.replace("{b}", str(rng.randrange(1, 255)), 1)
    return pattern


def normal_line(rng: random.Random) -> str:
    """One line of ordinary business."""
    patterns, weights = zip(*NORMAL, strict=True)
    return line(rng, rng.choices(patterns, weights)[0])


def resource(service: str) -> Resource:
    """A resource with a service name."""
    made = Resource()
    made.attributes.add(key="service.name").value.string_value = service
    return made


def logs(
    rng: random.Random, service: str, *, events: int, received_ns: int, strange: bool = False
) -> Message:
    """A message of log records; strange ones carry lines that never occur otherwise."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add(resource=resource(service)).scope_logs.add()
    for number in range(events):
        text = line(rng, rng.choice(STRANGE)) if strange else normal_line(rng)
        record = block.log_records.add(
            time_unix_nano=received_ns - (events - number) * 1_000_000, severity_number=17 if strange else 9
        )
        record.body.string_value = text
    return Message("logs", request.SerializeToString(), received_ns)


ORDER_STEPS = (
    "order received from {n}",
    "stock reserved at shelf {n}",
    "payment authorised after {n} ms",
    "parcel packed by hand {n}",
    "label printed on device {n}",
    "order closed",
)


def orders(
    rng: random.Random, service: str, step: int, *, before: int, received_ns: int, faulty: bool
) -> Message:
    """The first half of six orders of this step, then the second half of those of the step `before`.

    The attribute `order.id` names each record's order. With `faulty`, one of the latter is never closed.
    """
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add(resource=resource(service)).scope_logs.add()
    halves = [(step, half, number) for half in range(3) for number in range(6)]
    if before >= 0:
        halves += [(before, half, number) for half in range(3, 6) for number in range(6)]
    for begun, half, number in halves:
        if faulty and (half, number) == (5, 2):
            continue
        record = block.log_records.add(time_unix_nano=received_ns, severity_number=9)
        record.body.string_value = line(rng, ORDER_STEPS[half])
        record.attributes.add(key="order.id").value.string_value = f"{service}-order-{begun}-{number}"
    return Message("logs", request.SerializeToString(), received_ns)


def chats(service: str, *, conversations: Iterable[int], received_ns: int) -> Message:
    """A message of GenAI log records, three of each conversation."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add(resource=resource(service)).scope_logs.add()
    for conversation in conversations:
        for name in ("gen_ai.user.message", "gen_ai.tool.message", "gen_ai.choice"):
            record = block.log_records.add(time_unix_nano=received_ns, event_name=name)
            record.attributes.add(key="gen_ai.conversation.id").value.string_value = f"chat-{conversation}"
    return Message("logs", request.SerializeToString(), received_ns)


def traces(
    rng: random.Random, service: str, *, count: int, received_ns: int, strange: bool = False
) -> Message:
    """A message of `count` whole traces of three to five spans."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add(resource=resource(service)).scope_spans.add()
    for _ in range(count):
        trace_id = rng.randbytes(16)
        names = ["GET /orders", "authorise", "SELECT orders", "cache.get", "publish"][: rng.randrange(3, 6)]
        if strange:
            names = ["GET /orders", "retry storm", "circuit breaker open", "SELECT orders", "rollback"]
        for name in names:
            span = block.spans.add(trace_id=trace_id, span_id=rng.randbytes(8), name=name, kind=2)
            span.start_time_unix_nano = received_ns - rng.randrange(1_000_000, 5_000_000)
            span.end_time_unix_nano = received_ns
            if strange:
                span.status.code = 2
    return Message("traces", request.SerializeToString(), received_ns)


def metrics(rng: random.Random, service: str, *, received_ns: int, level: float = 100.0) -> Message:
    """A message with three points, a third of a second apart, of each of five gauges."""
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add(resource=resource(service)).scope_metrics.add()
    for number in range(5):
        metric = block.metrics.add(name=f"queue.depth.{number}")
        for third in (2, 1, 0):
            time_ns = received_ns - third * SECOND_NS // 3
            metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=rng.gauss(level, 5.0))
    return Message("metrics", request.SerializeToString(), received_ns)


def story(
    *, seed: int = 1, messages: int = 360, services: int = 3, with_orders: bool = False
) -> Iterator[Message]:
    """A while of ordinary telemetry of all signals with a few faults near its end.

    Every 20th message from two thirds on is strange, in turn for logs, traces and metrics. With orders, the
    messages of logs hold those of `orders` as well, and every 20th of them is faulty.
    """
    rng, own = random.Random(seed), random.Random(seed)
    for number in range(messages):
        received_ns = START_NS + number * SECOND_NS
        service = f"service-{number % services}"
        late = number > messages * 2 // 3
        strange = late and number % 20 == 0
        told = logs(rng, service, events=150, received_ns=received_ns, strange=strange)
        if with_orders:
            faulty = late and number % 20 == 15
            before = number - services
            more = orders(own, service, number, before=before, received_ns=received_ns, faulty=faulty)
            told = Message("logs", told.payload + more.payload, received_ns)
        yield told
        yield traces(rng, service, count=8, received_ns=received_ns, strange=late and number % 20 == 10)
        level = 900.0 if late and number % 20 == 5 else 100.0
        yield metrics(rng, service, received_ns=received_ns, level=level)
