"""A collector that runs in the test's own loop, and what it wrote to the log."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import TelemetryLog
from driftlock.collector.service import Ready, run
from driftlock.collector.settings import CollectorSettings

NOW_NS = 1_700_000_000_000_000_000
METHODS = {
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}


@dataclass
class Collector:
    settings: CollectorSettings
    grpc_port: int
    http_port: int
    log: TelemetryLog

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def logged(self) -> list[Envelope]:
        """Every message of the log, by position."""
        found: list[Envelope] = []
        state = await self.log.state()
        for partition in range(self.settings.partitions):
            last = await self.log.last_position(partition)
            async with await self.log.read(partition, after=0) as reader:
                position = 0
                while position < last:
                    for envelope in await anext(reader):
                        found.append(envelope)
                        position = envelope.position
        assert len(found) >= state.messages, "more may have come meanwhile, none may be missing"
        return sorted(found, key=lambda envelope: envelope.position)

    async def log_bodies(self) -> list[str]:
        """The bodies of all log records, in the order of the log."""
        bodies = []
        for envelope in await self.logged():
            request = ExportLogsServiceRequest.FromString(envelope.payload)
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    bodies += [record.body.string_value for record in scope.log_records]
        return bodies

    async def call(
        self, kind: str, payload: bytes, *, gzip: bool = False, metadata: tuple[tuple[str, str], ...] = ()
    ) -> bytes:
        """One gRPC call of raw bytes."""
        options = [("grpc.max_send_message_length", -1)]
        compression = grpc.Compression.Gzip if gzip else None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=options) as channel:
            method = channel.unary_unary(METHODS[kind])
            return bytes(await method(payload, compression=compression, metadata=metadata, timeout=60))


@contextlib.asynccontextmanager
async def running(nats_url: str, **changes: object) -> AsyncIterator[Collector]:
    told: dict[str, object] = {
        "partitions": 4,
        "grpc_port": 0,
        "http_port": 0,
        "log_bytes_max": 1 << 30,
        **changes,
    }
    settings = CollectorSettings(nats_url=nats_url, **told)  # type: ignore[arg-type]
    stop = asyncio.Event()
    ready = Ready(asyncio.Event())
    numbers = itertools.count()
    service = asyncio.create_task(
        run(settings, stop, now_ns=lambda: NOW_NS, new_id=lambda: f"random-{next(numbers)}", ready=ready)
    )
    waiting = asyncio.create_task(ready.event.wait())
    await asyncio.wait({service, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if service.done():
        await service
    log = await TelemetryLog.connect(nats_url, name="test")
    try:
        yield Collector(settings, ready.grpc_port, ready.http_port, log)
    finally:
        await log.close()
        stop.set()
        await service
