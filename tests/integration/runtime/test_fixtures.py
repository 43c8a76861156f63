"""The servers that the other tests stand on."""

from __future__ import annotations

import socket

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


def test_strangers_are_refused(nats_url: str) -> None:
    # spoken by hand: nats-py leaves its socket open when it is refused
    host, port = nats_url.split("@")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw, raw.makefile("rwb") as lines:
        assert lines.readline().startswith(b"INFO ")
        lines.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        lines.flush()
        assert b"Authorization Violation" in lines.readline()
