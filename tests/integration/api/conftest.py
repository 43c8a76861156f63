"""A running API on real PostgreSQL and NATS, reached over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx
import pytest

from driftlock.api.settings import ApiSettings
from driftlock.runtime.ports import free_port
from driftlock.storage import anomalies, keys, migrate, pool
from driftlock.storage.anomalies import NewAnomaly
from driftlock.storage.keys import SCOPE_WRITE_ANOMALIES
from integration.api.harness import Api, Start, Store, running


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    await migrate.migrate(postgres_url)
    return postgres_url


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    """Starts an API with settings of one's own, on the test's database; NATS is nowhere unless given."""
    async with AsyncExitStack() as stack:

        async def begin(**fields: Any) -> Api:
            more = {name: fields.pop(name) for name in ("clock_s", "wall_s") if name in fields}
            told = {"database_url": database_url, "nats_url": "nats://127.0.0.1:1", "port": free_port()}
            settings = ApiSettings(**{**told, "rate_limit_per_minute": 100_000, **fields})
            return await stack.enter_async_context(running(settings, **more))

        yield begin


@pytest.fixture
async def api(start: Start) -> Api:
    return await start()


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await pool.connect(database_url, name="test")
    yield connection
    await connection.close()


@pytest.fixture
async def key_of(conn: asyncpg.Connection) -> dict[str, str]:
    """A secret for each role, and `writer`: a viewer with the scope to report anomalies."""
    made = {role: (await keys.create(conn, role, role))[0] for role in keys.ROLES}
    made["writer"] = (await keys.create(conn, "writer", "viewer", [SCOPE_WRITE_ANOMALIES]))[0]
    return made


@pytest.fixture
async def viewer(api: Api, key_of: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(key_of["viewer"]) as client:
        yield client


@pytest.fixture
async def analyst(api: Api, key_of: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(key_of["analyst"]) as client:
        yield client


@pytest.fixture
async def writer(api: Api, key_of: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(key_of["writer"]) as client:
        yield client


@pytest.fixture
def store(conn: asyncpg.Connection) -> Store:
    async def put(*rows: NewAnomaly) -> Sequence[NewAnomaly]:
        async with conn.transaction():
            assert await anomalies.insert(conn, rows) == len(rows)
        return rows

    return put
