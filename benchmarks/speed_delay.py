"""End-to-end delay: from sending a block of strange lines to its anomaly over Server-Sent Events.

Every service of a group is warmed up, then gets one request with one block of lines that it never wrote. The
clock runs from handing the request to gRPC until the event of that service has been read. Requests are sent
at fixed times, whether or not earlier ones were answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
import msgspec

from benchmarks.load import Shape, fresh, strange_block
from benchmarks.speed_client import METHODS, Order, Spec
from benchmarks.speed_throughput import Client, one_run
from benchmarks.speed_tree import Tree, phases

SERVICES = 200
BLOCK_EVENTS = 25  # the default hop: a block is complete, and scored, with its last line
WARM_UP_A_STREAM = 4_000
INTERVAL_S = 0.05
GRACE_S = 20.0
BACKGROUND_A_SECOND = 20_000.0
BACKGROUND_STREAMS = 100


@dataclass(frozen=True, slots=True)
class Delay:
    """Milliseconds from send to event over the services whose block was reported; `sent` counts all."""

    background: float
    sent: int
    reported: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def told(self) -> dict[str, Any]:
        """For the results file."""
        return {name: getattr(self, name) for name in self.__slots__}


def measure(tree: Tree) -> list[Delay]:
    """At idle, then under background load; each with services of its own."""
    idle = _group(tree, "delay-idle")
    loaded = _group(tree, "delay-loaded")
    found = phases(tree.settled("delay", 2 * SERVICES * WARM_UP_A_STREAM))
    if set(found) != {"ready"}:
        raise RuntimeError(f"the services for the delay are not warmed up: {found}")
    results = [asyncio.run(_round(tree, idle, 0.0))]
    spec = Spec(tree.grpc_port, "logs", BACKGROUND_STREAMS, 10, "background", pool=100)
    with Client(spec) as client:
        one_run(tree, client, "logs", requests=150)
        seconds = SERVICES * INTERVAL_S + GRACE_S / 4
        client.start(Order(int(BACKGROUND_A_SECOND * seconds / 1000), BACKGROUND_A_SECOND))
        results.append(asyncio.run(_round(tree, loaded, BACKGROUND_A_SECOND)))
        client.result()
    return results


def _group(tree: Tree, prefix: str) -> list[str]:
    """Warms up a group of services, in whole blocks."""
    shape = Shape(SERVICES, BLOCK_EVENTS, prefix)
    requests = WARM_UP_A_STREAM * SERVICES // 1_000
    with Client(Spec(tree.grpc_port, "logs", SERVICES, BLOCK_EVENTS, prefix, pool=requests)) as client:
        one_run(tree, client, "logs", requests=requests)
    return [shape.name(number) for number in range(SERVICES)]


async def _round(tree: Tree, services: list[str], background: float) -> Delay:
    waiting, seen = set(services), dict[str, float]()
    async with _events(tree) as events:

        async def listen() -> None:
            async for service, at_s in events:
                if service in waiting:
                    seen.setdefault(service, at_s)
                if len(seen) == len(services):
                    return

        listening = asyncio.create_task(listen())
        sent = await _send_blocks(tree.grpc_port, services)
        await asyncio.wait({listening}, timeout=GRACE_S)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    delays = sorted(1e3 * (at_s - sent[service]) for service, at_s in seen.items())
    if not delays:
        raise RuntimeError("no block of strange lines was reported")
    return Delay(
        background, len(services), len(seen), _quantile(delays, 0.5), _quantile(delays, 0.99), delays[-1]
    )


async def _send_blocks(port: int, services: list[str]) -> dict[str, float]:
    """Each service's block at its time; returns when each was sent."""
    blocks = [strange_block(name, events=BLOCK_EVENTS, seed=n) for n, name in enumerate(services)]
    sent: dict[str, float] = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        export: Any = channel.unary_unary(METHODS["logs"])
        await channel.channel_ready()

        async def one(number: int) -> None:
            payload = fresh(blocks[number], now_ns=time.time_ns(), round_number=0)
            sent[services[number]] = time.monotonic()
            await export(payload, timeout=60)

        first_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(len(services)):
                await asyncio.sleep(max(0.0, first_s + number * INTERVAL_S - time.monotonic()))
                group.create_task(one(number))
    return sent


@contextlib.asynccontextmanager
async def _events(tree: Tree) -> AsyncIterator[AsyncIterator[tuple[str, float]]]:
    """Service and arrival of each anomaly that is told from now on."""
    client = httpx.AsyncClient(base_url=tree.api_url, headers=tree.headers, timeout=None)
    async with client, client.stream("GET", "/v1/stream/anomalies") as response:
        response.raise_for_status()
        lines = response.aiter_lines()
        async for line in lines:
            if line == "event: connected":
                break

        async def anomalies() -> AsyncIterator[tuple[str, float]]:
            event = ""
            async for line in lines:
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif event == "anomaly" and line.startswith("data: "):
                    at_s = time.monotonic()
                    yield msgspec.json.decode(line[6:])["service"], at_s

        yield anomalies()


def _quantile(ordered: list[float], share: float) -> float:
    """The nearest-rank quantile."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
