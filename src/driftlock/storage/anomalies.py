"""Anomalies: what is inserted, what is read back, and how a status changes.

The id carries its timestamp's millisecond in its first 48 bits (UUID version 8), so a look-up by id prunes
to one monthly partition, and the same finding always gets the same id: inserting twice stores once.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg
import msgspec

from driftlock.storage import feed, sql
from driftlock.storage.errors import NotFoundError, StaleError
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT
from driftlock.storage.values import clean_float, clean_json, clean_optional, clean_text

StreamType = Literal["logs", "metrics", "traces", "llm"]
Severity = Literal["critical", "high", "medium", "low"]
Status = Literal["pending", "acknowledged", "investigating", "dismissed", "resolved"]
Source = Literal["detector", "api"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# metadata key that names the numbers which were NaN or infinite, and are stored as null
NON_FINITE_KEY = "driftlock.non_finite"


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """How far the event goes that an anomaly began. Final once not `open`.

    `units` are suspicious windows or points, `window_end` and `log_position` those of the last of them,
    `peak_score` and `lowest_p` the extremes so far.
    """

    open: bool
    units: int
    window_end: datetime
    log_position: int
    peak_score: float
    lowest_p: float


class NewAnomaly(msgspec.Struct, frozen=True, kw_only=True):
    """An anomaly to store. Sizes in bytes, entropies in bits a byte, `surprise_bits` in bits.

    What a signal has no measure for stays None. Texts may hold anything: what PostgreSQL refuses is
    replaced by U+FFFD, and numbers that are not finite become null and are named in the metadata.
    """

    id: uuid.UUID
    timestamp: datetime
    stream_type: StreamType
    stream: str
    service: str
    severity: Severity
    stream_id: uuid.UUID | None = None
    ncd_score: float | None = None
    p_value: float | None = None
    confidence_level: float | None = None
    is_statistically_significant: bool = False
    compression_baseline: int | None = None
    compression_window: int | None = None
    compression_combined: int | None = None
    compression_ratio_baseline: float | None = None
    compression_ratio_window: float | None = None
    compression_ratio_change: float | None = None
    baseline_entropy: float | None = None
    window_entropy: float | None = None
    entropy_change: float | None = None
    surprise_bits: float | None = None
    glass_box_explanation: str = ""
    detailed_explanation: dict[str, Any] = {}
    baseline_ref: str | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    log_position: int | None = None
    partition: int | None = None
    detector_version: str | None = None
    config_version: int | None = None
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    trace_ids: list[str] = []
    status: Status = "pending"
    source: Source = "detector"
    tenant_id: str = TENANT_DEFAULT
    episode: Episode | None = None


class Anomaly(msgspec.Struct, frozen=True):
    """An anomaly as it is stored; the order of the fields is that of the columns read."""

    id: uuid.UUID
    timestamp: datetime
    stream_type: StreamType
    stream: str
    stream_id: uuid.UUID | None
    service: str
    severity: Severity
    status: Status
    ncd_score: float | None
    p_value: float | None
    confidence_level: float | None
    is_statistically_significant: bool
    compression_baseline: int | None
    compression_window: int | None
    compression_combined: int | None
    compression_ratio_baseline: float | None
    compression_ratio_window: float | None
    compression_ratio_change: float | None
    baseline_entropy: float | None
    window_entropy: float | None
    entropy_change: float | None
    surprise_bits: float | None
    glass_box_explanation: str
    detailed_explanation: dict[str, Any]
    baseline_ref: str | None
    window_start: datetime | None
    window_end: datetime | None
    log_position: int | None
    partition: int | None
    detector_version: str | None
    config_version: int | None
    tags: list[str]
    metadata: dict[str, Any]
    trace_ids: list[str]
    source: Source
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    dismissed_by: str | None
    dismissed_at: datetime | None
    resolved_by: str | None
    resolved_at: datetime | None
    notes: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime
    revision: int
    tenant_id: str
    episode: Episode | None

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Anomaly:
        """The anomaly of a row of `COLUMNS`."""
        values = list(row)
        if values[-1] is not None:
            values[-1] = msgspec.convert(values[-1], Episode)
        return cls(*values)


class StatusChange(msgspec.Struct, frozen=True):
    """One recorded change of an anomaly's status."""

    from_status: Status
    to_status: Status
    changed_by: str
    changed_at: datetime
    notes: str | None
    reason: str | None


