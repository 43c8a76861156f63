"""The main job: a real log with real faults goes in by `driftlock send`, and the faults come out.

The log is PostgreSQL's own, written while a real server first does ordinary work and then has failures
provoked: a table that is gone, a full deadlock, terminated connections. HDFS comes from ../shared/data where
that folder stands beside the project.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from driftlock.runtime.datafolder import DataFolder
from driftlock.runtime.embedded import EmbeddedServers, embedded_database_url
from support import telemetry
from support.tree import Tree, driftlock

FOUND_TIMEOUT_S = 60.0
ROUNDS = 400
HDFS = Path(__file__).parents[3] / "shared" / "data" / "hdfs" / "hdfs-dev.log.gz"
CONTRACT_METRICS = (
    "driftlock_anomalies_detected_total",
    "driftlock_events_processed_total",
    "driftlock_compression_ratio_count",
    "driftlock_ncd_score_count",
    "driftlock_p_value_count",
    "driftlock_api_request_duration_seconds_count",
    "driftlock_active_sse_connections",
    "driftlock_database_connections",
    "driftlock_database_query_duration_seconds_count",
    "driftlock_cbad_computation_duration_seconds_count",
    "driftlock_partitions_owned",
    "driftlock_streams",
    "driftlock_detector_state_bytes",
    "driftlock_checkpoints_total",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("main-job")]


async def ordinary_work(url: str, rng: random.Random, rounds: int) -> None:
    """Statements of a small shop, all of which the server logs."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        for _ in range(rounds):
            item, amount = rng.randrange(1, 500), rng.randrange(1, 9)
            await connection.execute(f"INSERT INTO orders (item, amount) VALUES ({item}, {amount})")
            await connection.execute(f"SELECT * FROM orders WHERE item = {item}")
            await connection.execute(f"UPDATE stock SET left_over = left_over - {amount} WHERE item = {item}")
            if rng.random() < 0.3:
                await connection.execute(f"DELETE FROM orders WHERE id = {rng.randrange(1, 5000)}")
    finally:
        await connection.close()


async def failures(url: str) -> None:
    """What operators fear: a missing table, a division by zero, a killed backend, a deadlock."""
    connection, other = await asyncpg.connect(url), await asyncpg.connect(url)
    for _ in range(12):
        for statement in (
            "SELECT * FROM invoices",
            "SELECT 1 / (SELECT 0)",
            "INSERT INTO stock VALUES (1, 1)",
        ):
            with contextlib.suppress(asyncpg.PostgresError):
                await connection.execute(statement)
    await connection.execute("SET deadlock_timeout = '50ms'")
    first, second = connection.transaction(), other.transaction()
    await first.start()
    await second.start()
    await connection.execute("UPDATE stock SET left_over = 1 WHERE item = 1")
    await other.execute("UPDATE stock SET left_over = 1 WHERE item = 2")
    crossing = [
        connection.execute("UPDATE stock SET left_over = 1 WHERE item = 2"),
        other.execute("UPDATE stock SET left_over = 1 WHERE item = 1"),
    ]
    results = await asyncio.gather(*crossing, return_exceptions=True)
    assert any(isinstance(result, asyncpg.DeadlockDetectedError) for result in results)
    for each in (connection, other):
        each.terminate()


@pytest.fixture
async def postgres_log(own_servers: EmbeddedServers, data_dir: Path, tmp_path: Path) -> Path:
    """A log of ordinary work with one stretch of provoked failures, and ordinary work after it."""
    url = own_servers.database_url
    admin = await asyncpg.connect(url)
    for statement in (
        "ALTER SYSTEM SET log_statement = 'all'",
        "SELECT pg_reload_conf()",
        "CREATE TABLE orders (id bigserial PRIMARY KEY, item int, amount int)",
        "CREATE TABLE stock (item int PRIMARY KEY, left_over int)",
        "INSERT INTO stock SELECT n, 1000 FROM generate_series(1, 500) n",
    ):
        await admin.execute(statement)
    await admin.close()
    rng = random.Random(3)
    await ordinary_work(url, rng, ROUNDS * 4)
    await failures(url)
    await ordinary_work(url, rng, ROUNDS)
    copy = tmp_path / "postgres.log"
    copy.write_text((data_dir / "logs" / "postgres.log").read_text())
    return copy


@contextlib.asynccontextmanager
async def listening(tree: Tree) -> AsyncIterator[list[dict[str, Any]]]:
    """Anomalies as they arrive over Server-Sent Events."""
    heard: list[dict[str, Any]] = []
    connected = asyncio.Event()

    async def listen() -> None:
        async with (
            httpx.AsyncClient(headers={"Authorization": f"Bearer {tree.key}"}, timeout=None) as client,
            client.stream("GET", f"{tree.api}/v1/stream/anomalies") as answer,
        ):
            assert answer.status_code == 200
            event = ""
            async for text in answer.aiter_lines():
                if text.startswith("event:"):
                    event = text.removeprefix("event:").strip()
                if event == "connected":
                    connected.set()
                if event == "anomaly" and text.startswith("data:"):
                    heard.append(json.loads(text.removeprefix("data:")))

    task = asyncio.create_task(listen())
    await asyncio.wait_for(connected.wait(), 20)
    try:
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def sampled(exposition: str, name: str) -> bool:
    """Whether a metric has a sample above zero."""
    lines = [text for text in exposition.splitlines() if text.startswith((name + "{", name + " "))]
    return any(float(text.split()[-1]) > 0 for text in lines)


