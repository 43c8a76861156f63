"""A real detector tells that the logs of one service stopped, while those of others go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import TelemetryLog
from driftlock.storage.migrate import migrate
from support import telemetry

BLOCK_S = 10
SECONDS, STOPPED_S = 1_300, 1_250
START_NS = telemetry.START_NS // (BLOCK_S * telemetry.SECOND_NS) * BLOCK_S * telemetry.SECOND_NS
FOUND_TIMEOUT_S = 120.0


@asynccontextmanager
async def database(shared_postgres: str) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The address of a new database, and a connection to it."""
    name = f"silence_{os.getpid()}"
    server = await asyncpg.connect(shared_postgres)
    await server.execute(f'create database "{name}"')
    url = shared_postgres.rsplit("/", 1)[0] + f"/{name}"
    try:
        await migrate(url)
        connection = await asyncpg.connect(url)
        try:
            yield url, connection
        finally:
            await connection.close()
    finally:
        await server.execute(f'drop database "{name}" with (force)')
        await server.close()


async def fill(log: TelemetryLog) -> None:
    """Every other second a message of each service; `mail` stops at the end of a block."""
    rng = random.Random(6)
    for second in range(0, SECONDS, 2):
        for number, service in enumerate(("cart", "mail", "shop")):
            at_ns = START_NS + second * telemetry.SECOND_NS + number * 300_000_000
            told = telemetry.logs(rng, service, events=rng.randrange(4, 13), received_ns=at_ns)
            if service != "mail" or second < STOPPED_S:
                envelope = Envelope("logs", "default", at_ns, told.payload)
                await log.append(0, envelope, message_id=f"m{second}-{number}", timeout_s=10)


async def the_silence(connection: asyncpg.Connection) -> asyncpg.Record:
    async with asyncio.timeout(FOUND_TIMEOUT_S):
        while True:
            query = "SELECT * FROM anomalies WHERE 'silence' = ANY(tags) ORDER BY timestamp LIMIT 1"
            if row := await connection.fetchrow(query):
                return row
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_logs_of_a_service_that_stops_become_an_anomaly(
    shared_postgres: str, nats_url: str
) -> None:
    log = await TelemetryLog.connect(nats_url, name="test")
    await log.ensure(bytes_max=1 << 30)
    await fill(log)
    async with database(shared_postgres) as (url, connection):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "driftlock", "detector",
            "--database-url", url, "--nats-url", nats_url, "--partitions", "1",
            "--time-block-s", str(BLOCK_S),
        )  # fmt: skip
        try:
            row = await the_silence(connection)
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 15)
    await log.close()
    assert (row["service"], row["stream_type"], row["tags"]) == ("mail", "logs", ["silence"])
    assert "no line came, where about" in row["glass_box_explanation"]
    assert row["p_value"] <= 0.01
    stopped_ns = START_NS + STOPPED_S * telemetry.SECOND_NS
    assert row["window_start"].timestamp() == stopped_ns / 1e9
    metadata = json.loads(row["metadata"])
    assert (metadata["kind"], metadata["events"]) == ("silence", 0)
