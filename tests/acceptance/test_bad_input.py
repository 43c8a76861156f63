"""Hostile and broken telemetry against the whole tree: refused or bounded, and good data is not lost.

One tree takes everything in turn. In the end an ordinary stream, established before, still gets its verdict,
no process was restarted, and memory stayed bounded.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from support import telemetry
from support.tree import Tree

PROTOBUF = {"content-type": "application/x-protobuf"}
STREAM_FLOOD = 1_000_000
FLOOD_REQUEST_STREAMS = 4_000
DETECTOR_BYTES_MAX = 2_500 * 1024**2
SETTLE_TIMEOUT_S = 1_000.0  # beside other tests on two cores; alone it takes two minutes
HOSTILE_NAMES = (
    "nul\0inside",
    "new\nline\r\n",
    "'; DROP TABLE anomalies; --",
    "../../etc/passwd",
    "{tenant}>*.driftlock.otlp",
    "\u202e\u0000\uffff💥",
    "x" * 20_000,
    "",
)
ODD_TIMES = (0, 1, 2**63 - 1, 2**63, 2**64 - 1, 4_102_444_800_000_000_000)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("bad-input")]


@pytest.fixture
async def tree(data_dir: Path) -> AsyncIterator[Tree]:
    async with Tree(data_dir, "--streams-max", "4096", "--partitions", "8") as started:
        yield started


class Client:
    """OTLP over HTTP by hand, so that what a library would refuse to send can be sent."""

    def __init__(self, tree: Tree) -> None:
        self._http = httpx.AsyncClient(base_url=tree.otlp_http, timeout=60)

    async def post(self, kind: str, body: bytes, **headers: str) -> httpx.Response:
        return await self._http.post(f"/v1/{kind}", content=body, headers=PROTOBUF | headers)

    async def accepted(self, kind: str, body: bytes) -> None:
        """Sends until it is taken: refusals that ask for patience are honoured."""
        for _ in range(200):
            answer = await self.post(kind, body)
            if answer.status_code == 200:
                return
            assert answer.status_code in (429, 503), answer.text
            assert answer.headers["retry-after"]
            await asyncio.sleep(0.1)
        raise AssertionError("the collector never took it")

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._http.aclose()


@pytest.fixture
async def client(tree: Tree) -> AsyncIterator[Client]:
    async with Client(tree) as opened:
        yield opened


async def broken_requests_are_refused(client: Client) -> None:
    good = telemetry.logs(random.Random(1), "good", events=50, received_ns=time.time_ns()).payload
    assert (await client.post("logs", good[: len(good) // 2])).status_code == 400
    assert (await client.post("logs", b"\xff" * 1000)).status_code == 400
    deep = AnyValue(string_value="bottom").SerializeToString()
    for _ in range(2_000):
        inner = b"\x0a" + _length(len(deep)) + deep  # ArrayValue.values
        deep = b"\x2a" + _length(len(inner)) + inner  # AnyValue.array_value
    assert (await client.post("logs", _record_with_body(deep))).status_code == 400
    bomb = gzip.compress(bytes(200 * 1024 * 1024))
    answer = await client.post("logs", bomb, **{"content-encoding": "gzip"})
    assert answer.status_code == 413
    answer = await client.post("logs", b"not gzip", **{"content-encoding": "gzip"})
    assert answer.status_code == 400
    text = b'{"resourceLogs": ' + b"[" * 100_000
    answer = await client.post("logs", text, **{"content-type": "application/json"})
    assert answer.status_code == 400


def _length(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def _record_with_body(value: bytes) -> bytes:
    for tag in (b"\x2a", b"\x12", b"\x12", b"\x0a"):  # body, log_records, scope_logs, resource_logs
        value = tag + _length(len(value)) + value
    return value


async def odd_values_are_taken(client: Client) -> None:
    rng = random.Random(2)
    for name in HOSTILE_NAMES:
        request = ExportLogsServiceRequest()
        block = request.resource_logs.add(resource=telemetry.resource(name)).scope_logs.add()
        for number in range(300):
            record = block.log_records.add(time_unix_nano=ODD_TIMES[number % len(ODD_TIMES)])
            record.body.string_value = telemetry.normal_line(rng) + name[:50]
        await client.accepted("logs", request.SerializeToString())
    points = ExportMetricsServiceRequest()
    metric = points.resource_metrics.add(resource=telemetry.resource("odd")).scope_metrics.add().metrics.add()
    metric.name = "odd"
    for number, value in enumerate([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0] * 60):
        metric.gauge.data_points.add(time_unix_nano=ODD_TIMES[number % 6], as_double=value)
    await client.accepted("metrics", points.SerializeToString())
    spans = ExportTraceServiceRequest()
    scope = spans.resource_spans.add(resource=telemetry.resource("odd")).scope_spans.add()
    for number in range(200):
        span = scope.spans.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), name="\0" * (number % 7))
        span.start_time_unix_nano = ODD_TIMES[number % 6]
        span.end_time_unix_nano = ODD_TIMES[(number + 3) % 6]
    await client.accepted("traces", spans.SerializeToString())


async def a_million_stream_keys_are_taken(client: Client) -> None:
    """Every request has the same shape: the names in it are of one length and are counted on in place."""
    request = ExportLogsServiceRequest()
    for number in range(FLOOD_REQUEST_STREAMS):
        block = request.resource_logs.add(resource=telemetry.resource(f"flood-XXXX{number:04d}")).scope_logs
        block.add().log_records.add(time_unix_nano=time.time_ns()).body.string_value = "hello"
    shape = request.SerializeToString()
    for number in range(STREAM_FLOOD // FLOOD_REQUEST_STREAMS):
        await client.accepted("logs", shape.replace(b"flood-XXXX", b"flood-%04d" % number))


async def told_evicted(tree: Tree, at_least: float) -> None:
    """Waits until the metrics tell of so many evicted streams."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    evicted = 0.0
    while evicted < at_least:
        assert time.monotonic() < deadline, f"{evicted} evicted"
        async with httpx.AsyncClient() as http:
            told = (await http.get(f"{tree.api}/metrics")).text
        lines = [text for text in told.splitlines() if text.startswith("driftlock_streams_evicted_total")]
        evicted = sum(float(text.split()[-1]) for text in lines)
        await asyncio.sleep(0.3)