async def until_scored(tree: Tree, service: str, lines: int) -> dict[str, Any]:
    """The stream of a service, once all lines sent to it stand in a checkpoint."""
    deadline = time.monotonic() + FOUND_TIMEOUT_S
    while True:
        streams = (await tree.get("/v1/streams", service=service))["streams"]
        if streams and streams[0]["events_seen"] == lines:
            return dict(streams[0])
        assert time.monotonic() < deadline, f"{streams} after {FOUND_TIMEOUT_S} s:\n{tree.log()}"
        await asyncio.sleep(0.3)


async def test_provoked_failures_stand_in_the_api_and_came_over_sse(
    postgres_log: Path, tmp_path_factory: pytest.TempPathFactory, data_dir: Path
) -> None:
    async with Tree(data_dir.with_name("driftlock")) as tree, listening(tree) as heard:
        printed = await driftlock(
            "send", str(postgres_log), "--service", "shop-db", "--endpoint", tree.otlp_http
        )
        assert printed
        lines = sum(1 for text in postgres_log.read_text().splitlines() if text.strip())
        await until_scored(tree, "shop-db", lines)
        await asyncio.sleep(2.0)
        rows = await tree.anomalies(service="shop-db", stream_type="logs")
        async with tree.client as client:
            exposition = (await client.get("/metrics")).text
    silent = [name for name in CONTRACT_METRICS if not sampled(exposition, name)]
    assert not silent, f"metrics of the contract that running code did not record: {silent}"
    assert {row["id"] for row in rows} == {event["id"] for event in heard}
    words = json.dumps([row["detailed_explanation"] for row in rows])
    assert "ERROR" in words, "the anomaly shows the lines that carry it"
    assert any(word in words for word in ("does not exist", "deadlock", "division", "duplicate key"))
    # one stretch of faults among 170 blocks of ordinary work: an episode, not a flood
    assert len(rows) <= 5


@pytest.mark.skipif(not HDFS.exists(), reason="the HDFS log of ../shared/data is not here")
async def test_an_endless_hdfs_stream_raises_few_alarms_and_keeps_up(data_dir: Path) -> None:
    async with Tree(data_dir) as tree:
        await driftlock("send", str(HDFS), "--service", "hdfs", "--endpoint", tree.otlp_http, timeout_s=300)
        stream = await until_scored(tree, "hdfs", 111_621)
        rows = await tree.anomalies(service="hdfs")
    assert stream["phase"] == "ready"
    assert len(stream["baseline_ref"]) == 64
    assert stream["warm_up"]["progress"] == 1.0
    units = 111_621 // 25
    assert 1 <= len(rows) <= 0.02 * units
    for row in rows:
        assert 0 < row["p_value"] <= 0.05
        assert row["baseline_ref"]
        assert row["glass_box_explanation"]


ROLLOUT = "flag rollout-{n} is on for customer {n} since release {n}"
DISK = "FATAL disk failure on device sd{n}: unrecoverable read error at sector {n}"


def shop_lines(seed: int, count: int, *, rollout: float = 0.0) -> list[str]:
    """Ordinary lines, of which a share is of a kind that came with a release."""
    rng = random.Random(seed)
    return [
        telemetry.line(rng, ROLLOUT) if rng.random() < rollout else telemetry.normal_line(rng)
        for _ in range(count)
    ]


def burst(seed: int, pattern: str) -> list[str]:
    rng = random.Random(seed)
    return [telemetry.line(rng, pattern) for _ in range(25)]


def named_new(rows: list[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    """The anomalies that call a line with these words new."""
    return [row for row in rows if words in json.dumps(row["detailed_explanation"].get("templates_new", []))]


async def test_a_refreshed_baseline_takes_in_what_was_new_and_finds_what_is(
    data_dir: Path, tmp_path: Path
) -> None:
    sent = 0

    async def send(lines: list[str]) -> dict[str, Any]:
        nonlocal sent
        file = tmp_path / "shop.log"
        file.write_text("\n".join(lines) + "\n")
        await driftlock("send", str(file), "--service", "shop", "--endpoint", tree.otlp_http)
        sent += len(lines)
        return await until_scored(tree, "shop", sent)

    async with Tree(data_dir, "--detector-workers", "1") as tree:
        stream = await send(shop_lines(1, 4_000))
        assert stream["phase"] == "ready"
        path, before = f"/v1/streams/{stream['id']}", stream["baseline_ref"]
        await send(burst(2, ROLLOUT) + shop_lines(3, 200))
        alarmed = await tree.anomalies(service="shop")
        assert named_new(alarmed, "rollout"), "what came with the release is new to the first baseline"

        async with tree.client as client:
            answer = await client.post(f"{path}/baseline")
        assert answer.status_code == 202, answer.text
        stream = await send(shop_lines(4, 500, rollout=0.2))
        assert stream["phase"] == "learning"
        assert 0 < stream["warm_up"]["progress"] < 1
        assert (await tree.get(path))["refresh"]["closed_at"] is None

        stream = await send(shop_lines(5, 4_000, rollout=0.2))
        assert stream["phase"] == "ready"
        after, record = stream["baseline_ref"], (await tree.get(path))["refresh"]
        assert (record["baseline_before"], record["baseline_after"]) == (before, after)
        assert record["id"] == answer.json()["id"]
        assert record["closed_at"]
        assert before != after

        await send(shop_lines(6, 1_000, rollout=0.2) + burst(7, DISK) + shop_lines(8, 200, rollout=0.2))
        known = {row["id"] for row in alarmed}
        since = [row for row in await tree.anomalies(service="shop") if row["id"] not in known]
        url = embedded_database_url(DataFolder(data_dir))
        connection = await asyncpg.connect(url)
        kept = {row["sha256"] for row in await connection.fetch("SELECT sha256 FROM baselines")}
        await connection.close()
    assert not named_new(since, "rollout")
    (found, *_) = named_new(since, "disk failure")
    assert found["baseline_ref"] == after
    assert {before, after} <= kept
