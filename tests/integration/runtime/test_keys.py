"""`driftlock migrate` and `driftlock keys` on a real database."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg

from driftlock.runtime.first_key import first_admin_key
from driftlock.storage import keys
from driftlock.storage.migrate import migrate
from support.running import run


def test_migrate_says_what_it_applied_and_is_done_the_second_time(postgres_url: str) -> None:
    first = run("migrate", "--database-url", postgres_url)
    assert first.returncode == 0, first.stderr
    assert "applied 0001" in first.stdout
    assert run("migrate", "--database-url", postgres_url).stdout == "The database is up to date.\n"


def test_a_key_is_made_listed_and_revoked(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "driftlock.toml").write_text(f'database_url = "{postgres_url}"\n')

    def driftlock(*arguments: str) -> str:
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    driftlock("migrate")
    made = driftlock(
        *("keys", "create", "ci", "--role", "analyst", "--scope", "write:anomalies", "--expires-days", "2")
    )
    assert re.fullmatch(r"dlk_\S{40,}\n", made)
    listed = driftlock("keys", "list")
    assert re.search(r"ci +analyst +write:anomalies +dlk_\S+ +live until", listed)
    assert made.strip() not in listed

    row = asyncio.run(_verify(postgres_url, made.strip()))
    assert row is not None
    assert (row.role, row.scopes) == ("analyst", ["write:anomalies"])

    again = run("keys", "create", "ci", cwd=tmp_path)
    assert again.returncode == 1
    assert "Traceback" not in again.stderr
    assert "Revoked ci" in driftlock("keys", "revoke", "ci")
    assert asyncio.run(_verify(postgres_url, made.strip())) is None
    unknown = run("keys", "revoke", "ci", cwd=tmp_path)
    assert (unknown.returncode, "no live key" in unknown.stderr) == (3, True)


async def test_the_first_admin_key_is_made_once(postgres_url: str) -> None:
    await migrate(postgres_url)
    secret = await first_admin_key(postgres_url)
    assert secret is not None
    row = await _verify(postgres_url, secret)
    assert row is not None
    assert row.role == "admin"
    assert await first_admin_key(postgres_url) is None


async def _verify(url: str, secret: str) -> keys.KeyRow | None:
    connection = await asyncpg.connect(url)
    try:
        return await keys.verify(connection, secret)
    finally:
        await connection.close()
