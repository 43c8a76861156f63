"""The record of refreshes: who asked that a stream learns a new baseline, and what became of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.sql import QUERIES, Query
from driftlock.storage.streams import Stream


class Refresh(msgspec.Struct, frozen=True):
    """A refresh that was asked for. Without `log_position` it has not reached the log, as far as is known;
    `closed_at` without `baseline_after`: the stream had gone, or was forgotten before it had learned."""

    id: uuid.UUID
    stream_id: uuid.UUID
    requested_by: str
    requested_at: datetime
    log_position: int | None
    baseline_before: str | None
    baseline_after: str | None
    closed_at: datetime | None


class Progress(msgspec.Struct, frozen=True):
    """How far a refresh has come; `after` is empty until the new baseline is complete."""

    id: uuid.UUID
    position: int
    before: str
    after: str


COLUMNS = ", ".join(Refresh.__struct_fields__)


async def opened(conn: asyncpg.Connection, stream: uuid.UUID, *, tenant_id: str) -> Refresh | None:
    """The open refresh of a stream, if there is one."""
    return await _one(conn, QUERIES["refresh_open"], stream, tenant_id)


async def latest(conn: asyncpg.Connection, stream: uuid.UUID, *, tenant_id: str) -> Refresh | None:
    """The refresh of a stream that was asked for last, None before any."""
    return await _one(conn, QUERIES["refresh_latest"], stream, tenant_id)


async def record(
    conn: asyncpg.Connection,
    stream: Stream,
    *,
    refresh: uuid.UUID,
    by: str,
    requester: str,
    tenant_id: str,
) -> Refresh:
    """Records a request, or gives the one that somebody else made first.

    `by` is the name that people read, `requester` what identifies who asked.
    """
    while True:
        await sql.execute(
            conn,
            QUERIES["refresh_insert"],
            *(refresh, tenant_id, stream.id, stream.partition, by, requester, stream.baseline_ref),
        )
        found = await opened(conn, stream.id, tenant_id=tenant_id)
        if found is not None:  # else the other one was closed in between
            return found


async def placed(conn: asyncpg.Connection, refresh: uuid.UUID, position: int) -> Refresh:
    """Adds where in the log a refresh stands, unless its detector did so already."""
    found = await _one(conn, QUERIES["refresh_placed"], refresh, position)
    assert found is not None, "a record of a refresh is never removed"
    return found


async def follow(conn: asyncpg.Connection, steps: Sequence[Progress]) -> None:
    """Writes how far refreshes have come, and closes those whose new baseline is complete."""
    if steps:
        columns = zip(*((step.id, step.position, step.before, step.after) for step in steps), strict=True)
        await sql.execute(conn, QUERIES["refreshes_follow"], *(list(column) for column in columns))


async def lapse(
    conn: asyncpg.Connection, partition: int, *, position: int, running: Sequence[uuid.UUID]
) -> None:
    """Closes what is behind `position` of a partition's log and is not `running`: nothing will come of it."""
    await sql.execute(conn, QUERIES["refreshes_lapse"], partition, position, list(running))


async def _one(conn: asyncpg.Connection, query: Query, *args: object) -> Refresh | None:
    row = await sql.fetch_row(conn, query.filled(columns=COLUMNS), *args)
    return None if row is None else Refresh(*row)
