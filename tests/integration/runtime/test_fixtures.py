"""The servers that the other tests stand on."""

from __future__ import annotations

import asyncpg
import nats
import pytest

SMALL, LARGE = 1, 6 * 1024 * 1024


async def _tables(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count = await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'")
        await connection.execute("create table left_behind (id int)")
    finally:
        await connection.close()
    return int(count)


@pytest.mark.parametrize("time", ["first", "second"])
async def test_each_test_has_a_fresh_database(postgres_url: str, time: str) -> None:
    assert await _tables(postgres_url) == 0


def test_fixtures_serve_synchronous_tests(postgres_url: str, nats_url: str) -> None:
    assert postgres_url.startswith("postgresql://")
    assert nats_url.startswith("nats://")


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_each_test_has_an_empty_jetstream_that_takes_large_messages(nats_url: str, size: int) -> None:
    client = await nats.connect(nats_url)
    try:
        stream = client.jetstream()
        assert (await stream.account_info()).streams == 0
        await stream.add_stream(name="LOG", subjects=["log.*"])
        assert (await stream.publish("log.a", b"x" * size)).seq == 1
    finally:
        await client.close()


async def test_strangers_are_refused(nats_url: str) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await nats.connect("nats://" + nats_url.split("@")[1], allow_reconnect=False, error_cb=_quiet)


async def _quiet(_: Exception) -> None:
    return None
