"""Reading the feed: its entries with the anomalies they speak of, from a position on."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.anomalies import Anomaly
from driftlock.storage.feed import Kind
from driftlock.storage.sql import QUERIES

_COLUMNS = ", ".join(f"a.{name}" for name in Anomaly.__struct_fields__)


class FeedEvent(msgspec.Struct, frozen=True):
    """One entry. `anomaly` is as it stands now, None if it was deleted since; `payload` tells of a status
    change (`from_status`, `to_status`, `changed_by`, `changed_at`, `notes`, `reason`, `revision`), or of the
    course of its episode (`episode` as it was then, `revision`)."""

    position: int
    kind: Kind
    payload: dict[str, Any] | None
    anomaly: Anomaly | None


async def after(conn: asyncpg.Connection, position: int, *, limit: int) -> list[FeedEvent]:
    """The entries after a position in order, at most `limit`; none of them was or will be skipped."""
    query = QUERIES["feed_after"].filled(columns=_COLUMNS)
    return [_event(row) for row in await sql.fetch(conn, query, position, limit)]


def _event(row: asyncpg.Record) -> FeedEvent:
    position, kind, payload, *values = row
    return FeedEvent(position, kind, payload, Anomaly.of_row(values) if values[0] is not None else None)
