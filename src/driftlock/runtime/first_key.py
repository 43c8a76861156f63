"""The first admin key: made when a database has no key yet, so that a fresh Driftlock can be used at once."""

from __future__ import annotations

from driftlock.storage import keys
from driftlock.storage.pool import connect

FIRST_KEY_NAME = "first-admin"


async def first_admin_key(database_url: str) -> str | None:
    """Its secret, shown this once; None when there are keys already. Raises UnavailableError."""
    connection = await connect(database_url, name="driftlock-up")
    try:
        if await keys.list_keys(connection):
            return None
        secret, _ = await keys.create(connection, FIRST_KEY_NAME, "admin", sorted(keys.SCOPES))
        return secret
    finally:
        await connection.close()
