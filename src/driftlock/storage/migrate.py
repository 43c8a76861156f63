"""Brings a database to the schema of this version: forward only, one file a transaction.

Owns the record of what was applied, with each file's hash. History that changed, or a database that is ahead
of this code, is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from driftlock.errors import StartError
from driftlock.storage.pool import connect

# any constant of our own: it keeps two starting replicas from migrating at once
MIGRATION_LOCK = 0x6472_6966_746C_6F63

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`; files apply in the order of their names."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The hash that is recorded when the file is applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known() -> list[Migration]:
    """The migrations that this version ships, in order."""
    folder = files("driftlock.storage").joinpath("migrations")
    found = [Migration(f.name, f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


async def migrate(url: str, *, migrations: list[Migration] | None = None) -> list[str]:
    """Applies what is missing and answers the names applied, oldest first.

    Waits for another process that is migrating the same database.

    Raises:
        StartError: the database is newer than this code, or an applied migration has changed since.
        UnavailableError: the database cannot be reached.
    """
    shipped = known() if migrations is None else migrations
    conn = await connect(url, name="driftlock-migrate")
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await conn.execute(_RECORD)
        missing = _missing(shipped, await _applied(conn))
        for migration in missing:
            await _apply(conn, migration)
        return [migration.name for migration in missing]
    finally:
        # closing the session gives the lock back
        await conn.close()


async def pending(conn: asyncpg.Connection) -> list[str]:
    """The names of migrations that this database still lacks (readiness asks).

    Raises:
        StartError: as `migrate` does.
    """
    if await conn.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return [migration.name for migration in known()]
    return [migration.name for migration in _missing(known(), await _applied(conn))]


async def _applied(conn: asyncpg.Connection) -> dict[str, str]:
    return dict(await conn.fetch("SELECT name, sha256 FROM schema_migrations ORDER BY name"))


def _missing(shipped: list[Migration], applied: dict[str, str]) -> list[Migration]:
    names = {migration.name for migration in shipped}
    newer = sorted(set(applied) - names)
    if newer:
        raise StartError(
            f"The database is newer than this Driftlock: it has {', '.join(newer)}.",
            hint="Start the newer version, or restore a backup from before the upgrade.",
        )
    for migration in shipped:
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise StartError(
                f"The migration {migration.name} changed after it was applied to this database.",
                hint="Install the released version again: an applied migration must never be edited.",
            )
    missing = [migration for migration in shipped if migration.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise StartError(
            f"The migration {missing[0].name} comes before {max(applied)}, which is applied already.",
            hint="Migrations only go forward: give the new one a higher number.",
        )
    return missing


async def _apply(conn: asyncpg.Connection, migration: Migration) -> None:
    async with conn.transaction():
        try:
            await conn.execute(migration.sql)
        except asyncpg.PostgresError as error:
            raise StartError(
                f"The migration {migration.name} failed and was rolled back: {error}",
                hint="The database user needs the right to create tables and the extension pg_trgm.",
            ) from error
        await conn.execute(
            "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
        )
