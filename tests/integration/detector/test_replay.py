"""Detectors killed again and again over the same log find exactly what an undisturbed one finds.

The log holds logs, sessions of logs, traces and metrics of several services with faults in them. Both
detectors are real processes on real PostgreSQL and NATS; each writes into a database of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import TelemetryLog
from driftlock.signals.batch import StreamKey
from driftlock.storage.migrate import migrate
from support import telemetry

PARTITIONS = 2
REFRESHED = {
    uuid.UUID(int=1): StreamKey("default", "logs", "service-0", ()),
    uuid.UUID(int=2): StreamKey("default", "traces", "service-0", ()),
}
REFRESHED_AT = 540
RECORD = (
    "INSERT INTO baseline_refreshes (id, stream_id, partition, requested_by)"
    " VALUES ('{}', '{}', 0, 'a person')"
)
DONE_TIMEOUT_S = 120.0
# the first order of each service that was never closed: the same again, soon after, is no news
FAULTY_ORDERS = {"service-0-order-252-2", "service-2-order-272-2", "service-1-order-292-2"}
COMPARED = (
    "id, timestamp, stream_type, stream, service, severity, ncd_score, p_value, surprise_bits, "
    "glass_box_explanation, detailed_explanation::text, baseline_ref, window_start, window_end, "
    "log_position, partition, metadata::text, trace_ids, episode::text"
)


@pytest.fixture
def databases(shared_postgres: str) -> Iterator[list[str]]:
    names = [f"replay_{os.getpid()}_{which}" for which in ("a", "b")]
    asyncio.run(_execute(shared_postgres, *(f'create database "{name}"' for name in names)))
    yield [shared_postgres.rsplit("/", 1)[0] + f"/{name}" for name in names]
    asyncio.run(_execute(shared_postgres, *(f'drop database "{name}" with (force)' for name in names)))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def detector(database_url: str, nats_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "driftlock", "detector",
        "--database-url", database_url, "--nats-url", nats_url,
        "--partitions", str(PARTITIONS), "--checkpoint-interval-s", "0.1",
        "--session-attributes", "order.id",
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 15)


async def drained(database_url: str, log: TelemetryLog) -> None:
    """Waits until checkpoints stand at the end of the log and no session waits for the clock."""
    connection = await asyncpg.connect(database_url)
    quiet = 0
    try:
        async with asyncio.timeout(DONE_TIMEOUT_S):
            while quiet < 5:
                rows = await connection.fetch("SELECT partition, position FROM partition_checkpoints")
                at = {row["partition"]: row["position"] for row in rows}
                ends = {partition: await log.last_position(partition) for partition in range(PARTITIONS)}
                quiet = quiet + 1 if at == ends else 0
                await asyncio.sleep(0.5)
    finally:
        await connection.close()


async def reached(database_url: str, position: int) -> None:
    """Waits until a checkpoint stands at or beyond a position."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(DONE_TIMEOUT_S):
            while True:
                at = await connection.fetchval("SELECT max(position) FROM partition_checkpoints")
                if (at or 0) >= position:
                    return
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def found(database_url: str, *, until: int) -> list[asyncpg.Record]:
    """The anomalies of the log up to a position: what ticks behind it add depends on how long one waits."""
    connection = await asyncpg.connect(database_url)
    try:
        query = f"SELECT {COMPARED} FROM anomalies WHERE log_position <= $1 ORDER BY id"
        return await connection.fetch(query, until)
    finally:
        await connection.close()


async def refreshed(database_url: str) -> list[tuple[object, ...]]:
    """The records of refreshes, and how many of the snapshots that they name are kept."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT id, log_position, baseline_before, baseline_after, closed_at IS NOT NULL AS closed,"
            " (SELECT count(*) FROM baselines WHERE sha256 IN (baseline_before, baseline_after)) AS kept"
            " FROM baseline_refreshes ORDER BY id"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


def story_with_refreshes() -> list[tuple[int, Envelope]]:
    """Partitions and messages; halfway a stream of logs and one of spans are asked to learn anew."""
    told: list[tuple[int, Envelope]] = []
    for number, message in enumerate(telemetry.story(with_orders=True)):
        envelope = Envelope(message.kind, "default", message.received_ns, message.payload)  # type: ignore[arg-type]
        if number == REFRESHED_AT:
            for asked, key in REFRESHED.items():
                wish = key.id.bytes + asked.bytes
                told.append((0, Envelope("refresh", "default", message.received_ns, wish)))
        # three messages a step of the story, services in turn
        told.append((number // 3 % 3 % PARTITIONS, envelope))
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_detectors_find_what_an_undisturbed_one_finds(
    databases: list[str], nats_url: str
) -> None:
    for url in databases:
        await migrate(url)
        await _execute(url, *(RECORD.format(asked, key.id) for asked, key in REFRESHED.items()))
    log = await TelemetryLog.connect(nats_url, name="test")
    await log.ensure(bytes_max=1 << 30)
    for number, (partition, envelope) in enumerate(story_with_refreshes()):
        await log.append(partition, envelope, message_id=f"m{number}", timeout_s=10)

    told = max([await log.last_position(partition) for partition in range(PARTITIONS)])

    async with detector(databases[0], nats_url):
        await drained(databases[0], log)

    end = max([await log.last_position(partition) for partition in range(PARTITIONS)])
    for share in (0.2, 0.4, 0.6, 0.8):
        async with detector(databases[1], nats_url) as process:
            await reached(databases[1], int(share * end))
            process.kill()
            await process.wait()
    async with detector(databases[1], nats_url):
        await drained(databases[1], log)
    await log.close()

    undisturbed, disturbed = [await found(url, until=told) for url in databases]
    assert undisturbed, "the story holds faults, and none was found"
    assert {row[2] for row in undisturbed} == {"logs", "traces", "metrics"}
    sessions = [dict(row) for row in undisturbed if row["stream"] == f"{row['service']}{{unit=session}}"]
    assert {json.loads(row["metadata"])["unit"] for row in sessions} == FAULTY_ORDERS
    assert all(row["trace_ids"] == [] for row in sessions)
    assert any(row["episode"] and json.loads(row["episode"])["units"] > 1 for row in undisturbed)
    assert disturbed == undisturbed

    records = [await refreshed(url) for url in databases]
    assert records[0] == records[1]
    for number, (asked, position, before, after, closed, kept) in enumerate(records[0]):
        assert (asked, position) == (uuid.UUID(int=number + 1), REFRESHED_AT + number + 1)
        assert before != after
        assert (closed, kept) == (True, 2)
