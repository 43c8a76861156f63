"""Baseline snapshots, stored once under the hash of their content."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.errors import InvalidValueError
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT


def content_hash(content: bytes) -> str:
    """The name of a snapshot: SHA-256 of its bytes in hex."""
    return hashlib.sha256(content).hexdigest()


class NewBaseline(msgspec.Struct, frozen=True):
    """A snapshot to store under its hash, for the stream it was first taken from."""

    sha256: str
    content: bytes
    stream_id: uuid.UUID
    tenant_id: str = TENANT_DEFAULT


class Baseline(msgspec.Struct, frozen=True):
    """A stored snapshot."""

    sha256: str
    content: bytes
    stream_id: uuid.UUID | None
    tenant_id: str
    created_at: datetime


async def save(conn: asyncpg.Connection, rows: Sequence[NewBaseline]) -> None:
    """Stores the snapshots that are not there yet.

    Raises:
        InvalidValueError: a name is not the hash of its content.
    """
    for row in rows:
        if row.sha256 != content_hash(row.content):
            raise InvalidValueError(f"The snapshot of stream {row.stream_id} does not hash to {row.sha256}.")
    if rows:
        await sql.execute(
            conn,
            QUERIES["baselines_save"],
            [row.sha256 for row in rows],
            [row.tenant_id for row in rows],
            [row.stream_id for row in rows],
            [row.content for row in rows],
        )


async def load(conn: asyncpg.Connection, sha256: str, *, tenant_id: str = TENANT_DEFAULT) -> Baseline | None:
    """The snapshot of a hash, None when it is not stored."""
    row = await sql.fetch_row(conn, QUERIES["baseline_load"], sha256, tenant_id)
    if row is None:
        return None
    return Baseline(row["sha256"], row["bytes"], row["stream_id"], row["tenant_id"], row["created_at"])
