"""Who owns which partition of the log: session-level advisory locks, gone when the owner's connection is.

The locks live in a key space of their own, two 32-bit keys, so they never meet the migration lock.
"""

from __future__ import annotations

import asyncpg

from driftlock.storage import sql
from driftlock.storage.sql import QUERIES

KEY_SPACE = 0x4452_4650  # "DRFP"
CLAIMS_NAME = "driftlock-detector-claims"
"""What a detector calls the connection that holds its claims, so that detectors can count each other."""


async def try_claim(conn: asyncpg.Connection, partition: int) -> bool:
    """Claims a partition for this connection; False when another one owns it.

    Claims count: claim once what you do not own yet, or `release` as often as you claimed.
    """
    return bool(await sql.fetch_value(conn, QUERIES["partition_claim"], KEY_SPACE, partition))


async def release(conn: asyncpg.Connection, partition: int) -> bool:
    """Gives a partition back; False when this connection did not own it (PostgreSQL warns as well)."""
    return bool(await sql.fetch_value(conn, QUERIES["partition_release"], KEY_SPACE, partition))


async def owned(conn: asyncpg.Connection) -> dict[int, int]:
    """The partitions owned by anybody, and the owner's PostgreSQL process id."""
    rows = await sql.fetch(conn, QUERIES["partitions_owned"], KEY_SPACE)
    return {row["partition"]: row["pid"] for row in rows}


async def detectors_alive(conn: asyncpg.Connection) -> int:
    """How many detectors hold a claims connection to this database."""
    return int(await sql.fetch_value(conn, QUERIES["detectors_alive"], CLAIMS_NAME))
