"""`driftlock migrate`: bring the database to the schema of this version."""

from __future__ import annotations

import asyncio

from driftlock.cli.sources import ConfigFile
from driftlock.runtime.settings import DATABASE_DEFAULT, DatabasePlace


def migrate(*, place: DatabasePlace = DATABASE_DEFAULT, config: ConfigFile = None) -> None:
    """Bring the database to the schema of this version.

    `driftlock up` does it at each start. With your own PostgreSQL, run it before the new version's roles.
    Migrations only go forward and keep serving the version before.
    """
    from driftlock.cli.database import database_url
    from driftlock.storage.migrate import migrate as apply

    applied = asyncio.run(apply(database_url(place)))
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("The database is up to date.")
