"""A migrated database for each test, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from driftlock.storage import migrate, pool


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    await migrate.migrate(postgres_url)
    return postgres_url


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await pool.connect(database_url, name="test")
    yield connection
    await connection.close()
