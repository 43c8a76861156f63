"""The filter in SQL and that of the live feed are the same; pages meet without gap or overlap."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.storage import anomalies, anomaly_search, migrate, pool
from driftlock.storage.anomalies import Anomaly, NewAnomaly, anomaly_id
from driftlock.storage.anomaly_search import AnomalyFilter

START = datetime(2026, 1, 1, tzinfo=UTC)
# names that have meaning to SQL, LIKE, case folding or PostgreSQL's text type
NAMES = [
    "checkout",
    "a%b",
    "a_b",
    "x' OR '1'='1",
    "Straße",
    "STRASSE",
    "İ",
    "\\",
    "\0",
    "\ufffd",
    "💥",
    "{}",
    "$1",
]
TAGS = ["prod", "Ωmega", "a,b", '{"x"}', "NULL"]


def _population(count: int) -> list[NewAnomaly]:
    rng = random.Random(7)
    times = [START + timedelta(hours=rng.randint(0, 20)) for _ in range(count)]
    return [
        NewAnomaly(
            id=anomaly_id(time, b"%d" % number),
            timestamp=time,
            stream_type=rng.choice(["logs", "metrics", "traces", "llm"]),
            stream=rng.choice(NAMES),
            service=rng.choice(NAMES),
            severity=rng.choice(["critical", "high", "medium", "low"]),
            status=rng.choice(["pending", "resolved", "dismissed"]),
            ncd_score=rng.choice([None, 0.0, 0.25, 0.5]),
            p_value=rng.choice([None, 0.01, 0.05, 1.0]),
            is_statistically_significant=rng.random() < 0.5,
            glass_box_explanation=rng.choice(NAMES) * 2,
            tags=rng.sample(TAGS, rng.randint(0, 3)),
            tenant_id=rng.choice(["default", "default", "other"]),
        )
        for number, time in enumerate(times)
    ]


def _some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=3).map(tuple)


TIMES = st.none() | st.integers(-1, 21).map(lambda hours: START + timedelta(hours=hours))
FILTERS = st.builds(
    AnomalyFilter,
    tenant_id=st.sampled_from(["default", "other", "none"]),
    stream_type=_some(["logs", "metrics", "llm"]),
    status=_some(["pending", "resolved", "acknowledged"]),
    severity=_some(["critical", "low"]),
    service=_some(NAMES),
    stream=_some(NAMES),
    tag=_some(TAGS),
    min_ncd_score=st.sampled_from([None, 0.0, 0.25, 0.3]),
    max_p_value=st.sampled_from([None, 0.0, 0.01, 0.06, 1.0]),
    start_time=TIMES,
    end_time=TIMES,
    only_significant=st.booleans(),
    q=st.none() | st.sampled_from([*NAMES, "ss", "HECK", "%", "_", "'", "\n"]),
)
# most filters of many parts pass nothing: filters of one or two parts show the edges
PARTS = st.sets(st.sampled_from(AnomalyFilter.__struct_fields__), max_size=2)


def test_both_forms_agree(postgres_url: str) -> None:
    """Hypothesis drives its own event loop: one connection and one population for all examples."""
    loop = asyncio.new_event_loop()
    conn, stored = loop.run_until_complete(_filled(postgres_url))

    @settings(max_examples=300, deadline=None)
    @given(FILTERS, PARTS)
    def agree(full: AnomalyFilter, parts: set[str]) -> None:
        wanted = AnomalyFilter(**{name: getattr(full, name) for name in parts})
        found = loop.run_until_complete(anomaly_search.page(conn, wanted, limit=1000))
        assert {a.id for a in found} == {a.id for a in stored if wanted.matches(a)}
        assert loop.run_until_complete(anomaly_search.count(conn, wanted)) == len(found)

    try:
        agree()
    finally:
        loop.run_until_complete(conn.close())
        loop.close()


async def _filled(url: str) -> tuple[asyncpg.Connection, list[Anomaly]]:
    await migrate.migrate(url)
    conn = await pool.connect(url, name="test")
    async with conn.transaction():
        await anomalies.insert(conn, _population(200))
    pages = [
        await anomaly_search.page(conn, AnomalyFilter(tenant_id=t), limit=1000) for t in ("default", "other")
    ]
    return conn, list(itertools.chain(*pages))


async def test_pages_meet_without_gap_or_overlap(postgres_url: str) -> None:
    conn, _ = await _filled(postgres_url)
    wanted = AnomalyFilter(severity=("critical", "low"))
    whole = await anomaly_search.page(conn, wanted, limit=1000)
    assert [(a.timestamp, a.id) for a in whole] == sorted(((a.timestamp, a.id) for a in whole), reverse=True)
    paged: list[Any] = []
    after = None
    while page := await anomaly_search.page(conn, wanted, limit=7, after=after):
        paged += page
        after = (page[-1].timestamp, page[-1].id)
    assert paged == whole
    assert await anomaly_search.page(conn, wanted, limit=5, offset=3) == whole[3:8]
    await conn.close()


async def test_a_status_change_concerns_both_views(postgres_url: str) -> None:
    conn, stored = await _filled(postgres_url)
    await conn.close()
    change = frozenset({"pending", "acknowledged"})
    for status, expected in (("pending", True), ("acknowledged", True), ("resolved", False)):
        wanted = AnomalyFilter(tenant_id=stored[0].tenant_id, status=(status,))
        assert wanted.matches(stored[0], statuses=change) is expected