async def caught_up(tree: Tree, service: str, events: int) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    seen = None
    while seen != events:
        assert time.monotonic() < deadline, f"{service}: {seen} of {events} events"
        streams = (await tree.get("/v1/streams", service=service))["streams"]
        seen = streams[0]["events_seen"] if streams else None
        await asyncio.sleep(0.3)


async def test_hostile_input_costs_no_good_data(tree: Tree, client: Client) -> None:
    rng = random.Random(5)
    roles = {child.pid for child in tree.children("driftlock")}
    for _ in range(20):
        message = telemetry.logs(rng, "steady", events=500, received_ns=time.time_ns())
        await client.accepted("logs", message.payload)
    await caught_up(tree, "steady", 10_000)

    await broken_requests_are_refused(client)
    await odd_values_are_taken(client)
    await a_million_stream_keys_are_taken(client)

    await told_evicted(tree, STREAM_FLOOD * 0.99)
    fault = telemetry.logs(rng, "steady", events=100, received_ns=time.time_ns(), strange=True)
    await client.accepted("logs", fault.payload)
    await caught_up(tree, "steady", 10_100)
    assert await tree.anomalies(service="steady"), "the established stream lost its verdicts"
    assert {child.pid for child in tree.children("driftlock")} == roles, "a process was restarted"
    for child in tree.children("driftlock", "detector"):
        assert psutil.Process(child.pid).memory_info().rss < DETECTOR_BYTES_MAX
