"""Connections to PostgreSQL: how they are opened, and the codecs they carry."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from driftlock.errors import UnavailableError
from driftlock.storage.values import clean_json

CONNECT_TIMEOUT_S = 10.0
POOL_CONNECTIONS_MAX = 16
COMMAND_TIMEOUT_S = 60.0

_decode = msgspec.json.Decoder().decode


def _encode(value: Any) -> str:
    return msgspec.json.encode(clean_json(value)).decode()


async def prepare(conn: asyncpg.Connection) -> None:
    """Gives a connection our codecs: json and jsonb are plain Python data, cleaned on the way in."""
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, schema="pg_catalog", encoder=_encode, decoder=_decode)


def _unavailable(error: Exception) -> UnavailableError:
    # the URL is not told: it may hold a password
    return UnavailableError(
        f"PostgreSQL cannot be reached: {error}", hint="Check --database-url and that the server is up."
    )


async def connect(url: str, *, name: str, timeout_s: float = CONNECT_TIMEOUT_S) -> asyncpg.Connection:
    """One connection, shown as `name` in pg_stat_activity.

    Raises:
        UnavailableError: the server cannot be reached or refuses us.
    """
    try:
        conn = await asyncpg.connect(url, timeout=timeout_s, server_settings=_server_settings(name))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise _unavailable(error) from error
    await prepare(conn)
    return conn


async def create_pool(
    url: str, *, name: str, connections_min: int = 1, connections_max: int = POOL_CONNECTIONS_MAX
) -> asyncpg.Pool:
    """A pool of connections with our codecs; a command may take `COMMAND_TIMEOUT_S`.

    Raises:
        UnavailableError: the server cannot be reached or refuses us.
    """
    try:
        return await asyncpg.create_pool(
            url,
            min_size=connections_min,
            max_size=connections_max,
            init=prepare,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_server_settings(name),
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise _unavailable(error) from error


def _server_settings(name: str) -> dict[str, str]:
    # jit only costs time on queries as short as ours
    return {"application_name": name, "jit": "off", "timezone": "UTC"}
