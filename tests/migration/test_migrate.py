"""Migrations on a real PostgreSQL: applied once, in order, by one process, and never over a changed past."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from driftlock.errors import StartError, UnavailableError
from driftlock.storage import migrate, pool
from driftlock.storage.migrate import Migration

FIRST = Migration("0001_a.sql", "CREATE TABLE a (x integer)")
SECOND = Migration("0002_b.sql", "CREATE TABLE b (x integer)")


async def _tables(url: str) -> set[str]:
    conn = await pool.connect(url, name="test")
    try:
        return {
            row[0] for row in await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        }
    finally:
        await conn.close()


async def test_applies_everything_once(postgres_url: str) -> None:
    shipped = [migration.name for migration in migrate.known()]
    assert shipped
    assert await migrate.migrate(postgres_url) == shipped
    assert await migrate.migrate(postgres_url) == []
    tables = await _tables(postgres_url)
    assert {"anomalies", "api_keys", "feed", "streams", "baselines", "stream_states"} <= tables


async def test_every_table_has_its_tenant(postgres_url: str) -> None:
    await migrate.migrate(postgres_url)
    conn = await pool.connect(postgres_url, name="test")
    try:
        without = await conn.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT EXISTS ("
            " SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')"
        )
    finally:
        await conn.close()
    # these speak of the installation or of a partition of the log, which tenants share
    shared = {"schema_migrations", "installation", "feed_head", "partition_checkpoints", "stream_states"}
    assert {row[0] for row in without} == shared


async def test_replicas_that_start_together_migrate_once(postgres_url: str) -> None:
    applied = await asyncio.gather(*(migrate.migrate(postgres_url) for _ in range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(migrate.known())]


async def test_goes_on_from_an_older_database(postgres_url: str) -> None:
    assert await migrate.migrate(postgres_url, migrations=[FIRST]) == [FIRST.name]
    assert await migrate.migrate(postgres_url, migrations=[FIRST, SECOND]) == [SECOND.name]


async def test_refuses_a_newer_database(postgres_url: str) -> None:
    await migrate.migrate(postgres_url, migrations=[FIRST, SECOND])
    with pytest.raises(StartError, match=r"newer than this Driftlock: it has 0002_b\.sql"):
        await migrate.migrate(postgres_url, migrations=[FIRST])


async def test_refuses_changed_history(postgres_url: str) -> None:
    await migrate.migrate(postgres_url, migrations=[FIRST])
    changed = Migration(FIRST.name, FIRST.sql + " -- edited")
    with pytest.raises(StartError, match="changed after it was applied"):
        await migrate.migrate(postgres_url, migrations=[changed])


async def test_refuses_to_fill_in_the_past(postgres_url: str) -> None:
    await migrate.migrate(postgres_url, migrations=[SECOND])
    with pytest.raises(StartError, match="comes before"):
        await migrate.migrate(postgres_url, migrations=[FIRST, SECOND])


async def test_a_failing_migration_leaves_nothing(postgres_url: str) -> None:
    broken = Migration("0002_broken.sql", "CREATE TABLE half (x integer); SELECT nonsense")
    with pytest.raises(StartError, match=r"0002_broken\.sql failed and was rolled back"):
        await migrate.migrate(postgres_url, migrations=[FIRST, broken])
    assert await _tables(postgres_url) == {"schema_migrations", "a"}


async def test_pending_tells_what_is_missing(postgres_url: str) -> None:
    conn: asyncpg.Connection = await pool.connect(postgres_url, name="test")
    try:
        assert await migrate.pending(conn) == [migration.name for migration in migrate.known()]
        await migrate.migrate(postgres_url)
        assert await migrate.pending(conn) == []
    finally:
        await conn.close()


async def test_an_unreachable_server_is_told_without_the_password() -> None:
    with pytest.raises(UnavailableError) as told:
        await migrate.migrate("postgresql://user:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(told.value)
