"""How far a partition of the log was processed, and the state of its streams at that place.

A checkpoint and the anomalies found up to it are written in one transaction, so a restart replays from a
place where both agree.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.errors import FencedError
from driftlock.storage.sql import QUERIES

# one statement carries at most about this much: PostgreSQL holds the whole parameter in memory
BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_ROWS_MAX = 5_000


class Checkpoint(msgspec.Struct, frozen=True):
    """The last log position whose effects are committed, and that message's received time."""

    position: int
    received_ns: int


class StreamState(msgspec.Struct, frozen=True):
    """One stream's detector state; `kind` tells its owner how to read the bytes."""

    stream_id: uuid.UUID
    kind: str
    state: bytes


async def load(conn: asyncpg.Connection, partition: int) -> Checkpoint | None:
    """The partition's checkpoint, None before the first."""
    row = await sql.fetch_row(conn, QUERIES["checkpoint_load"], partition)
    return None if row is None else Checkpoint(row["position"], row["received_ns"])


async def load_states(conn: asyncpg.Connection, partition: int) -> list[StreamState]:
    """The states of the partition's streams, ordered by stream id."""
    rows = await sql.fetch(conn, QUERIES["checkpoint_states_load"], partition)
    return [StreamState(row["stream_id"], row["kind"], row["state"]) for row in rows]


async def save(
    conn: asyncpg.Connection,
    partition: int,
    *,
    position: int,
    received_ns: int,
    states: Sequence[StreamState],
    removed: Sequence[uuid.UUID],
) -> None:
    """Moves the partition to `position` and writes the states given; other states stay as they are.

    Runs in the caller's transaction. A stream id stands at most once in `states`.

    Raises:
        FencedError: the stored position is beyond `position`; nothing was written.
    """
    moved = await sql.fetch_value(conn, QUERIES["checkpoint_save"], partition, position, received_ns)
    if moved is None:
        raise FencedError(
            f"Partition {partition} is already beyond position {position}.",
            hint="Another detector owned it meanwhile, or this database belongs to another log.",
        )
    if removed:
        await sql.execute(conn, QUERIES["checkpoint_states_remove"], partition, list(removed))
    for batch in batches(states):
        await sql.execute(
            conn,
            QUERIES["checkpoint_states_save"],
            partition,
            [state.stream_id for state in batch],
            [state.kind for state in batch],
            [state.state for state in batch],
        )


def batches(states: Sequence[StreamState]) -> Iterator[list[StreamState]]:
    """Cuts states into runs of at most `BATCH_BYTES_MAX` and `BATCH_ROWS_MAX`, a larger one alone."""
    batch: list[StreamState] = []
    size = 0
    for state in states:
        if batch and (size + len(state.state) > BATCH_BYTES_MAX or len(batch) >= BATCH_ROWS_MAX):
            yield batch
            batch, size = [], 0
        batch.append(state)
        size += len(state.state)
    if batch:
        yield batch
