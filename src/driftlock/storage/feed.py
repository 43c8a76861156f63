"""The feed: what happened to anomalies, in commit order and without gaps.

`append` takes the installation's one feed lock until the transaction ends: call it last. Readers go by
position; a position below what was pruned, or beyond the head, is the reader's sign to start afresh.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.sql import QUERIES

CHANNEL = "driftlock_feed"

Kind = Literal["anomaly", "status", "episode"]
Entry = tuple[str, uuid.UUID, datetime]  # tenant, anomaly id, anomaly timestamp


class Bounds(msgspec.Struct, frozen=True):
    """Where the feed stands: the last position given out, and the last one that was pruned away."""

    head: int
    pruned: int

    def holds(self, after: int) -> bool:
        """Whether everything after a position can still be told."""
        return self.pruned <= after <= self.head


async def append(
    conn: asyncpg.Connection, kind: Kind, entries: Sequence[Entry], payload: dict[str, Any] | None = None
) -> int:
    """Appends entries of one kind in the caller's transaction, notifies, and answers the last position."""
    tenants, ids, timestamps = ([entry[i] for entry in entries] for i in range(3))
    return int(await sql.fetch_value(conn, QUERIES["feed_append"], kind, tenants, ids, timestamps, payload))


async def bounds(conn: asyncpg.Connection) -> Bounds:
    """Where the feed stands now."""
    row = await sql.fetch_row(conn, QUERIES["feed_bounds"])
    assert row is not None, "the migration inserts the one row of feed_head"
    return Bounds(head=row["position"], pruned=row["pruned"])


async def prune(conn: asyncpg.Connection, *, created_before: datetime, entries_max: int) -> int:
    """Removes entries that are old or beyond the newest `entries_max`; the number removed."""
    return int(await sql.fetch_value(conn, QUERIES["feed_prune"], created_before, entries_max))