COLUMNS = ", ".join(Anomaly.__struct_fields__)
_FLOATS = tuple(f.name for f in msgspec.structs.fields(NewAnomaly) if f.type == float | None)


def anomaly_id(timestamp: datetime, seed: bytes) -> uuid.UUID:
    """The id of a finding: the timestamp's millisecond (48 bits, signed), then a hash of time and seed.

    Equal arguments give equal ids.
    """
    micros = (timestamp - EPOCH) // timedelta(microseconds=1)
    digest = hashlib.blake2b(
        micros.to_bytes(8, "big", signed=True) + seed, digest_size=10, person=b"driftlock-anomal"
    ).digest()
    raw = bytearray((micros // 1000).to_bytes(6, "big", signed=True) + digest)
    raw[6] = 0x80 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return uuid.UUID(bytes=bytes(raw))


def time_range(anomaly: uuid.UUID) -> tuple[datetime, datetime] | None:
    """The millisecond that an id names, as [from, to); None for an id that names no possible time."""
    try:
        start = EPOCH + int.from_bytes(anomaly.bytes[:6], "big", signed=True) * MILLISECOND
        return start, start + MILLISECOND
    except OverflowError:
        return None


def search_text(stream: str, service: str, explanation: str, tags: Iterable[str]) -> str:
    """What the filter `q` searches: casefolded here, so SQL and the live feed agree on every letter."""
    return "\n".join((stream, service, explanation, *tags)).casefold()


async def insert(conn: asyncpg.Connection, rows: Sequence[NewAnomaly]) -> int:
    """Stores anomalies that are not there yet, feeds and notifies about just those; how many they were.

    Must run inside the caller's transaction, as its last step: from here until commit it holds the feed's
    lock.
    """
    if not rows:
        return 0
    assert conn.is_in_transaction(), "insert belongs into the caller's transaction"
    stored = await sql.fetch_many(conn, QUERIES["anomalies_insert"], [_arguments(row) for row in rows])
    if stored:
        await feed.append(conn, "anomaly", [(r["tenant_id"], r["id"], r["timestamp"]) for r in stored])
    return len(stored)


async def follow_episode(
    conn: asyncpg.Connection,
    anomaly: uuid.UUID,
    timestamp: datetime,
    episode: Episode,
    *,
    tenant_id: str = TENANT_DEFAULT,
) -> bool:
    """Tells how the episode of an anomaly went on, and feeds it to listeners, if it grew or is over.

    False when it is known already, or the tenant has no such anomaly. Must run inside the caller's
    transaction, as one of its last steps: from here until commit it holds the feed's lock.
    """
    assert conn.is_in_transaction(), "follow_episode belongs into the caller's transaction"
    told = msgspec.to_builtins(episode)
    revision = await sql.fetch_value(
        conn,
        QUERIES["episode_follow"],
        *(anomaly, tenant_id, timestamp, told, episode.units, episode.open),
    )
    if revision is None:
        return False
    payload = {"revision": revision, "episode": told}
    await feed.append(conn, "episode", [(tenant_id, anomaly, timestamp)], payload)
    return True


async def get(conn: asyncpg.Connection, anomaly: uuid.UUID, *, tenant_id: str = TENANT_DEFAULT) -> Anomaly:
    """The anomaly of an id.

    Raises:
        NotFoundError: the tenant has no such anomaly.
    """
    span = time_range(anomaly)
    query = QUERIES["anomaly_get"].filled(columns=COLUMNS)
    row = await sql.fetch_row(conn, query, anomaly, tenant_id, *span) if span else None
    if row is None:
        raise _missing(anomaly)
    return Anomaly.of_row(row)


async def history(
    conn: asyncpg.Connection, anomaly: uuid.UUID, *, tenant_id: str = TENANT_DEFAULT
) -> list[StatusChange]:
    """The status changes of an anomaly, oldest first."""
    rows = await sql.fetch(conn, QUERIES["anomaly_status_changes"], anomaly, tenant_id)
    return [StatusChange(*row) for row in rows]


async def set_status(
    conn: asyncpg.Connection,
    anomaly: uuid.UUID,
    status: Status,
    *,
    by: str,
    notes: str | None = None,
    reason: str | None = None,
    revisions: frozenset[int] | None = None,
    tenant_id: str = TENANT_DEFAULT,
) -> Anomaly:
    """Changes a status in the caller's transaction, records who did it, and feeds it to listeners.

    `revisions` are those the caller has seen; None means that any will do.

    Raises:
        NotFoundError: the tenant has no such anomaly.
        StaleError: the anomaly's revision is none of `revisions`.
    """
    assert conn.is_in_transaction(), "set_status belongs into the caller's transaction"
    span = time_range(anomaly)
    before = await sql.fetch_row(conn, QUERIES["anomaly_lock"], anomaly, tenant_id, *span) if span else None
    if before is None:
        raise _missing(anomaly)
    if revisions is not None and before["revision"] not in revisions:
        raise StaleError("The anomaly changed since it was read.", current=before["revision"])
    notes, reason = clean_optional(notes), clean_optional(reason)
    changed_at = await sql.fetch_value(
        conn,
        QUERIES["anomaly_status_change_insert"],
        *(tenant_id, anomaly, before["status"], status, by, notes, reason),
    )
    row = await sql.fetch_row(
        conn,
        QUERIES["anomaly_set_status"].filled(columns=COLUMNS),
        *(anomaly, tenant_id, before["timestamp"], status, by, notes, reason),
    )
    assert row is not None, "the row is locked since we read it"
    change = StatusChange(before["status"], status, by, changed_at, notes, reason)
    payload = {"revision": row["revision"], **msgspec.to_builtins(change)}
    await feed.append(conn, "status", [(tenant_id, anomaly, before["timestamp"])], payload)
    return Anomaly.of_row(row)


def _missing(anomaly: uuid.UUID) -> NotFoundError:
    return NotFoundError(f"There is no anomaly {anomaly}.")


def _arguments(row: NewAnomaly) -> tuple[Any, ...]:
    """The parameters of `anomalies_insert`, in its order."""
    floats = {name: clean_float(getattr(row, name)) for name in _FLOATS}
    lost = [name for name in _FLOATS if floats[name] is None and getattr(row, name) is not None]
    metadata = clean_json({**row.metadata, NON_FINITE_KEY: lost} if lost else row.metadata)
    stream, service = clean_text(row.stream), clean_text(row.service)
    explanation, tags = clean_text(row.glass_box_explanation), [clean_text(tag) for tag in row.tags]
    return (
        *(row.id, clean_text(row.tenant_id), row.timestamp, row.stream_type, stream, row.stream_id),
        *(service, row.severity, row.status),
        *(floats["ncd_score"], floats["p_value"], floats["confidence_level"]),
        row.is_statistically_significant,
        *(row.compression_baseline, row.compression_window, row.compression_combined),
        *(floats[name] for name in _FLOATS[3:]),
        *(explanation, row.detailed_explanation, clean_optional(row.baseline_ref)),
        *(row.window_start, row.window_end, row.log_position, row.partition),
        *(clean_optional(row.detector_version), row.config_version),
        *(tags, metadata, [clean_text(trace) for trace in row.trace_ids], row.source),
        search_text(stream, service, explanation, tags),
        None if row.episode is None else msgspec.to_builtins(row.episode),
    )
