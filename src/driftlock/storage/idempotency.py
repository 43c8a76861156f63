"""Idempotency keys: which anomaly a repeated request made the first time."""

from __future__ import annotations

import uuid

import asyncpg

from driftlock.storage import sql
from driftlock.storage.errors import ConflictError
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT


async def claim(
    conn: asyncpg.Connection,
    key: str,
    *,
    owner: str,
    request_hash: bytes,
    anomaly: uuid.UUID,
    tenant_id: str = TENANT_DEFAULT,
) -> uuid.UUID | None:
    """Claims a key for a new anomaly: None when it is ours now, else the anomaly it made before.

    A request that runs at the same time under the same key waits here until the first one ends.

    Raises:
        ConflictError: the key was used with another request.
    """
    assert conn.is_in_transaction(), "a claim belongs into the transaction that fulfils it"
    ours = await sql.fetch_value(
        conn, QUERIES["idempotency_claim"], tenant_id, owner, key, request_hash, anomaly
    )
    if ours is not None:
        return None
    row = await sql.fetch_row(conn, QUERIES["idempotency_get"], tenant_id, owner, key)
    assert row is not None, "entries live for hours, a claim for milliseconds"
    if row["request_hash"] != request_hash:
        raise ConflictError("This Idempotency-Key was used with another request.")
    return uuid.UUID(bytes=row["anomaly_id"].bytes)
