"""The feed's order is commit order: a reader that goes by position never skips a row that commits late."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from driftlock.storage import anomalies, feed, feed_reader, pool
from driftlock.storage.anomalies import NewAnomaly, anomaly_id

NOW = datetime(2026, 3, 4, tzinfo=UTC)
WRITERS = 8
COMMITS = 12


def make(seed: bytes) -> NewAnomaly:
    return NewAnomaly(
        id=anomaly_id(NOW, seed), timestamp=NOW, stream_type="logs", stream="s", service="s", severity="low"
    )


async def _write(url: str, writer: int, rng: random.Random) -> None:
    conn = await pool.connect(url, name=f"writer-{writer}")
    try:
        for number in range(COMMITS):
            rows = [make(b"%d/%d/%d" % (writer, number, i)) for i in range(rng.randint(1, 4))]
            transaction = conn.transaction()
            await transaction.start()
            await anomalies.insert(conn, rows)
            # the position is given out and not yet visible: a sequence would let others overtake here
            await asyncio.sleep(rng.random() * 0.01)
            await (transaction.rollback() if rng.random() < 0.2 else transaction.commit())
    finally:
        await conn.close()


async def _follow(url: str, done: asyncio.Event) -> list[int]:
    """Reads from its last position on, as a live client does, until the writers are done."""
    conn = await pool.connect(url, name="reader")
    seen: list[int] = []
    try:
        while True:
            finished = done.is_set()
            page = await feed_reader.after(conn, seen[-1] if seen else 0, limit=3)
            seen += [event.position for event in page]
            if finished and not page:
                return seen
    finally:
        await conn.close()


async def test_a_follower_sees_every_row_under_concurrent_writers(database_url: str) -> None:
    done = asyncio.Event()
    followers = [asyncio.create_task(_follow(database_url, done)) for _ in range(2)]
    await asyncio.gather(*(_write(database_url, n, random.Random(n)) for n in range(WRITERS)))
    done.set()
    seen = await asyncio.gather(*followers)
    conn = await pool.connect(database_url, name="check")
    stored = await conn.fetchval("SELECT count(*) FROM anomalies")
    await conn.close()
    assert stored > WRITERS
    for positions in seen:
        assert positions == list(range(1, stored + 1))


async def test_the_follower_test_would_catch_a_sequence(database_url: str) -> None:
    """The same race against a plain sequence: the late row is behind the cursor when it becomes visible."""
    early, late = [await pool.connect(database_url, name="w") for _ in range(2)]
    reader = await pool.connect(database_url, name="r")
    try:
        await reader.execute("CREATE TABLE naive (position bigserial PRIMARY KEY)")
        transaction = late.transaction()
        await transaction.start()
        await late.execute("INSERT INTO naive DEFAULT VALUES")
        await early.execute("INSERT INTO naive DEFAULT VALUES")
        cursor = await reader.fetchval("SELECT max(position) FROM naive")
        await transaction.commit()
        skipped = await reader.fetch("SELECT position FROM naive WHERE position < $1", cursor)
        assert [row[0] for row in skipped] == [1]
    finally:
        for conn in (early, late, reader):
            await conn.close()


async def test_notifies_after_commit_with_the_last_position(
    conn: asyncpg.Connection, database_url: str
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    listener = await pool.connect(database_url, name="listener")
    try:
        await listener.add_listener(feed.CHANNEL, lambda *args: told.put_nowait(args[3]))
        async with conn.transaction():
            await anomalies.insert(conn, [make(b"1"), make(b"2")])
            assert told.empty()
        assert await asyncio.wait_for(told.get(), 10) == "2"
    finally:
        await listener.close()


async def test_prune_keeps_the_newest_and_remembers_what_went(conn: asyncpg.Connection) -> None:
    async with conn.transaction():
        await anomalies.insert(conn, [make(b"%d" % i) for i in range(10)])
    long_ago = datetime.now(UTC) - timedelta(days=1)
    assert await feed.prune(conn, created_before=long_ago, entries_max=4) == 6
    bounds = await feed.bounds(conn)
    assert bounds == feed.Bounds(head=10, pruned=6)
    assert [bounds.holds(position) for position in (5, 6, 10, 11)] == [False, True, True, False]
    assert [event.position for event in await feed_reader.after(conn, 6, limit=10)] == [7, 8, 9, 10]
    assert await feed.prune(conn, created_before=long_ago, entries_max=4) == 0
    assert await feed.prune(conn, created_before=datetime.now(UTC) + timedelta(1), entries_max=100) == 4
    assert await feed.bounds(conn) == feed.Bounds(head=10, pruned=10)


async def test_an_entry_whose_anomaly_is_gone_keeps_its_place(conn: asyncpg.Connection) -> None:
    async with conn.transaction():
        await anomalies.insert(conn, [make(b"1"), make(b"2")])
    await conn.execute("DELETE FROM anomalies WHERE id = $1", make(b"1").id)
    events = await feed_reader.after(conn, 0, limit=10)
    assert [(event.position, event.anomaly is None) for event in events] == [(1, True), (2, False)]


async def test_insert_refuses_to_run_outside_a_transaction(conn: asyncpg.Connection) -> None:
    with pytest.raises(AssertionError):
        await anomalies.insert(conn, [make(b"1")])
