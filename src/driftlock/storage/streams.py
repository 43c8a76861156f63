"""What people are told of streams: written by detectors in bulk, read by the API page by page."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.anomalies import StreamType
from driftlock.storage.errors import NotFoundError
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT
from driftlock.storage.values import clean_float, clean_json, clean_optional, clean_text

Phase = Literal["learning", "calibrating", "ready"]
BATCH_ROWS_MAX = 2_000


class StreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's standing to write. Counts are totals since the stream was first seen."""

    id: uuid.UUID
    signal: StreamType
    name: str
    service: str
    partition: int
    phase: Phase
    attributes: dict[str, str] = {}
    units_seen: int = 0
    units_needed: int = 0
    events_seen: int = 0
    calibration_size: int = 0
    earliest_p: float | None = None
    bytes_held: int = 0
    anomalies_found: int = 0
    baseline_ref: str | None = None
    last_event_at: datetime | None = None
    tenant_id: str = TENANT_DEFAULT


class Stream(msgspec.Struct, frozen=True):
    """A stream as it is stored; `earliest_p` is the smallest p-value it can reach now."""

    id: uuid.UUID
    signal: StreamType
    name: str
    service: str
    attributes: dict[str, Any]
    partition: int
    phase: Phase
    units_seen: int
    units_needed: int
    events_seen: int
    calibration_size: int
    earliest_p: float | None
    bytes_held: int
    anomalies_found: int
    baseline_ref: str | None
    last_event_at: datetime | None
    first_seen_at: datetime
    updated_at: datetime


class StreamFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which streams a list shows; several values of one field mean any of them."""

    tenant_id: str = TENANT_DEFAULT
    signal: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    phase: tuple[str, ...] = ()


COLUMNS = ", ".join(Stream.__struct_fields__)


async def upsert(conn: asyncpg.Connection, rows: Sequence[StreamRow]) -> None:
    """Writes the standing of streams; an id stands at most once in `rows`."""
    for start in range(0, len(rows), BATCH_ROWS_MAX):
        columns = zip(*(_arguments(row) for row in rows[start : start + BATCH_ROWS_MAX]), strict=True)
        await sql.execute(conn, QUERIES["streams_upsert"], *(list(column) for column in columns))


async def remove(conn: asyncpg.Connection, ids: Sequence[uuid.UUID]) -> None:
    """Forgets streams that their detector evicted."""
    if ids:
        await sql.execute(conn, QUERIES["streams_remove"], list(ids))


async def get(conn: asyncpg.Connection, stream: uuid.UUID, *, tenant_id: str = TENANT_DEFAULT) -> Stream:
    """The stream of an id.

    Raises:
        NotFoundError: the tenant has no such stream.
    """
    row = await sql.fetch_row(conn, QUERIES["stream_get"].filled(columns=COLUMNS), stream, tenant_id)
    if row is None:
        raise NotFoundError(f"There is no stream {stream}.")
    return Stream(*row)


async def page(
    conn: asyncpg.Connection,
    wanted: StreamFilter,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[str, uuid.UUID] | None = None,
) -> list[Stream]:
    """Streams by name, at most `limit`, from `offset` on or after the (name, id) of the last one seen."""
    where, args = _where(wanted)
    if after is not None:
        where += f" AND (name, id) > (${len(args) + 1}, ${len(args) + 2})"
        args = [*args, *after]
    query = QUERIES["streams_page"].filled(
        columns=COLUMNS, where=where, limit=f"${len(args) + 1}", offset=f"${len(args) + 2}"
    )
    return [Stream(*row) for row in await sql.fetch(conn, query, *args, limit, offset)]


async def count(conn: asyncpg.Connection, wanted: StreamFilter) -> int:
    """How many streams pass the filter."""
    where, args = _where(wanted)
    return int(await sql.fetch_value(conn, QUERIES["streams_count"].filled(where=where), *args))


def _where(wanted: StreamFilter) -> tuple[str, list[Any]]:
    parts: list[str] = ["tenant_id = $1"]
    args: list[Any] = [wanted.tenant_id]
    for column in ("signal", "service", "phase"):
        values = [clean_text(value) for value in getattr(wanted, column)]
        if values:
            args.append(values)
            parts.append(f"{column} = ANY (${len(args)}::text[])")
    return " AND ".join(parts), args


def _arguments(row: StreamRow) -> tuple[Any, ...]:
    """One row of the parameters of `streams_upsert`, in its order."""
    return (
        *(row.id, clean_text(row.tenant_id), row.signal, clean_text(row.name), clean_text(row.service)),
        *(clean_json(row.attributes), row.partition, row.phase, row.units_seen, row.units_needed),
        *(row.events_seen, row.calibration_size, clean_float(row.earliest_p), row.bytes_held),
        *(row.anomalies_found, clean_optional(row.baseline_ref), row.last_event_at),
    )
