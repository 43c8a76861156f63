"""Anomalies in a real PostgreSQL: stored once, read back whole, changed with a record of who did it."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.storage import anomalies, feed, upkeep
from driftlock.storage.anomalies import NON_FINITE_KEY, NewAnomaly, anomaly_id, time_range
from driftlock.storage.errors import InvalidValueError, NotFoundError, StaleError

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def make(seed: bytes = b"s", timestamp: datetime = NOW, **fields: Any) -> NewAnomaly:
    told = {"stream_type": "logs", "stream": "checkout", "service": "checkout", "severity": "high", **fields}
    return NewAnomaly(id=anomaly_id(timestamp, seed), timestamp=timestamp, **told)


async def store(conn: asyncpg.Connection, *rows: NewAnomaly) -> int:
    async with conn.transaction():
        return await anomalies.insert(conn, rows)


@given(st.integers(-(10**9), 10**11), st.integers(0, 10**6), st.binary(max_size=40))
def test_an_id_names_its_millisecond(seconds: int, micros: int, seed: bytes) -> None:
    timestamp = anomalies.EPOCH + timedelta(seconds=seconds, microseconds=micros)
    made = anomaly_id(timestamp, seed)
    assert made == anomaly_id(timestamp, seed)
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    span = time_range(made)
    assert span is not None
    assert span[0] <= timestamp < span[1]


@given(st.uuids())
def test_any_id_names_a_time_or_none(given_id: uuid.UUID) -> None:
    span = time_range(given_id)
    assert span is None or span[1] - span[0] == timedelta(milliseconds=1)


def test_ids_differ_by_seed_and_by_microsecond() -> None:
    made = {anomaly_id(NOW, b"a"), anomaly_id(NOW, b"b"), anomaly_id(NOW + timedelta(microseconds=1), b"a")}
    assert len(made) == 3


async def test_inserting_twice_stores_and_feeds_once(conn: asyncpg.Connection) -> None:
    rows = [make(b"1"), make(b"2")]
    assert await store(conn, *rows) == 2
    assert await store(conn, *rows, make(b"3")) == 1
    assert await conn.fetchval("SELECT count(*) FROM anomalies") == 3
    fed = await conn.fetch("SELECT position, anomaly_id FROM feed ORDER BY position")
    assert [row["position"] for row in fed] == [1, 2, 3]
    assert fed[2]["anomaly_id"] == make(b"3").id


async def test_a_rolled_back_insert_leaves_no_trace_in_the_feed(conn: asyncpg.Connection) -> None:
    transaction = conn.transaction()
    await transaction.start()
    await anomalies.insert(conn, [make()])
    await transaction.rollback()
    assert await feed.bounds(conn) == feed.Bounds(head=0, pruned=0)
    await store(conn, make())
    assert (await feed.bounds(conn)).head == 1


async def test_reads_back_what_was_stored(conn: asyncpg.Connection) -> None:
    row = make(
        stream_id=uuid.uuid4(),
        ncd_score=0.5,
        p_value=0.001,
        confidence_level=0.999,
        is_statistically_significant=True,
        compression_baseline=2**40,
        compression_window=2,
        compression_combined=3,
        compression_ratio_baseline=0.1,
        compression_ratio_window=0.2,
        compression_ratio_change=1.0,
        baseline_entropy=1.25,
        window_entropy=2.5,
        entropy_change=1.25,
        surprise_bits=1234.5,
        glass_box_explanation="It cost more.",
        detailed_explanation={"lines": [{"text": "a", "bits": 1.5}]},
        baseline_ref="ab",
        window_start=NOW,
        window_end=NOW + timedelta(seconds=1),
        log_position=7,
        partition=3,
        detector_version="1",
        config_version=2,
        tags=["x", "y"],
        metadata={"k": [1, None, True]},
        trace_ids=["00ff"],
    )
    await store(conn, row)
    found = await anomalies.get(conn, row.id)
    for name in NewAnomaly.__struct_fields__:
        assert getattr(found, name) == getattr(row, name), name
    assert found.revision == 1
    assert found.created_at == found.updated_at


async def test_hostile_values_are_replaced_visibly(conn: asyncpg.Connection) -> None:
    name = "'; DROP TABLE anomalies; --\0\ud800\u202e💥"
    row = make(
        stream=name,
        service="\0",
        tags=["\0a"],
        trace_ids=["\0"],
        ncd_score=math.nan,
        surprise_bits=math.inf,
        glass_box_explanation="a\0b",
        metadata={"\0key": "\udfff", "nan": math.nan, "huge": 2**90},
        detailed_explanation={"deep": [[[{"\0": -math.inf}]]]},
    )
    await store(conn, row)
    found = await anomalies.get(conn, row.id)
    assert found.stream == "'; DROP TABLE anomalies; --\ufffd\ufffd\u202e💥"
    assert (found.service, found.tags, found.glass_box_explanation) == ("\ufffd", ["\ufffda"], "a\ufffdb")
    assert (found.ncd_score, found.surprise_bits) == (None, None)
    assert found.metadata == {
        "\ufffdkey": "\ufffd",
        "nan": "NaN",
        "huge": str(2**90),
        NON_FINITE_KEY: ["ncd_score", "surprise_bits"],
    }
    assert found.detailed_explanation == {"deep": [[[{"\ufffd": "-Infinity"}]]]}


@pytest.mark.parametrize("year", [1926, 1970, 2126, 2261])
async def test_clocks_far_off_are_stored_and_found(conn: asyncpg.Connection, year: int) -> None:
    row = make(timestamp=NOW.replace(year=year))
    await store(conn, row)
    assert (await anomalies.get(conn, row.id)).timestamp == row.timestamp
    assert await conn.fetchval("SELECT count(*) FROM anomalies_default") == 1


async def test_a_new_partition_takes_the_rows_of_its_month(conn: asyncpg.Connection) -> None:
    inside, outside = (
        make(timestamp=datetime(2131, 6, 30, tzinfo=UTC)),
        make(timestamp=datetime(2140, 1, 1, tzinfo=UTC)),
    )
    await store(conn, inside, outside)
    await upkeep.run(conn, present=datetime(2131, 6, 15, tzinfo=UTC))
    assert await conn.fetchval("SELECT id FROM anomalies_2131_06") == inside.id
    assert await conn.fetchval("SELECT id FROM anomalies_default") == outside.id
    assert (await anomalies.get(conn, inside.id)).id == inside.id
    await upkeep.run(conn, present=datetime(2131, 6, 15, tzinfo=UTC))


async def test_a_look_up_by_id_reads_one_partition(conn: asyncpg.Connection) -> None:
    row = make(timestamp=datetime.now(UTC))
    await store(conn, row)
    span = time_range(row.id)
    assert span is not None
    plan = await conn.fetch(
        f"EXPLAIN SELECT * FROM anomalies WHERE id = '{row.id}'"
        f" AND timestamp >= '{span[0].isoformat()}' AND timestamp < '{span[1].isoformat()}'"
    )
    text = "\n".join(line[0] for line in plan)
    assert text.count("Scan") == 1, text


async def test_missing_ones_and_other_tenants_are_not_found(conn: asyncpg.Connection) -> None:
    row = make(tenant_id="other")
    await store(conn, row)
    for wanted in (row.id, uuid.uuid4(), uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)):
        with pytest.raises(NotFoundError):
            await anomalies.get(conn, wanted)
    assert (await anomalies.get(conn, row.id, tenant_id="other")).id == row.id


async def test_values_outside_the_schema_are_domain_errors(conn: asyncpg.Connection) -> None:
    for wrong in (make(p_value=1.5), make(severity="dreadful"), make(compression_window=2**70)):
        with pytest.raises(InvalidValueError):
            await store(conn, wrong)


async def test_a_status_change_is_recorded_and_fed(conn: asyncpg.Connection) -> None:
    row = make()
    await store(conn, row)
    async with conn.transaction():
        changed = await anomalies.set_status(
            conn, row.id, "acknowledged", by="ada", notes="mine", reason="r\0"
        )
    assert (changed.status, changed.acknowledged_by, changed.notes) == ("acknowledged", "ada", "mine")
    assert (changed.reason, changed.revision) == ("r\ufffd", 2)
    assert changed.acknowledged_at is not None
    assert changed.updated_at > changed.created_at
    async with conn.transaction():
        dismissed = await anomalies.set_status(conn, row.id, "dismissed", by="bob")
    assert (dismissed.acknowledged_by, dismissed.dismissed_by, dismissed.notes) == ("ada", "bob", "mine")
    history = await anomalies.history(conn, row.id)
    assert [(c.from_status, c.to_status, c.changed_by) for c in history] == [
        ("pending", "acknowledged", "ada"),
        ("acknowledged", "dismissed", "bob"),
    ]
    assert await conn.fetch("SELECT position, kind FROM feed ORDER BY position") == [
        (1, "anomaly"),
        (2, "status"),
        (3, "status"),
    ]


async def test_a_stale_change_is_refused(conn: asyncpg.Connection) -> None:
    row = make()
    await store(conn, row)
    async with conn.transaction():
        await anomalies.set_status(conn, row.id, "investigating", by="ada", revisions=frozenset({1}))
    with pytest.raises(StaleError) as told:
        async with conn.transaction():
            await anomalies.set_status(conn, row.id, "resolved", by="bob", revisions=frozenset({1}))
    assert told.value.current == 2
    assert (await anomalies.get(conn, row.id)).status == "investigating"


async def test_changing_what_is_not_there_is_not_found(conn: asyncpg.Connection) -> None:
    with pytest.raises(NotFoundError):
        async with conn.transaction():
            await anomalies.set_status(conn, uuid.uuid4(), "resolved", by="ada")
