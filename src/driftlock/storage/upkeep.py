"""What must be done now and then: partitions ahead of time, and old feed and idempotency entries removed."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from driftlock.storage import feed, sql
from driftlock.storage.sql import QUERIES

PARTITION_MONTHS_AHEAD = 3
FEED_KEPT = timedelta(days=7)
FEED_ENTRIES_MAX = 1_000_000
IDEMPOTENCY_KEPT = timedelta(hours=24)


async def run(conn: asyncpg.Connection, *, present: datetime) -> None:
    """Does all of it; safe to repeat and to run on several replicas at once."""
    await sql.execute(conn, QUERIES["anomaly_partitions_make"], present, PARTITION_MONTHS_AHEAD)
    await feed.prune(conn, created_before=present - FEED_KEPT, entries_max=FEED_ENTRIES_MAX)
    await sql.execute(conn, QUERIES["idempotency_prune"], present - IDEMPOTENCY_KEPT)
