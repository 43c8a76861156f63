"""The load generator's process: sends encoded OTLP requests over gRPC as fast as, or as fast as told.

    python -m benchmarks.speed_client '{"port": 4317, "kind": "logs", "streams": 100, ...}'

It encodes its requests, says `ready`, and then answers each line of standard input (`Order` as JSON) with one
line (`Sent` as JSON) once everything was acknowledged. Retryable refusals are sent again and counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import grpc
import grpc.aio
import msgspec
import uvloop

from benchmarks.load import RECORDS_A_REQUEST, Kind, Shape, fresh, requests

IN_FLIGHT = 8
RETRY_WAIT_S = 0.1
CALL_TIMEOUT_S = 60.0
RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
METHODS: dict[str, str] = {
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Spec(msgspec.Struct, frozen=True):
    """What to encode: `pool` different requests, which are sent in turn."""

    port: int
    kind: Kind
    streams: int
    run: int
    prefix: str
    pool: int
    seed: int = 1


class Order(msgspec.Struct, frozen=True):
    """So many requests, at `rate` records a second (0: as fast as they are acknowledged)."""

    requests: int
    rate: float = 0.0


class Sent(msgspec.Struct, frozen=True):
    """`first_s` is when the first request was sent and `acknowledged_s` when the last was, monotonic."""

    records: int
    bytes: int
    refused: int
    first_s: float
    acknowledged_s: float


class Sender:
    """Sends requests of the pool in turn over one connection."""

    def __init__(self, channel: grpc.aio.Channel, kind: Kind, pool: list[bytes]) -> None:
        self._export: Any = channel.unary_unary(METHODS[kind])
        self._pool = pool
        self._next = 0
        self._bytes = 0
        self._refused = 0

    async def send(self, order: Order) -> Sent:
        """Everything of the order, with at most `IN_FLIGHT` requests on their way."""
        self._refused = self._bytes = 0
        first_s = time.monotonic()
        left = iter(range(order.requests))

        async def worker() -> None:
            for number in left:
                if order.rate:
                    due_s = first_s + number * RECORDS_A_REQUEST / order.rate
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                await self._one()

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        records = order.requests * RECORDS_A_REQUEST
        return Sent(records, self._bytes, self._refused, first_s, time.monotonic())

    async def _one(self) -> None:
        rounds, index = divmod(self._next, len(self._pool))
        self._next += 1
        payload = fresh(self._pool[index], now_ns=time.time_ns(), round_number=rounds)
        self._bytes += len(payload)
        while True:
            try:
                await self._export(payload, timeout=CALL_TIMEOUT_S)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRYABLE:
                    raise
                self._refused += 1
                await asyncio.sleep(RETRY_WAIT_S)


async def serve(spec: Spec) -> None:
    """Encode, then follow orders until standard input ends."""
    shape = Shape(spec.streams, spec.run, spec.prefix)
    pool = requests(spec.kind, shape, count=spec.pool, seed=spec.seed)
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{spec.port}", options=UNLIMITED) as channel:
        sender = Sender(channel, spec.kind, pool)
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            sent = await sender.send(msgspec.json.decode(line, type=Order))
            print(msgspec.json.encode(sent).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Spec)))
